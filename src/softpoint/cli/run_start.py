"""The start of a run on the command line: what it trains, where to watch it, and the facts that its model keeps."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from softpoint.cli.command_line import CONFIGS
from softpoint.cli.shell import here
from softpoint.cli.trust import announce_trust

if TYPE_CHECKING:
    from softpoint.inference.checkpoint_content import Content

_log = logging.getLogger(__name__)
# The folders of an absolute path in an override, which are the user's own affair.
_FOLDERS = re.compile(r"""(?<=[=,'"\[ ])(?:~?/|[A-Za-z]:[\\/])(?:[^,'"\[\]{}]*[\\/])?""")


def tell_start(module: Any, data: Any, trainer: Any, trust: Sequence[str]) -> str:
    """Print what will be trained and where to watch it; return what commands need to read its checkpoints."""
    device = f"{trainer.world_size} x " * (trainer.world_size > 1) + trainer.strategy.root_device.type
    print(f"{data.summary}; {module.summary}; on {device}; writing to {here(trainer.default_root_dir)}")
    print(data.skeleton.mirroring)
    print(*(f"{note}\n" for note in module.decisions.notes), sep="", end="")
    print(getattr(data, "gray_note", ""), getattr(data, "several_note", ""), sep="", end="")
    print(_way_to_watch(trainer), end="")
    return announce_trust(module, trust)


def tell_transfer(module: Any, data: Any, initial: Content) -> None:
    """Print what the network took over from the model that it starts from."""
    from softpoint.tables import console
    from softpoint.training.initial_model import trained_on

    print(f"the network starts from {initial.address or here(initial.path)}:")
    console().print(module.transfer.table)
    print(module.transfer)
    if learned := trained_on(initial, data.sources):
        _log.warning("%s", learned)


def run_facts(cfg: DictConfig, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the command of a run, and the name, labels and license of its data; None for what is not known.

    >>> cfg = OmegaConf.create({"name": "custom", "data": {"labels": "mine/labels.csv", "fetch": None}})
    >>> run_facts(cfg, ["data=custom"])["command"], run_facts(cfg, [])["labels"]
    ('softpoint train data=custom', 'labels.csv')
    >>> run_facts(cfg, ["data.labels=/home/me/mine/labels.csv", "data.folder=s3://a/b"])["command"]
    'softpoint train data.labels=labels.csv data.folder=s3://a/b'
    >>> run_facts(OmegaConf.create({"name": "mirror_mouse", "data": {"fetch": "mirror_mouse"}}), [])["data_license"]
    'MIT'
    """
    from softpoint.labels.label_sets import as_paths

    labels, fetch = cfg.data.get("labels"), cfg.data.get("fetch")
    about = CONFIGS / "fetch" / f"{Path(str(fetch)).name}.yaml"
    public: Any = OmegaConf.load(about) if fetch and about.is_file() else {}
    painted = "none is needed for scenes that softpoint paints" if "painter" in cfg.data else None
    return {
        "command": shlex.join(["softpoint", "train", *(_FOLDERS.sub("", override) for override in overrides)]),
        "seed": cfg.get("seed"),
        "data": cfg.name,
        "labels": ", ".join(path.name for path in as_paths(labels)) if labels else None,
        "data_title": public.get("title"),
        "data_license": public.get("license", painted),
    }


def _way_to_watch(trainer: Any) -> str:
    """Return the line with the command that shows this run and those beside it; "" without TensorBoard.

    A run below outputs/ is shown with all runs there.
    """
    from pytorch_lightning.loggers import TensorBoardLogger

    if not any(isinstance(logger, TensorBoardLogger) for logger in trainer.loggers):
        return ""
    folder = Path(here(trainer.default_root_dir))
    shown = folder.parts[0] if folder.parts[:1] == ("outputs",) else str(folder)
    return f"watch it: {shlex.join(['tensorboard', '--logdir', shown])}\n"
