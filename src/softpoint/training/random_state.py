"""The states of the random generators of all processes of a training, as a checkpoint holds them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


def random_states(trainer: Any) -> list[dict[str, Any]]:
    """Return the states of the generators of each process, in every process."""
    state = random_state(trainer.strategy.root_device)
    if trainer.world_size == 1:
        return [state]
    gathered: list[dict[str, Any]] = [{}] * trainer.world_size
    torch.distributed.all_gather_object(gathered, state)
    return gathered


def restore_random_state(trainer: Any, states: Sequence[dict[str, Any]]) -> None:
    """Set the generators of this process as they were; a process more than there were keeps its own."""
    if trainer.global_rank < len(states):
        set_random_state(states[trainer.global_rank], trainer.strategy.root_device)


def random_state(device: torch.device) -> dict[str, Any]:
    """Return the states of Python's, NumPy's and torch's default generators, as tensors and plain values.

    >>> state = random_state(torch.device("cpu"))
    >>> first = random.random(), np.random.random(), torch.rand(1)
    >>> set_random_state(state, torch.device("cpu"))
    >>> first == (random.random(), np.random.random(), torch.rand(1))
    True
    """
    version, words, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002, as libraries may use it
    state = {
        "python": [version, torch.tensor(words), gauss],
        "numpy": [torch.from_numpy(np.asarray(keys, np.int64)), int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
    }
    return state | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Set the default generators to a state of `random_state`."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    keys, *rest = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
