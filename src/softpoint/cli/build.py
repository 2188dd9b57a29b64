"""The parts of a training, made from its config: module, data and trainer."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from softpoint.cli.decisions import Decisions, of_several
from softpoint.cli.overrides import override_value, whole_number
from softpoint.cli.shell import inspect_command
from softpoint.cli.trainer import make_trainer

if TYPE_CHECKING:
    from softpoint.inference.checkpoint_content import Content


def build(
    cfg: DictConfig, initial: Content | None = None, before: Mapping[str, Any] | None = None
) -> tuple[Any, Any, Any]:
    """Return the module, the data and the trainer of a training; mistakes are found before an image is decoded.

    The network starts from the model `initial`, and `module.transfer` then is what it took over. `before` is the config
    of the checkpoint that the training goes on from. `module.decisions` is what was decided in the place of auto.
    """
    import pytorch_lightning as pl
    from hydra.utils import instantiate

    from softpoint.inference.build_model import check_numbers
    from softpoint.memory import keep_freed_memory
    from softpoint.training.checks import check_batches, leave_out_validation
    from softpoint.training.compiled import check_compile, prepare_compiler
    from softpoint.training.initial_model import start_from

    keep_freed_memory()
    whole_number(cfg, "seed")
    _check_parts(cfg)
    if cfg.compile:
        prepare_compiler()
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    decisions = Decisions(copy.deepcopy(cfg))  # `instantiate` puts values in the place of references
    data, trainer = instantiate(cfg.datamodule), make_trainer(cfg.trainer)
    check_compile(cfg.compile, trainer, cfg.recompute, teacher=cfg.module.teacher is not None)
    data.check_files()  # the network may ask for its first weights
    decisions.backbone(cfg, before or (initial.config if initial else {}), trainer)
    make_module = instantiate(cfg.module, compile=cfg.compile, recompute=cfg.recompute, _partial_=True)
    _prepare_trainer(trainer)
    check_numbers(OmegaConf.to_container(decisions.config.model, resolve=True))  # its checkpoints could not be read
    _check_network(make_module.keywords["net"], data, trainer)
    data.trainer = trainer  # processes that train together share what one of them prepares
    with _refused_labels_explained():
        if trainer.local_rank == 0:  # others that come first wait for the files they share, by locks
            data.prepare_data()
        make_net = partial(make_module.keywords["net"], **_parts_of_several(cfg, data))
        decisions.input({**make_module.keywords, "net": make_net}, data, trainer)
        data.setup("fit")
        decisions.mirroring(data)
    check_batches(trainer, data)
    if not data.batches("val"):
        leave_out_validation(trainer)
    settled = decisions.settled(data)
    several = _parts_of_several(cfg, data)
    make_module.keywords["net"] = partial(make_module.keywords["net"], **settled["model"] | several)
    module = make_module(skeleton=data.skeleton, learn_visibility=data.has_hidden_points)
    module.decisions = decisions
    if "visibility" in cfg.head:
        settled["head"] = {"visibility": "visibility" in module.net.head.provides}
    module.save_hyperparameters(decisions.stored(settled))
    if initial is not None:
        names, config = data.skeleton.names, module.hparams["model"]
        module.transfer = start_from(initial, module.net, names, config, make_module.keywords["net"])
    return module, data, trainer


def _check_parts(cfg: DictConfig) -> None:
    """Raise ValueError for a callback or a logger that is none, such as false."""
    for group, kind in (("callbacks", "callback"), ("logger", "logger")):
        for name, part in (cfg.get(group) or {}).items():
            if not OmegaConf.is_dict(part) or "_target_" not in part:
                value = override_value(OmegaConf.to_container(part) if OmegaConf.is_config(part) else part)
                raise ValueError(
                    f"{group}.{name}={value} is no {kind}, which has a _target_; drop it with '~{group}.{name}'"
                )


def _parts_of_several(cfg: DictConfig, data: Any) -> dict[str, Any]:
    """Return the parts that a network has for several subjects alone; none where the data has no scenes of them."""
    from hydra.utils import instantiate

    if not data.scenes or "finder" not in cfg.model:
        return {}
    cfg.model.update(parts := of_several(cfg.finder))
    return {part: instantiate(cfg.model[part]) for part in parts}


def _prepare_trainer(trainer: Any) -> None:
    """Check a trainer, and let it write checkpoints that are whole or not there."""
    from pytorch_lightning.callbacks import LearningRateMonitor

    from softpoint.training.checkpoint_io import AtomicCheckpointIO
    from softpoint.training.checks import check_trainer

    check_trainer(trainer)
    if not trainer.loggers:  # which that callback refuses
        trainer.callbacks = [c for c in trainer.callbacks if not isinstance(c, LearningRateMonitor)]
    trainer.strategy.checkpoint_io = AtomicCheckpointIO()


def _check_network(make_net: Any, data: Any, trainer: Any) -> None:
    """Raise ValueError for a network that its input or the callbacks do not fit."""
    import torch

    from softpoint.training.checks import check_heatmap_sets

    with torch.device("meta"):  # without memory: the data will tell the number of keypoints
        net = make_net(num_keypoints=1)
    check_heatmap_sets(trainer, net.head)
    if hasattr(data, "size"):
        net.check_size(*data.size)


@contextmanager
def _refused_labels_explained() -> Iterator[None]:
    """Name the command that shows all findings where labels are refused."""
    from hydra.core.hydra_config import HydraConfig

    from softpoint.labels.row_errors import RefusedLabelsError

    try:
        yield
    except RefusedLabelsError as error:
        words = HydraConfig.get().overrides.task
        mark = "\n" if "\n" in str(error) else "; "
        raise ValueError(f"{error}{mark}see all findings about the labels by {inspect_command(words)}") from error
