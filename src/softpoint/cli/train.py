"""The command `softpoint train`: train a keypoint model, test it, and print how to use it."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from softpoint.cli.first_weights import settle_backbone
from softpoint.cli.overrides import override_value, whole_number
from softpoint.cli.report import collected_warnings
from softpoint.cli.run_end import is_complete, tell_end, tell_result, telling_way_on
from softpoint.cli.run_folder import AUTO, restarted
from softpoint.cli.run_start import run_facts, tell_start, tell_transfer
from softpoint.cli.shell import inspect_command
from softpoint.cli.shown_settings import show_settings
from softpoint.cli.stored_run import absolute, keep_words, own_words, stored_words
from softpoint.cli.trainer import make_trainer, quiet_lightning
from softpoint.cli.trust import own_packages

if TYPE_CHECKING:
    from softpoint.evaluation import Results
    from softpoint.inference.checkpoint import Content
    from softpoint.training.best import Best
    from softpoint.training.time_budget import Choice

# Settings of data that a run decides itself, where they are auto.
DECIDED = ("pixels", "batch_size")


def arguments(words: Sequence[str]) -> list[str]:
    """Return the command line, in which --from RUN stands for the settings of another run."""
    run = next((word.partition("=")[2] for word in words if word.startswith("--from=")), None)
    if run is None:
        return list(words)
    try:
        return stored_words(absolute(run), [word for word in words if not word.startswith("--from=")])
    except FileNotFoundError as error:
        sys.exit(f"error: {error}")


def main(cfg: DictConfig) -> float | None:
    """Run a training, or a job of a sweep, and return the val/epe of its best epoch, which sweeps minimize."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if HydraConfig.get().mode == RunMode.MULTIRUN:
        from softpoint.cli.sweep import run_job

        return run_job(cfg)
    return train(cfg)[0]


def train(cfg: DictConfig) -> tuple[float | None, Results | None]:
    """Run a training and return the score of its best epoch, val/epe, and on the first process the results of its test.

    Raises ValueError for a training that diverges, and SystemExit for one that Ctrl-C or SIGTERM ends; outside of a
    study, the commands that go on are printed before.
    """
    # Imported here, so that --help and a misspelled key need not wait for torch.
    from hydra.core.hydra_config import HydraConfig
    from pytorch_lightning.utilities import rank_zero_only

    from softpoint.training import Record
    from softpoint.training.best import stored_score
    from softpoint.training.ending import exit_on_signals
    from softpoint.training.initial_model import earlier_images, find_model, known_held_out
    from softpoint.training.pruning import is_pruned
    from softpoint.training.resume import Resume, find_checkpoint, finished_record

    folder = Path(HydraConfig.get().runtime.output_dir)
    with exit_on_signals(), collected_warnings() as warnings:
        ckpt, stored = find_checkpoint(place) if (place := _place(cfg.resume, folder)) else (None, {})
        quiet_lightning(resumed=ckpt is not None)
        trust = _check(cfg, ckpt)
        _keep_groups(cfg, stored)
        initial = find_model(cfg.init) if cfg.init and not ckpt else None
        _keep_decisions(cfg, stored)
        stated = copy.deepcopy(cfg)  # `build` puts values in the place of references
        module, data, trainer = build(cfg, initial, stored.get("hyper_parameters"))
        # Lightning takes it from the launcher when it is imported, also in processes that train apart.
        rank_zero_only.rank = trainer.global_rank  # type: ignore[attr-defined]
        known: dict[str, Any] = {}
        if initial:
            known["known_held_out"] = len(known_held_out(initial, data.sources))
            data.earlier_images = earlier_images(initial, data.sources)
        if module.choice:
            known["time_budget"] = module.choice.facts
        keep = partial(_keep_config, folder, stated)
        record = Record({**run_facts(cfg, own_words(HydraConfig.get().overrides.task)), **known}, keep, trust)
        resumed = Resume(stored, module.hparams) if ckpt else None
        data.restore_size(stored.get(type(data).__qualname__, {}))
        trainer.callbacks += [record, *filter(None, [resumed])]
        trusted = ""
        if trainer.is_global_zero:
            show_settings(trainer, stated)
            trusted = tell_start(module, data, trainer, trust)
            if initial:
                tell_transfer(module, data, initial)
            if resumed:
                print(f"going on after {stored['global_step']} steps\n{resumed}".strip())
        if resumed and not resumed.changes and is_complete(cfg, folder):
            best_before = folder / "checkpoints" / "best.ckpt"
            if trainer.is_global_zero:
                tell_end(cfg, trainer, finished_record(best_before))
            return stored_score(best_before), None
        with telling_way_on(trainer, trusted):
            best = _fit_and_test(module, data, trainer, record, ckpt)
        if best is None or is_pruned(trainer):
            return best and best.score, None
        return best.score, tell_result(cfg, trainer, record, best, warnings, trusted)


