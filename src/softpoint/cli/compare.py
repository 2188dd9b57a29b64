"""Comparison of variants that are trained alike: softpoint compare study=heads on=synthetic seeds=[0,1,2]"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from softpoint.cli.command_line import CONFIGS, key_of
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
from softpoint.cli.shared_input import with_one_start
from softpoint.cli.study import carry_out, composed, facts_of
from softpoint.cli.trust import own_packages

if TYPE_CHECKING:
    from softpoint.inference import Checkpoint
    from softpoint.studies.runs import Trial


arguments = partial(split_arguments, study="compare")


def main(cfg: DictConfig) -> None:
    """Train every variant on every data set with every seed, and write a table and a chart per data set."""
    if cfg.get("study") is None:
        options = sorted(path.stem for path in (CONFIGS / "study").glob("*.yaml"))
        raise ValueError(f"no study is chosen; choose study=OPTION from {', '.join(options)}")
    overrides, study = train_overrides(cfg.train), HydraConfig.get().runtime.choices["study"]
    rounds, calls = whole_number(cfg, "timing.rounds"), whole_number(cfg, "timing.calls", 1)
    variants = override_lists(cfg.study.get("variants"), "study.variants")
    sets = [[*([f"data={name}"] if name else []), *overrides] for name in data_sets(cfg, overrides)]
    bases = [composed(words) for words in sets]
    check_folder_names([base.name for base in bases], "on")

    from softpoint.cli.study_report import write_variants_page
    from softpoint.studies.reports import write_comparison
    from softpoint.studies.runs import slug
    from softpoint.studies.summaries import comparison

    about = {"study": study, "title": cfg.study.get("title", study), "note": cfg.study.get("note", "")}
    about |= {"seeds": whole_numbers(cfg, "seeds"), "folds": cfg.folds}
    facts = [facts_of(base, overrides) | about | {"on": base.name} for base in bases]
    planned = [list(trials_of(cfg, base, words, variants)) for base, words in zip(bases, sets, strict=True)]

    def report(trials: Sequence[Trial]) -> dict[str, str]:
        sections = {}
        for i, base in enumerate(bases):
            of_set = trials[i * len(planned[0]) : (i + 1) * len(planned[0])]
            costs = costs_of(of_set, rounds, calls) if rounds else {}
            summary = comparison(of_set, variants, costs, facts[i])
            sections[f"{study} on {base.name}"] = write_comparison(Path(cfg.output), summary)
            if base.report:
                write_variants_page(Path(cfg.output), slug(base.name), of_set, summary)
        return sections

    carry_out(cfg, with_one_start([trial for of_set in planned for trial in of_set]), report)


def data_sets(cfg: DictConfig, overrides: Sequence[str]) -> list[str | None]:
    """Return the names of the data sets to compare on; None for that of the overrides. ValueError for none or both."""
    names = list(cfg.on) if OmegaConf.is_list(cfg.on) else [cfg.on]
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

    seeds, shared, output = whole_numbers(cfg, "seeds"), cfg.study.get("shared", False), Path(cfg.output).resolve()
    splits: dict[int | None, list[str]] = {None: []}
    if cfg.folds is not None:
        splits = dict(enumerate(fold_overrides(base, overrides, cfg.folds)))
    elif not base.data.get("splits"):
        splits = {None: split_overrides(base, overrides, seeds[0])}
    heads = {name: head_settings(overrides, changes) if shared else {} for name, changes in variants.items()}
    for seed in seeds:
        for fold, split in splits.items():
            for variant, changes in variants.items():
                folder = output / slug(base.name) / ("shared" if shared else slug(variant)) / f"seed{seed}"
                folder /= "" if fold is None else f"fold{fold}"
                own = (*overrides, *split, *(() if shared else changes), f"seed={seed}")
                yield Trial(variant, seed, fold, own, folder, heads[variant])


def costs_of(trials: Sequence[Trial], rounds: int, calls: int) -> dict[str, dict[str, float]]:
    """Return the costs of each trained variant on the CPU; nothing where the first variant failed.

    "step" is the time of a training step on a batch of the training's size and "inference" that of one image, both
    as multiples of the first variant's; "parameters" is their number.
    """
    from softpoint.inference import read_checkpoint
    from softpoint.studies.timing import relative_times

    first = {trial.variant: trial for trial in reversed(trials) if not trial.failed}
    if trials[0].variant not in first:
        return {}
    variants = dict.fromkeys(trial.variant for trial in trials if trial.variant in first)
    # Their own overrides, not the checkpoints, decide what is instantiated.
    configs = {variant: composed(first[variant].overrides) for variant in variants}
    models = {v: read_checkpoint(first[v].evaluated_checkpoint, own_packages(cfg)) for v, cfg in configs.items()}
    costs = {v: {"parameters": float(sum(p.numel() for p in model.net.parameters()))} for v, model in models.items()}
    for kind, work_of in (("inference", inference_of), ("step", step_of)):
        work = {variant: work_of(model, configs[variant]) for variant, model in models.items()}
        for variant, multiple in relative_times(work, rounds, calls).items():
            costs[variant][kind] = multiple
    return costs


def inference_of(checkpoint: Checkpoint, _: DictConfig) -> Callable[[int], Any]:
    """Return a prediction of the network on one image, as a function of a number that it ignores."""
    import torch

    from softpoint.training.step_time import random_batch

    net, image = checkpoint.net.eval(), random_batch(checkpoint.size, 1, 1)["image"]
    return lambda _: torch.inference_mode()(net)(image)


def step_of(checkpoint: Checkpoint, cfg: DictConfig) -> Callable[[int], Any]:
    """Return a step of a training with config `cfg`, as a function of a number that it ignores."""
    from hydra.utils import instantiate

    from softpoint.data import Loader
    from softpoint.training import keypoint_loss
    from softpoint.training.step_time import random_batch, training_step

    optimizer = instantiate(cfg.optimizer)(checkpoint.net.parameters())
    step = training_step(checkpoint.net, keypoint_loss(instantiate(cfg.loss)), optimizer)
    batch = random_batch(checkpoint.size, Loader(cfg.data.batch_size).images, len(checkpoint.skeleton))
    return lambda _: step(batch)


def head_settings(overrides: Sequence[str], changes: Sequence[str]) -> Any:
    """Return the settings of the trained head that `changes` make to a training's overrides.

    Raises ValueError for changes that need another training, and for settings by which no heatmap could be decoded.
    """
    import torch

    from softpoint.functional import decode_heatmap

    if wrong := [word for word in changes if not word.startswith("head.") or "=" not in word]:
        raise ValueError(
            f"{wrong[0]}: where study.shared=true, variants change the trained head alone, as head.KEY=VALUE"
        )
    head = composed([*overrides, *changes]).head
    decode_heatmap(torch.ones(1, 1), head.get("decode", "window"), head.get("window", 1))
    return OmegaConf.to_container(OmegaConf.from_dotlist([word.removeprefix("head.") for word in changes]))
