"""Says what more labels or more time would bring: python scripts/curve.py data=mirror_mouse labels=[10,20,40,72]"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from softpoint.cli.hydra_app import launch
from softpoint.cli.hydra_errors import CONFIGS
from softpoint.cli.overrides import split_words, train_words, whole_number, whole_numbers, word_lists
from softpoint.cli.runner import budget_of, carry_out, check_outcomes, check_trials, command_of, composed, gathered

if TYPE_CHECKING:
    from softpoint.studies.runs import Trial

# What the curve decides itself, and what to set instead.
_BUDGET, _NUMBER = "give steps=N or minutes=N", "give labels=[...] or groups=[...]"
# What can grow along a curve: the unit that it is counted in, and the override that sets it.
AXES = {
    "labels": ("images", "data.limit"),
    "groups": ("groups", "data.limit_groups"),
    "budgets": ("minutes", "minutes"),
}
DECIDED = {
    **dict.fromkeys(("data.limit", "data.limit_groups"), _NUMBER),
    **dict.fromkeys(("epochs", "trainer.max_epochs", "trainer.max_steps"), _BUDGET),
    **dict.fromkeys(("trainer.val_check_interval", "trainer.check_val_every_n_epoch"), "give check_every=N"),
}
# Lines of one curve take equally long.
DECIDED_OF_LINES = {**DECIDED, "minutes": "give minutes=N or budgets=[...] for all lines"}


def main(cfg: DictConfig) -> None:
    """Trains on each number of labels alike, or for each time, tests all on the same images, and draws the error."""
    words = train_words(cfg, DECIDED)
    base = composed(words)
    asked, unit, key = axis_of(cfg, base)
    seeds, sizes = whole_numbers(cfg, "seeds"), sorted(whole_numbers(cfg, asked, 1))
    lines = word_lists(cfg.lines, "lines", DECIDED_OF_LINES)
    timed = asked == "budgets"
    budget, told = ([], "on all labels") if timed else budget_of_each(cfg, base)
    shared = [*words, *budget, *split_words(base, words, seeds[0])]

    from rich.console import Console
    from rich.markdown import Markdown

    from softpoint.studies.curves import Point, learning_curve
    from softpoint.studies.markdown import hardware, update_page
    from softpoint.studies.reports import write_curve

    found = list(trials_of(Path(cfg.output).resolve(), unit, key, sizes, seeds, lines, shared))
    trials = [trial for _, _, trial in found]
    if not timed and not all(trial.trained for trial in trials):
        check_size(found[-1][2])
    check_trials(trials)
    outcomes = carry_out(trials, cfg.output)
    points = [Point(line, size, outcome) for (line, size, _), outcome in zip(found, outcomes, strict=True)]
    facts = {"on": base.name, "seeds": seeds, "budget": told}
    facts |= {"command": command_of("curve", words), "hardware": hardware()}
    text = write_curve(Path(cfg.output), learning_curve(points, unit, facts))
    Console(width=max(120, Console().width)).print(Markdown(text))
    print(f"written to {cfg.output}")
    check_outcomes(outcomes, cfg.output)
    if cfg.write_docs:
        section = f"{'minutes' if timed else 'curve'} {base.name}"
        update_page(CONFIGS.parent / "docs" / "results.md", section, text)


def axis_of(cfg: DictConfig, base: DictConfig) -> tuple[str, str, str]:
    """Of `AXES` the one that is asked for, its unit and its override; ValueError for none, several, or one in vain."""
    given = [key for key in AXES if cfg[key] is not None]
    if len(given) != 1:
        raise ValueError(
            f"{', '.join(f'{key}={cfg[key]}' for key in AXES)}: give numbers of training images as labels=[10,20,40],"
            " or of whole groups as groups=[1,3,9], or minutes of training as budgets=[3,6,12]"
        )
    if given == ["budgets"] and base.minutes is not None:
        raise ValueError(f"minutes={base.minutes:g}: budgets={cfg.budgets} says for how long; leave minutes out")
    if given != ["budgets"] and "limit" not in base.data:
        raise ValueError(f"data={base.name} is no set of labeled images, whose number could be limited")
    return given[0], *AXES[given[0]]


def budget_of_each(cfg: DictConfig, base: DictConfig) -> tuple[list[str], str]:
    """The overrides of trainings that are all equally long and looked at equally often, and how long, in words."""
    steps, every = whole_number(cfg, "steps", 1), whole_number(cfg, "check_every", 1)
    every = every if base.minutes is not None else min(every, steps)  # one validation at least
    checks = ["trainer.check_val_every_n_epoch=null", f"trainer.val_check_interval={every}"]
    stops = ["~callbacks.early_stopping"] if "early_stopping" in (base.get("callbacks") or {}) else []
    if base.minutes is not None:
        return [*checks, *stops], budget_of(base)
    return [*steps_words(steps), *checks, *stops], f"{steps} steps a training"


def steps_words(steps: int) -> list[str]:
    """The overrides of a training of so many steps: an epoch of few images is over too soon to be a measure.

    >>> steps_words(500)
    ['trainer.max_epochs=-1', 'trainer.max_steps=500']
    """
    return ["trainer.max_epochs=-1", f"trainer.max_steps={steps}"]


def check_size(largest: Trial) -> None:
    """ValueError where there are fewer labels than the largest number, before the smaller ones are trained."""
    from hydra.utils import instantiate

    instantiate(composed([*largest.words, "data.verify=false"]).datamodule).setup("fit")


def trials_of(
    output: Path,
    unit: str,
    key: str,
    sizes: Sequence[int],
    seeds: Sequence[int],
    lines: Mapping[str, Sequence[str]],
    words: Sequence[str],
) -> Iterator[tuple[str, int, Trial]]:
    """Every training with its line and its number of `unit`, which the override `key` sets, the fewest first."""
    from softpoint.studies.runs import Trial, slug

    for size in sizes:
        for seed in seeds:
            for line, changes in lines.items():
                folder = output / slug(line) / f"{unit}{size}" / f"seed{seed}"
                mine = (*words, *changes, f"{key}={size}", f"seed={seed}")
                yield line, size, Trial(f"{line}, {size} {unit}", seed, None, mine, folder)


def run(words: list[str]) -> None:
    """Run the command with the arguments `words`."""
    launch("curve", main, gathered(words, "curve"))