def _check(cfg: DictConfig, ckpt: Path | None) -> list[str]:
    """Return the packages of the network's own classes; ValueError for settings or a checkpoint that cannot be used."""
    from softpoint.inference import read_checkpoint

    trust = own_packages(cfg)
    if ckpt:
        read_checkpoint(ckpt, trust)  # its message names the fault; Lightning's would not
    return trust


def _check_parts(cfg: DictConfig) -> None:
    """Raise ValueError for a callback or a logger that is none, such as false."""
    for group, kind in (("callbacks", "callback"), ("logger", "logger")):
        for name, part in (cfg.get(group) or {}).items():
            if not OmegaConf.is_dict(part) or "_target_" not in part:
                value = override_value(OmegaConf.to_container(part) if OmegaConf.is_config(part) else part)
                raise ValueError(
                    f"{group}.{name}={value} is no {kind}, which has a _target_; drop it with '~{group}.{name}'"
                )


def _keep_groups(cfg: DictConfig, stored: Mapping[str, Any]) -> None:
    """Keep the groups of a run of an earlier version that goes on: it found none in file names, and so split others."""
    before = stored.get("hyper_parameters", {}).get("data")
    if isinstance(before, dict) and before.get("group", "") is None and cfg.data.get("group") == "auto":
        cfg.data.group = None


def _fit_and_test(module: Any, data: Any, trainer: Any, record: Any, ckpt: Path | None) -> Best | None:
    """Train, test the best checkpoint and return it; None for a try-out of a batch, and untested where it is pruned."""
    from softpoint.data.watched_loader import shared_with_workers
    from softpoint.training.ending import usable_best
    from softpoint.training.pruning import is_pruned
    from softpoint.training.ranks import expect_ranks

    expect_ranks(trainer)
    with shared_with_workers():
        trainer.fit(module, data, ckpt_path=ckpt, weights_only=True)
    if trainer.fast_dev_run:
        return None
    best = usable_best(trainer)
    if trainer.is_global_zero:
        print(f"training ended {record.facts['end']}, in {trainer.global_step} steps")
    if is_pruned(trainer):
        return best
    if not data.batches("test"):
        record.finish(trainer, module)
    else:
        trainer.test(module, data, ckpt_path=best.path, verbose=False, weights_only=True)
    return best


def _place(resume: str | None, folder: Path) -> Path | None:
    """Return the folder or the checkpoint of a run to go on with; None for a new run."""
    from softpoint.training.resume import has_checkpoint

    if has_checkpoint(folder) and (resume == AUTO or restarted()):
        return folder
    return Path(resume) if resume not in (None, AUTO) else None


def _keep_config(folder: Path, cfg: DictConfig) -> None:
    """Write the config of a run that goes on; Hydra writes that of a new one."""
    from hydra.core.hydra_config import HydraConfig

    if HydraConfig.get().output_subdir is None:
        keep_words(folder, cfg, HydraConfig.get().overrides.task)


def _keep_decisions(cfg: DictConfig, stored: Mapping[str, Any]) -> None:
    """Put what a run that goes on decided into its config, where that says auto."""
    before = stored.get("hyper_parameters", {}).get("data") or {}
    cfg.data.update({key: before[key] for key in DECIDED if key in before and cfg.data.get(key) == AUTO})
    if cfg.get("augment") and cfg.augment.get("flip") == AUTO and before.get("augment"):
        cfg.augment.flip = before["augment"]["flip"]


