"""Trainings of minutes that share the input which the first of them decides, so that one calibration fits all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from softpoint.cli.study import carried_out, check_failures

if TYPE_CHECKING:
    from softpoint.studies.runs import Trial


def carried_out_alike(cfg: DictConfig, trials: Sequence[Trial], base: DictConfig) -> list[Trial]:
    """Return what `carried_out` does, of trials with the config `base` but for seed and fold, on inputs of one size.

    Where minutes decide the size, the first trial measures the machine and grows its input, and the others repeat that.
    Raises ValueError where the first one fails.
    """
    from softpoint.data.datamodule import is_size_open

    if base.minutes is None or not is_size_open(base.data.get("size", ""), base.data.get("pixels")):
        return carried_out(cfg, trials)
    first = carried_out(cfg, trials[:1])
    check_failures(cfg, first)
    words = input_words(first[0].checkpoint)
    return first + carried_out(cfg, [replace(one, overrides=(*one.overrides, *words)) for one in trials[1:]])


def input_words(checkpoint: Path) -> list[str]:
    """Return the settings by which a training takes the input of another one, from its first to its last size."""
    from softpoint.inference.checkpoint import read_content

    content = read_content(checkpoint)
    grown = content.record.get("growth") or [[0.0, *content.size]]
    # The best checkpoint may be of a size before the last one.
    _, *later = grown[: 1 + next((i for i, (_, *size) in enumerate(grown) if size == [*content.size]), 0)]
    first = "data.size=[{},{}]".format(*grown[0][1:])
    return [first, f"callbacks.growth.plan={later}".replace(" ", "")] if later else [first]
