"""Compares variants that are trained alike: python scripts/compare.py study=heads on=synthetic seeds=[0,1,2]"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from softpoint.cli.hydra_app import launch
from softpoint.cli.hydra_errors import CONFIGS
from softpoint.cli.overrides import (
    check_apart,
    fold_words,
    key_of,
    split_words,
    train_words,
    whole_number,
    whole_numbers,
    word_lists,
)
from softpoint.cli.runner import budget_of, carry_out, check_outcomes, check_trials, command_of, composed, gathered

if TYPE_CHECKING:
    from softpoint.studies.runs import Outcome, Trial


def main(cfg: DictConfig) -> None:
    """Trains every variant on every set with every seed, in turns, and writes a table and a chart of each set."""
    if cfg.get("study") is None:
        options = sorted(path.stem for path in (CONFIGS / "study").glob("*.yaml"))
        raise ValueError(f"no study is chosen; choose study=OPTION from {', '.join(options)}")
    words, study, seeds = train_words(cfg), HydraConfig.get().runtime.choices["study"], whole_numbers(cfg, "seeds")
    whole_number(cfg, "timing.rounds"), whole_number(cfg, "timing.calls", 1)
    variants = word_lists(cfg.study.get("variants"), "study.variants")
    names = sets_of(cfg, words)
    sets = {name: [*([f"data={name}"] if name else []), *words] for name in names}
    bases = {name: composed(sets[name]) for name in sets}
    check_apart([base.name for base in bases.values()], "on")
    if cfg.study.get("shared"):
        for name, changes in product(sets, variants.values()):
            check_head([*sets[name], *changes])
    command = command_of("compare", words)

    from softpoint.studies.comparison import comparison
    from softpoint.studies.markdown import hardware, update_page
    from softpoint.studies.reports import write_comparison

    trials = {name: list(trials_of(cfg, base, sets[name], variants)) for name, base in bases.items()}
    for some in trials.values():
        check_trials(some)
    outcomes, texts = {name: carry_out(trials[name], cfg.output) for name in bases}, {}
    for name, base in bases.items():
        facts = {"study": study, "title": cfg.study.get("title", study), "on": base.name, "seeds": seeds}
        facts |= {"command": command, "hardware": hardware(), "budget": budget_of(base), "folds": cfg.folds}
        facts |= {"note": cfg.study.get("note", "")}
        costs = costs_of(cfg, outcomes[name])
        texts[base.name] = write_comparison(Path(cfg.output), comparison(outcomes[name], variants, costs, facts))
        print(f"\n{texts[base.name]}\n")
    print(f"written to {cfg.output}")
    check_outcomes([outcome for some in outcomes.values() for outcome in some], cfg.output)
    for name, text in texts.items() if cfg.write_docs else ():
        update_page(CONFIGS.parent / "docs" / "results.md", f"{study} on {name}", text)


def sets_of(cfg: DictConfig, words: Sequence[str]) -> list[str | None]:
    """The names of data sets to compare on; None for what the other words say. ValueError for none, and for both."""
    names = [cfg.on] if cfg.on is None or isinstance(cfg.on, str) else list(cfg.on)
    chosen = [word for word in words if key_of(word) == "data"]
    if not names or (chosen and cfg.on is not None):
        given = f"on={cfg.on} and {chosen[0]} both name data" if chosen else f"on={cfg.on} names no data"
        raise ValueError(f"{given}; give one or several by on=[NAME,NAME]")
    return names


def costs_of(cfg: DictConfig, outcomes: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    """What each variant costs, unless the timing is left out."""
    if not cfg.timing.rounds:
        return {}
    from softpoint.cli.timing import measured_costs  # which waits for Lightning

    return measured_costs(outcomes, cfg.timing.rounds, cfg.timing.calls)


def trials_of(
    cfg: DictConfig, base: DictConfig, words: Sequence[str], variants: Mapping[str, Sequence[str]]
) -> Iterator[Trial]:
    """Every training of one set, variants in turns, so that a slow hour of the machine meets them all."""
    from softpoint.studies.runs import Trial, slug

    seeds, shared = whole_numbers(cfg, "seeds"), cfg.study.get("shared", False)
    one = cfg.folds is None
    splits = [split_words(base, words, seeds[0])] if one else fold_words(base, words, cfg.folds)
    for seed in seeds:
        for fold, split in enumerate(splits):
            for variant, changes in variants.items():
                folder = Path(cfg.output).resolve() / slug(base.name) / ("shared" if shared else slug(variant))
                yield Trial(
                    variant,
                    seed,
                    None if one else fold,
                    (*words, *split, *(() if shared else changes), f"seed={seed}"),
                    folder / f"seed{seed}" / ("" if one else f"fold{fold}"),
                    head_settings(changes) if shared else {},
                )


def check_head(words: Sequence[str]) -> None:
    """Raises, for overrides of train.py, what their heatmaps could not be decoded by."""
    import torch

    from softpoint.functional import decode_heatmap

    head = composed(words).head
    decode_heatmap(torch.ones(1, 1), head.get("decode", "window"), head.get("window", 1))


def head_settings(words: Sequence[str]) -> dict[str, Any]:
    """What overrides of the head say; ValueError for others, which need a training.

    >>> head_settings(["head.decode=dark", "head.window=7"])
    {'decode': 'dark', 'window': 7}
    """
    if wrong := [word for word in words if not word.startswith("head.") or "=" not in word]:
        raise ValueError(
            f"{wrong[0]}: where study.shared=true, variants change the trained head alone, as head.KEY=VALUE"
        )
    settings: Any = OmegaConf.to_container(OmegaConf.from_dotlist([word.removeprefix("head.") for word in words]))
    return settings


def run(words: list[str]) -> None:
    """Run the command with the arguments `words`."""
    launch("compare", main, gathered(words, "compare"))