def build(
    cfg: DictConfig, initial: Content | None = None, before: Mapping[str, Any] | None = None
) -> tuple[Any, Any, Any]:
    """Return the module, the data and the trainer of a training; mistakes are found before an image is decoded.

    The network starts from the model `initial`, and `module.transfer` then is what it took over. `before` is the config
    of the checkpoint that the training goes on from.
    """
    import pytorch_lightning as pl
    import torch
    from hydra.core.hydra_config import HydraConfig
    from hydra.utils import instantiate

    from softpoint.cli.mirrored import decide_flip
    from softpoint.labels.row_errors import RefusedLabelsError
    from softpoint.memory import keep_freed_memory
    from softpoint.training.checkpoint_io import AtomicCheckpointIO
    from softpoint.training.checks import check_batches, check_heatmap_sets, check_trainer, leave_out_validation
    from softpoint.training.initial_model import start_from

    keep_freed_memory()
    whole_number(cfg, "seed")
    _check_parts(cfg)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    stated = copy.deepcopy(cfg)  # `instantiate` puts values in the place of references
    data, trainer = instantiate(cfg.datamodule), make_trainer(cfg.trainer)
    data.check_files()  # the network may ask for its first weights
    before = before or (initial.config if initial else {})
    start = settle_backbone(cfg, HydraConfig.get().runtime.choices.get("backbone"), before, trainer)
    if "backbone" in cfg:
        stated.backbone = copy.deepcopy(cfg.backbone)
    make_module = instantiate(cfg.module, _partial_=True)
    check_trainer(trainer)
    if not trainer.loggers:  # which that callback refuses
        trainer.callbacks = [c for c in trainer.callbacks if not isinstance(c, pl.callbacks.LearningRateMonitor)]
    trainer.strategy.checkpoint_io = AtomicCheckpointIO()
    with torch.device("meta"):  # without memory: the data will tell the number of keypoints
        net = make_module.keywords["net"](num_keypoints=1)
    check_heatmap_sets(trainer, net.head)
    if hasattr(data, "size"):
        net.check_size(*data.size)
    data.trainer = trainer  # processes that train together share what one of them prepares
    try:
        if trainer.local_rank == 0:  # others that come first wait for the files they share, by locks
            data.prepare_data()
        choice = _fit_to_minutes(make_module.keywords, data, trainer)
        data.setup("fit")
        mirrored = decide_flip(data)
    except RefusedLabelsError as error:
        words = HydraConfig.get().overrides.task
        mark = "\n" if "\n" in str(error) else "; "
        raise ValueError(f"{error}{mark}see all findings about the labels by {inspect_command(words)}") from error
    check_batches(trainer, data)
    if not data.batches("val"):
        leave_out_validation(trainer)
    decided = {"model": _input_of(stated.model, data), "data": data.read_settings | _decided(stated, data)}
    make_module.keywords["net"] = partial(make_module.keywords["net"], **decided["model"])
    if stated.get("augment") and stated.augment.get("flip") == AUTO:
        decided["augment"] = {"flip": data.augment.flip}
    module = make_module(skeleton=data.skeleton, learn_visibility=data.has_hidden_points)
    module.choice, module.mirrored, module.start = choice, mirrored, start
    # A checkpoint rebuilds its network from these values, so they hold the choice that the data made.
    if "visibility" in cfg.head:
        decided["head"] = {"visibility": "visibility" in module.net.head.provides}
    module.save_hyperparameters(OmegaConf.to_container(OmegaConf.merge(stated, decided), resolve=True))
    if initial is not None:
        names, config = data.skeleton.names, module.hparams["model"]
        module.transfer = start_from(initial, module.net, names, config, make_module.keywords["net"])
    return module, data, trainer


def _fit_to_minutes(parts: Mapping[str, Any], data: Any, trainer: Any) -> Choice | None:
    """Choose the input size and the batch by the speed of the parts of a module; None where they are set."""
    from softpoint.training.growth import growth_of
    from softpoint.training.time_budget import fit_to_minutes

    if parts.get("compile") and (growth := growth_of(trainer)):
        trainer.callbacks.remove(growth)  # inductor fails on sizes that change
        print("the input keeps one size, because module.compile=true compiles the network for one")
    net = partial(parts["net"], in_channels=data.channels)
    return fit_to_minutes(data, net, parts["loss"], parts["optimizer"], trainer)


def _decided(cfg: DictConfig, data: Any) -> dict[str, Any]:
    """Return what was decided in the place of auto."""
    return {key: getattr(data, key) for key in DECIDED if cfg.data.get(key) == AUTO}


def _input_of(model: DictConfig, data: Any) -> dict[str, Any]:
    """Return the arguments of the network that its images decide: their channels, and what standardizes them."""
    chosen: dict[str, Any] = {"in_channels": data.channels} if data.channels != 3 else {}
    if data.standardizes and model.get("mean") is None and model.get("std") is None:
        chosen |= dict(zip(("mean", "std"), data.color_statistics(), strict=True))
    return chosen
