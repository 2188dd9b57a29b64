"""Learning curve over labels or time: softpoint curve data=mirror_mouse labels=[10,20,40,72]"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from softpoint.cli.overrides import (
    DECIDED,
    override_lists,
    split_arguments,
    split_overrides,
    train_overrides,
    whole_number,
    whole_numbers,
)
from softpoint.cli.shared_input import with_one_start
from softpoint.cli.study import carry_out, composed, facts_of

if TYPE_CHECKING:
    from softpoint.studies.runs import Trial

# Quantities along a curve: the unit of each, and the override that sets it.
AXES = {
    "labels": ("images", "data.limit"),
    "groups": ("groups", "data.limit_groups"),
    "budgets": ("minutes", "minutes"),
}
# Keys that the curve sets itself, and the way out.
DECIDED_BY_CURVE = {
    **DECIDED,
    **dict.fromkeys(("data.limit", "data.limit_groups"), "give labels=[...] or groups=[...]"),
    **dict.fromkeys(("epochs", "trainer.max_epochs", "trainer.max_steps"), "give steps=N or minutes=N"),
    **dict.fromkeys(("trainer.val_check_interval", "trainer.check_val_every_n_epoch"), "give check_every=N"),
}
# All lines of one curve train equally long.
DECIDED_OF_LINES = {**DECIDED_BY_CURVE, "minutes": "give minutes=N or budgets=[...] for all lines"}


arguments = partial(split_arguments, study="curve")


def main(cfg: DictConfig) -> None:
    """Train on each number of labels alike, or for each time, test all on the same images, and draw the error."""
    overrides = train_overrides(cfg.train, DECIDED_BY_CURVE)
    base = composed(overrides)
    axis = axis_of(cfg, base)
    seeds, timed = whole_numbers(cfg, "seeds"), axis == "budgets"
    lines = override_lists(cfg.lines, "lines", DECIDED_OF_LINES)

    from softpoint.studies.reports import write_curve
    from softpoint.studies.summaries import learning_curve

    facts = facts_of(base, overrides) | {"on": base.name, "seeds": seeds, "unit": AXES[axis][0]}
    length = [] if timed else budget_overrides(cfg, base)
    if timed:
        facts["budget"] = "on all labels"
    elif base.minutes is None:
        facts["budget"] = f"{cfg.steps} steps per training run"
    split = [] if base.data.get("splits") else split_overrides(base, overrides, seeds[0])
    trials = with_one_start(trials_of(cfg, axis, lines, [*overrides, *length, *split]))
    if not timed and not all(trial.trained for trial in trials):
        check_size(trials[-1])
    section = f"{'minutes' if timed else 'curve'} {base.name}"
    carry_out(cfg, trials, lambda trials: {section: write_curve(Path(cfg.output), learning_curve(trials, facts))})


def axis_of(cfg: DictConfig, base: DictConfig) -> str:
    """Return the one of `AXES` that the command line gives; ValueError for none, several, or one without effect."""
    axes = [axis for axis in AXES if cfg[axis] is not None]
    if len(axes) != 1:
        raise ValueError(
            f"{', '.join(f'{axis}={cfg[axis]}' for axis in axes) or 'no axis'}: give numbers of training images as"
            " labels=[10,20,40], or of whole groups as groups=[1,3,9], or minutes of training as budgets=[3,6,12]"
        )
    if axes == ["budgets"] and base.minutes is not None:
        raise ValueError(f"minutes={base.minutes:g}: budgets={cfg.budgets} sets the duration; leave minutes out")
    if axes != ["budgets"] and "limit" not in base.data:
        raise ValueError(f"data={base.name} is no set of labeled images, whose number could be limited")
    return axes[0]


def budget_overrides(cfg: DictConfig, base: DictConfig) -> list[str]:
    """Return the overrides of trainings that are equally long and validated equally often.

    Steps count, because an epoch of few images is too short to be a measure.
    """
    steps, every = whole_number(cfg, "steps", 1), whole_number(cfg, "check_every", 1)
    length = [] if base.minutes is not None else ["trainer.max_epochs=-1", f"trainer.max_steps={steps}"]
    every = min(every, steps) if length else every  # one validation at least
    checks = ["trainer.check_val_every_n_epoch=null", f"trainer.val_check_interval={every}"]
    stops = ["~callbacks.early_stopping"] if "early_stopping" in (base.get("callbacks") or {}) else []
    return [*length, *checks, *stops]


def check_size(largest: Trial) -> None:
    """Raise ValueError where there are fewer labels than the largest number, before the smaller ones are trained."""
    from hydra.utils import instantiate

    instantiate(composed([*largest.overrides, "data.verify=false"]).datamodule).setup("fit")


def trials_of(cfg: DictConfig, axis: str, lines: Mapping[str, Sequence[str]], overrides: Sequence[str]) -> list[Trial]:
    """Return every training, the smallest first."""
    from softpoint.studies.runs import Trial, slug

    (unit, key), output, trials = AXES[axis], Path(cfg.output).resolve(), []
    for size in sorted(whole_numbers(cfg, axis, 1)):
        for seed in whole_numbers(cfg, "seeds"):
            for line, changes in lines.items():
                folder = output / slug(line) / f"{unit}{size}" / f"seed{seed}"
                own = (*overrides, *changes, f"{key}={size}", f"seed={seed}")
                trials.append(Trial(line, seed, None, own, folder, size=(size, unit)))
    return trials
