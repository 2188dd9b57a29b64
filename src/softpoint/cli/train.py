"""The command `softpoint train`: train a keypoint model, test it, and print how to use it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from softpoint.cli.shell import command, here, setting

if TYPE_CHECKING:
    from softpoint.evaluation import Results


def main(cfg: DictConfig) -> float | None:
    """Run a training and return the best val/epe, which sweeps minimize."""
    return train(cfg)[0]


def train(cfg: DictConfig) -> tuple[float | None, Results | None]:
    """Run a training and return the best val/epe and the results of its test, on the first process."""
    # Imported here, so that --help and a misspelled key need not wait for torch.
    import logging
    import warnings

    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from softpoint.cli.run_record import conclude, run_facts
    from softpoint.inference import read_checkpoint
    from softpoint.inference.build_model import target_packages
    from softpoint.training import Record
    from softpoint.training.calibrate import best_checkpoint
    from softpoint.training.final_test import FinalTest

    # Of Lightning's own use of torch, its advice to use more workers than a laptop has cores, and epochs cut short.
    ignored = ".*LeafSpec.*|.*many workers.*|.*smaller than the logging interval.*|.*could not find the monitored key.*"
    warnings.filterwarnings("ignore", ignored)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    if empty := next((name for name, callback in (cfg.callbacks or {}).items() if callback is None), None):
        raise ValueError(f"callbacks.{empty}=null: drop it with '~callbacks.{empty}'")
    trust = target_packages(OmegaConf.to_container(cfg.model, resolve=True))
    if cfg.ckpt_path:
        read_checkpoint(cfg.ckpt_path, trust)  # its message names the fault; Lightning's would not
    module, data, trainer = build(cfg)
    if HydraConfig.get().mode == RunMode.MULTIRUN and trainer.world_size > 1:
        raise ValueError(
            f"each of the {trainer.world_size} processes would start the whole sweep again; run -m with one process"
            " per job (trainer.devices=1), or train these one by one"
        )
    record = Record(run_facts(cfg, HydraConfig.get().overrides.task))
    trainer.callbacks.append(record)
    if trainer.is_global_zero:
        print(f"{data.summary}; {module.summary}; writing to {here(trainer.default_root_dir)}")
        print(data.skeleton.mirroring)
        trusted = announce_trust(module, trust)
    trainer.fit(module, data, ckpt_path=cfg.ckpt_path, weights_only=True)
    if trainer.fast_dev_run:
        return None, None
    if (best := best_checkpoint(trainer)) is None:
        steps = f" and trainer.max_steps={trainer.max_steps}" if trainer.max_steps >= 0 else ""
        raise ValueError(
            f"nothing to test: no epoch up to trainer.max_epochs={trainer.max_epochs}{steps} was trained, validated"
            " and saved; raise it, and keep callbacks.checkpoint"
        )
    path, score = best
    trainer.test(module, data, ckpt_path=path, verbose=False, weights_only=True)
    report = next((callback for callback in trainer.callbacks if isinstance(callback, FinalTest)), FinalTest())
    if trainer.is_global_zero:
        conclude(path, record.facts, trainer, report)
        print(f"best checkpoint, val/epe {score:.3f} px: {here(path)}")
        boxes = " boxes=LABELS" * bool(data.crops)
        print(f"use it: {command('predict')} {setting('ckpt', here(path))} source=IMAGE_OR_FOLDER{boxes}{trusted}")
    return score, report.results if report.metrics else None


def announce_trust(module: Any, trust: Sequence[str]) -> str:
    """Print what commands need to read the checkpoints of a network with modules of the user's own; return it."""
    import shlex

    import torch

    from softpoint.inference.build_model import build_model

    try:
        with torch.device("meta"):
            build_model(module.hparams["model"], len(module.skeleton), trust)
    except ValueError as error:
        print(f"warning: no command will read the checkpoints of this training, nor resume it: {error}")
    own = sorted({package for package in trust if not package.startswith("softpoint.")})
    if not own:
        return ""
    trusted = shlex.quote(f"trust=[{','.join(own)}]")
    print(f"the network has modules of your own: commands that read its checkpoints need {trusted}")
    return f" {trusted}"


def build(cfg: DictConfig) -> tuple[Any, Any, Any]:
    """Return the module, the data and the trainer of a training."""
    import pytorch_lightning as pl
    from hydra.utils import instantiate

    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    data, trainer = instantiate(cfg.datamodule), instantiate(cfg.trainer)
    data.trainer = trainer  # processes that train together share what one of them prepares
    if trainer.local_rank == 0:  # others that come first wait for the files they share, by locks
        data.prepare_data()
    data.setup("fit")
    facts = {"skeleton": data.skeleton, "learn_visibility": data.has_hidden_points}
    module = instantiate(cfg.module, _partial_=True)(**facts)
    # A checkpoint rebuilds its network from these values, so they hold the choice that the data made.
    decided = {"head": {"visibility": "visibility" in module.net.head.provides}} if "visibility" in cfg.head else {}
    module.save_hyperparameters(OmegaConf.to_container(OmegaConf.merge(cfg, decided), resolve=True))
    return module, data, trainer
