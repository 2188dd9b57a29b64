"""Work of the processes of a training together: by the first one for all, and of all in one list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def on_first_process(trainer: Any, work: Callable[[], Any]) -> Any:
    """Return in every process what `work` returns in the first one.

    If it fails there, its error is raised in all: the others would else wait for ever.
    """
    result, error = None, None
    if trainer.is_global_zero:
        try:
            result = work()
        except Exception as exception:
            error = exception
    result, message = trainer.strategy.broadcast((result, None if error is None else f"{error!r}"))
    if error is not None:
        raise error
    if message is not None:
        raise RuntimeError(f"the first process failed: {message}")
    return result


def gather_objects(trainer: Any, value: Any) -> list[Any]:
    """Return in every process the values of all processes, from the first on; they travel pickled."""
    values = [value]
    if trainer.world_size > 1:
        values = [None] * trainer.world_size
        torch.distributed.all_gather_object(values, value)
    return values
