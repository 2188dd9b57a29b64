"""Learning curve over labels or time: softpoint curve data=mirror_mouse labels=[10,20,40,72]"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from softpoint.cli.hydra_app import launch
from softpoint.cli.overrides import (
    override_lists,
    split_arguments,
    split_overrides,
    train_overrides,
    whole_number,
    whole_numbers,
)
from softpoint.cli.study import budget_of, carry_out, check_outcomes, check_trials, command_of, composed

if TYPE_CHECKING:
    from softpoint.studies.runs import Trial

# What can grow along a curve: its unit, and the override that sets it.
AXES = {
    "labels": ("images", "data.limit"),
    "groups": ("groups", "data.limit_groups"),
    "budgets": ("minutes", "minutes"),
}
# Keys that the curve sets itself, and the way out.
DECIDED = {
    **dict.fromkeys(("data.limit", "data.limit_groups"), "give labels=[...] or groups=[...]"),
    **dict.fromkeys(("epochs", "trainer.max_epochs", "trainer.max_steps"), "give steps=N or minutes=N"),
    **dict.fromkeys(("trainer.val_check_interval", "trainer.check_val_every_n_epoch"), "give check_every=N"),
}
# All lines of one curve train equally long.
DECIDED_OF_LINES = {**DECIDED, "minutes": "give minutes=N or budgets=[...] for all lines"}


def main(cfg: DictConfig) -> None:
    """Train on each number of labels alike, or for each time, test all on the same images, and draw the error."""
    overrides = train_overrides(cfg, DECIDED)
    base = composed(overrides)
    axis = axis_of(cfg, base)
    unit, key = AXES[axis]
    seeds, sizes = whole_numbers(cfg, "seeds"), sorted(whole_numbers(cfg, axis, 1))
    lines = override_lists(cfg.lines, "lines", DECIDED_OF_LINES)
    timed = axis == "budgets"
    budget, budget_text = ([], "on all labels") if timed else budget_overrides(cfg, base)
    shared = [*overrides, *budget, *split_overrides(base, overrides, seeds[0])]

    from rich.console import Console
    from rich.markdown import Markdown

    from softpoint.studies.markdown import hardware, update_page
    from softpoint.studies.reports import write_curve
    from softpoint.studies.summaries import Point, learning_curve

    planned = list(trials_of(Path(cfg.output).resolve(), unit, key, sizes, seeds, lines, shared))
    trials = [trial for _, _, trial in planned]
    if not timed and not all(trial.trained for trial in trials):
        check_size(trials[-1])
    check_trials(trials)
    outcomes = carry_out(trials, cfg.output)
    points = [Point(line, size, outcome) for (line, size, _), outcome in zip(planned, outcomes, strict=True)]
    facts = {"on": base.name, "seeds": seeds, "budget": budget_text}
    facts |= {"command": command_of("curve", overrides), "hardware": hardware()}
    text = write_curve(Path(cfg.output), learning_curve(points, unit, facts))
    Console(width=max(120, Console().width)).print(Markdown(text))
    print(f"written to {cfg.output}")
    check_outcomes(outcomes, cfg.output)
    if cfg.page:
        update_page(Path(cfg.page), f"{'minutes' if timed else 'curve'} {base.name}", text)


def axis_of(cfg: DictConfig, base: DictConfig) -> str:
    """Return the one of `AXES` that the command line gives; ValueError for none, several, or one without effect."""
    given = [axis for axis in AXES if cfg[axis] is not None]
    if len(given) != 1:
        raise ValueError(
            f"{', '.join(f'{axis}={cfg[axis]}' for axis in AXES)}: give numbers of training images as"
            " labels=[10,20,40], or of whole groups as groups=[1,3,9], or minutes of training as budgets=[3,6,12]"
        )
    if given == ["budgets"] and base.minutes is not None:
        raise ValueError(f"minutes={base.minutes:g}: budgets={cfg.budgets} sets the duration; leave minutes out")
    if given != ["budgets"] and "limit" not in base.data:
        raise ValueError(f"data={base.name} is no set of labeled images, whose number could be limited")
    return given[0]


def budget_overrides(cfg: DictConfig, base: DictConfig) -> tuple[list[str], str]:
    """Return the overrides of trainings that are equally long and validated equally often, and their length in words.

    Steps count, because an epoch of few images is too short to be a measure.
    """
    steps, every = whole_number(cfg, "steps", 1), whole_number(cfg, "check_every", 1)
    length = [] if base.minutes is not None else ["trainer.max_epochs=-1", f"trainer.max_steps={steps}"]
    every = min(every, steps) if length else every  # one validation at least
    checks = ["trainer.check_val_every_n_epoch=null", f"trainer.val_check_interval={every}"]
    stops = ["~callbacks.early_stopping"] if "early_stopping" in (base.get("callbacks") or {}) else []
    return [*length, *checks, *stops], f"{steps} steps a training" if length else budget_of(base)


def check_size(largest: Trial) -> None:
    """Raise ValueError where there are fewer labels than the largest number, before the smaller ones are trained."""
    from hydra.utils import instantiate

    instantiate(composed([*largest.overrides, "data.verify=false"]).datamodule).setup("fit")


def trials_of(
    output: Path,
    unit: str,
    key: str,
    sizes: Sequence[int],
    seeds: Sequence[int],
    lines: Mapping[str, Sequence[str]],
    overrides: Sequence[str],
) -> Iterator[tuple[str, int, Trial]]:
    """Yield every training with its line and its number of `unit`, which the override `key` sets, smallest first."""
    from softpoint.studies.runs import Trial, slug

    for size in sizes:
        for seed in seeds:
            for line, changes in lines.items():
                folder = output / slug(line) / f"{unit}{size}" / f"seed{seed}"
                own = (*overrides, *changes, f"{key}={size}", f"seed={seed}")
                yield line, size, Trial(f"{line}, {size} {unit}", seed, None, own, folder)


def run(arguments: list[str]) -> None:
    """Run the command with these arguments."""
    launch("curve", main, split_arguments(arguments, "curve"))
