"""Comparison of variants that are trained alike: softpoint compare study=heads on=synthetic seeds=[0,1,2]"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from softpoint.cli.hydra_app import launch
from softpoint.cli.hydra_errors import CONFIGS, key_of
from softpoint.cli.overrides import (
    check_folder_names,
    fold_overrides,
    override_lists,
    split_arguments,
    split_overrides,
    train_overrides,
    whole_number,
    whole_numbers,
)
from softpoint.cli.study import budget_of, carry_out, check_outcomes, check_trials, command_of, composed

if TYPE_CHECKING:
    from softpoint.inference import Checkpoint
    from softpoint.studies.runs import Outcome, Trial


def main(cfg: DictConfig) -> None:
    """Train every variant on every data set with every seed, and write a table and a chart per data set."""
    if cfg.get("study") is None:
        options = sorted(path.stem for path in (CONFIGS / "study").glob("*.yaml"))
        raise ValueError(f"no study is chosen; choose study=OPTION from {', '.join(options)}")
    overrides, study = train_overrides(cfg), HydraConfig.get().runtime.choices["study"]
    rounds, calls = whole_number(cfg, "timing.rounds"), whole_number(cfg, "timing.calls", 1)
    variants = override_lists(cfg.study.get("variants"), "study.variants")
    sets = {name: [*([f"data={name}"] if name else []), *overrides] for name in data_sets(cfg, overrides)}
    bases = {name: composed(sets[name]) for name in sets}
    check_folder_names([base.name for base in bases.values()], "on")
    if cfg.study.get("shared"):
        for of_set in sets.values():
            for changes in variants.values():
                check_head([*of_set, *changes])
    command = command_of("compare", overrides)

    from softpoint.studies.markdown import hardware, update_page
    from softpoint.studies.reports import write_comparison
    from softpoint.studies.summaries import comparison

    trials = {name: list(trials_of(cfg, base, sets[name], variants)) for name, base in bases.items()}
    for planned in trials.values():
        check_trials(planned)
    outcomes, texts = carry_out([trial for planned in trials.values() for trial in planned], cfg.output), {}
    for name, base in bases.items():
        facts = {"study": study, "title": cfg.study.get("title", study), "on": base.name, "folds": cfg.folds}
        facts |= {"seeds": whole_numbers(cfg, "seeds"), "command": command, "hardware": hardware()}
        facts |= {"budget": budget_of(base), "note": cfg.study.get("note", "")}
        of_name = [outcome for outcome in outcomes if outcome.trial in trials[name]]
        costs = costs_of(of_name, rounds, calls) if rounds else {}
        texts[base.name] = write_comparison(Path(cfg.output), comparison(of_name, variants, costs, facts))
        print(f"\n{texts[base.name]}\n")
    print(f"written to {cfg.output}")
    check_outcomes(outcomes, cfg.output)
    for name, text in texts.items() if cfg.page else ():
        update_page(Path(cfg.page), f"{study} on {name}", text)


def data_sets(cfg: DictConfig, overrides: Sequence[str]) -> list[str | None]:
    """Return the names of the data sets to compare on; None for that of the overrides. ValueError for none or both."""
    names = [cfg.on] if cfg.on is None or isinstance(cfg.on, str) else list(cfg.on)
    chosen = [word for word in overrides if key_of(word) == "data"]
    if not names or (chosen and cfg.on is not None):
        fault = f"on={cfg.on} and {chosen[0]} both name data" if chosen else f"on={cfg.on} names no data"
        raise ValueError(f"{fault}; give one or several by on=[NAME,NAME]")
    return names


def trials_of(
    cfg: DictConfig, base: DictConfig, overrides: Sequence[str], variants: Mapping[str, Sequence[str]]
) -> Iterator[Trial]:
    """Yield every training on one data set, variants in turns, so that a slow hour of the machine meets them all."""
    from softpoint.studies.runs import Trial, slug

    seeds, shared = whole_numbers(cfg, "seeds"), cfg.study.get("shared", False)
    folds: list[int | None] = [None]
    splits = [split_overrides(base, overrides, seeds[0])]
    if cfg.folds is not None:
        splits = fold_overrides(base, overrides, cfg.folds)
        folds = list(range(len(splits)))
    for seed in seeds:
        for fold, split in zip(folds, splits, strict=True):
            for variant, changes in variants.items():
                folder = Path(cfg.output).resolve() / slug(base.name) / ("shared" if shared else slug(variant))
                folder = folder / f"seed{seed}" / ("" if fold is None else f"fold{fold}")
                own = (*overrides, *split, *(() if shared else changes), f"seed={seed}")
                yield Trial(variant, seed, fold, own, folder, head_settings(changes) if shared else {})


def costs_of(outcomes: Sequence[Outcome], rounds: int, calls: int) -> dict[str, dict[str, float]]:
    """Return the costs of each trained variant on the CPU; nothing where the first variant failed.

    "step" is the time of a training step on a batch of the training's size and "inference" that of one image, both
    as multiples of the first variant's; "parameters" is their number.
    """
    from softpoint.inference import read_checkpoint
    from softpoint.studies.timing import relative_times

    first = {o.trial.variant: o.trial for o in reversed(outcomes) if not o.failed}
    if outcomes[0].trial.variant not in first:
        return {}
    variants = dict.fromkeys(o.trial.variant for o in outcomes if o.trial.variant in first)
    nets = {variant: read_checkpoint(first[variant].evaluated_checkpoint) for variant in variants}
    costs = {v: {"parameters": float(sum(p.numel() for p in one.net.parameters()))} for v, one in nets.items()}
    kinds: dict[str, Callable[[Checkpoint], Callable[[int], Any]]] = {"inference": inference_of, "step": step_of}
    for kind, work_of in kinds.items():
        work = {variant: work_of(checkpoint) for variant, checkpoint in nets.items()}
        for variant, multiple in relative_times(work, rounds, calls).items():
            costs[variant][kind] = multiple
    return costs


def inference_of(checkpoint: Checkpoint) -> Callable[[int], Any]:
    """Return a prediction of the network on one image, as a function of a number that it ignores."""
    import torch

    from softpoint.studies.timing import random_batch

    net, image = checkpoint.net.eval(), random_batch(checkpoint.size, 1, 1)["image"]
    return lambda _: torch.inference_mode()(net)(image)


def step_of(checkpoint: Checkpoint) -> Callable[[int], Any]:
    """Return a training step of the network, as a function of a number that it ignores."""
    from hydra.utils import instantiate

    from softpoint.studies.timing import random_batch, training_step
    from softpoint.training import KeypointLoss

    cfg = OmegaConf.create(dict(checkpoint.config))
    optimizer = instantiate(cfg.optimizer)(checkpoint.net.parameters())
    step = training_step(checkpoint.net, KeypointLoss(instantiate(cfg.loss)), optimizer)
    batch = random_batch(checkpoint.size, cfg.data.batch_size, len(checkpoint.skeleton))
    return lambda _: step(batch)


def check_head(overrides: Sequence[str]) -> None:
    """Raise ValueError for settings of the head by which its heatmaps could not be decoded."""
    import torch

    from softpoint.functional import decode_heatmap

    head = composed(overrides).head
    decode_heatmap(torch.ones(1, 1), head.get("decode", "window"), head.get("window", 1))


def head_settings(overrides: Sequence[str]) -> dict[str, Any]:
    """Return the settings of overrides of the head; ValueError for others, which need a training.

    >>> head_settings(["head.decode=dark", "head.window=7"])
    {'decode': 'dark', 'window': 7}
    """
    if wrong := [word for word in overrides if not word.startswith("head.") or "=" not in word]:
        raise ValueError(
            f"{wrong[0]}: where study.shared=true, variants change the trained head alone, as head.KEY=VALUE"
        )
    dotlist = [word.removeprefix("head.") for word in overrides]
    settings: Any = OmegaConf.to_container(OmegaConf.from_dotlist(dotlist))
    return settings  # type: ignore[no-any-return]


def run(arguments: list[str]) -> None:
    """Run the command with these arguments."""
    launch("compare", main, split_arguments(arguments, "compare"))
