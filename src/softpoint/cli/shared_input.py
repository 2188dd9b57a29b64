"""Trainings of minutes that share a decision, by whatever machine each runs: the first weights, and the input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from softpoint.cli.first_weights import STARTS, backbone_words, is_open
from softpoint.cli.run_folder import AUTO
from softpoint.cli.study import carried_out, check_failures, composed, kind_of

if TYPE_CHECKING:
    from softpoint.studies.runs import Trial


def carried_out_alike(cfg: DictConfig, trials: Sequence[Trial], base: DictConfig) -> list[Trial]:
    """Return what `carried_out` does, of trials with the config `base` but for seed and fold, on inputs of one size.

    Where minutes decide the size, the first trial measures the machine and grows its input, and the others repeat that,
    so that one calibration fits all. They share their start, too.
    Raises ValueError where the first one fails.
    """
    from softpoint.data.crops import is_size_open

    trials = with_one_start(trials)
    if base.minutes is None or not is_size_open(base.data.get("size", ""), base.data.get("pixels")):
        return carried_out(cfg, trials)
    first = carried_out(cfg, trials[:1])
    check_failures(cfg, first)
    words = input_words(first[0].checkpoint)
    return first + carried_out(cfg, [replace(one, overrides=(*one.overrides, *words)) for one in trials[1:]])


def input_words(checkpoint: Path) -> list[str]:
    """Return the settings by which a training takes the input of another one, from its first to its last size."""
    from softpoint.inference.checkpoint_content import read_content

    content = read_content(checkpoint)
    grown = content.record.get("growth") or [[0.0, *content.size]]
    # The best checkpoint may be of a size before the last one.
    _, *later = grown[: 1 + next((i for i, (_, *size) in enumerate(grown) if size == [*content.size]), 0)]
    first = "data.size=[{},{}]".format(*grown[0][1:])
    return [first, f"callbacks.growth.plan={later}".replace(" ", "")] if later else [first]


def with_one_start(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials, of which all with backbone=auto are given one backbone by name, where minutes decide it.

    It is that of the first one that has begun, maybe on another machine, or else what the longest chooses on this one.
    Trials that start from a model (`init`) follow that.
    """
    words = {kind_of(trial): trial.overrides for trial in trials}
    configs = {kind: composed(overrides, hydra=True) for kind, overrides in words.items()}
    auto = {kind: cfg for kind, cfg in configs.items() if is_open(cfg) and not cfg.init}
    if all(cfg.minutes is None for cfg in auto.values()):
        return [*trials]
    before = (_backbone_before(trial) for trial in trials if kind_of(trial) in auto)
    start = next(filter(None, before), None) or backbone_words(max(auto.values(), key=_minutes), {})
    return [replace(one, overrides=(*one.overrides, *start)) if kind_of(one) in auto else one for one in trials]


def _minutes(cfg: DictConfig) -> float:
    """The minutes of a training, the more the longer; infinity for one that has another length."""
    return cfg.minutes if type(cfg.minutes) in (int, float) else math.inf


def _backbone_before(trial: Trial) -> list[str]:
    """Return the override that names the backbone of a trial that has begun, one that backbone=auto may be, or none."""
    path = trial.folder / ".hydra" / "hydra.yaml"
    stored = OmegaConf.load(path) if trial.begun and path.is_file() else OmegaConf.create()
    name = OmegaConf.select(stored, "hydra.runtime.choices.backbone")
    return [f"backbone={name}"] if name in (AUTO, *STARTS) else []
