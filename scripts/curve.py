"""Says what more labels would bring: python scripts/curve.py data=mirror_mouse labels=[10,20,40,80] seeds=[0]"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from launch import CONFIGS, launch
from trainings import carry_out, check_outcomes, command_of, composed, gathered, train_words

if TYPE_CHECKING:
    from softpoint.evaluation.studies.trials import Trial


def main(cfg: DictConfig) -> None:
    """Trains on each number of labels alike, tests all on the same pictures, and draws the error against it."""
    words, unit = train_words(cfg), "images" if cfg.groups is None else "groups"
    base = composed(words)
    if (cfg.labels is None) == (cfg.groups is None) or not cfg.seeds:
        raise ValueError(
            f"labels={cfg.labels}, groups={cfg.groups}, seeds={list(cfg.seeds)}: give numbers of training images as"
            " labels=[10,20,40], or of whole groups as groups=[1,3,9], and at least one seed"
        )
    if decided := [word for word in words if word.lstrip("+~").split("=")[0] in ("data.limit", "data.limit_groups")]:
        raise ValueError(f"{decided[0]}: the curve decides it; give labels=[...] or groups=[...]")
    if "limit" not in base.data:
        raise ValueError(f"data={base.name} is no set of labelled pictures, whose number could be limited")
    budget = [] if base.minutes else steps_words(cfg.steps)
    told = f"{base.minutes:g} minutes a training" if base.minutes else f"{cfg.steps} steps a training"
    checks = ["trainer.check_val_every_n_epoch=null", f"trainer.val_check_interval={cfg.check_every}"]

    from rich.console import Console
    from rich.markdown import Markdown

    from softpoint.evaluation.studies.curves import Point, learning_curve, write_curve
    from softpoint.evaluation.studies.pages import hardware, update_page

    trials = list(trials_of(cfg, unit, [*words, *budget, *checks]))
    outcomes = carry_out([trial for _, _, trial in trials])
    points = [Point(line, size, outcome) for (line, size, _), outcome in zip(trials, outcomes, strict=True)]
    facts = {"on": base.name, "seeds": list(cfg.seeds), "budget": told}
    facts |= {"command": command_of("curve", words), "hardware": hardware()}
    text = write_curve(Path(cfg.output), learning_curve(points, unit, facts))
    if cfg.write_docs:
        update_page(CONFIGS.parent / "docs" / "results.md", f"curve {base.name}", text)
    Console(width=max(120, Console().width)).print(Markdown(text))
    print(f"written to {cfg.output}")
    check_outcomes(outcomes)


def steps_words(steps: int) -> list[str]:
    """The overrides of a training of so many steps: an epoch of few images is over too soon to be a measure.

    >>> steps_words(500)
    ['trainer.max_epochs=-1', 'trainer.max_steps=500']
    """
    if steps < 1:
        raise ValueError(f"steps={steps} trains nothing; give at least 1, or minutes=N")
    return ["trainer.max_epochs=-1", f"trainer.max_steps={steps}"]


def trials_of(cfg: DictConfig, unit: str, words: Sequence[str]) -> Iterator[tuple[str, int, Trial]]:
    """Every training with its line and its number of labels, the fewest first."""
    from softpoint.evaluation.studies.trials import Trial, slug

    key = "data.limit" if unit == "images" else "data.limit_groups"
    for size in sorted(set(cfg.labels if unit == "images" else cfg.groups)):
        for seed in cfg.seeds:
            for line, changes in cfg.lines.items():
                folder = Path(cfg.output).resolve() / slug(line) / f"{unit}{size}" / f"seed{seed}"
                mine = (*words, *changes, f"{key}={size}", f"seed={seed}")
                yield line, size, Trial(f"{line}, {size} {unit}", seed, None, mine, folder)


if __name__ == "__main__":
    sys.argv[1:] = gathered(sys.argv[1:], "curve")
    launch("curve", main)
