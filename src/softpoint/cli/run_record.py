"""The record of a run in its best checkpoint, and its model card."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from softpoint.cli.hydra_errors import CONFIGS

if TYPE_CHECKING:
    from softpoint.training.final_test import FinalTest


# The folders of an absolute path in an override, which are the user's own affair.
_FOLDERS = re.compile(r"""(?<=[=,'"\[ ])(?:~?/|[A-Za-z]:[\\/])(?:[^,'"\[\]{}]*[\\/])?""")


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
    labels, fetch = cfg.data.get("labels"), cfg.data.get("fetch")
    about = CONFIGS / "fetch" / f"{Path(str(fetch)).name}.yaml"
    public: Any = OmegaConf.load(about) if fetch and about.is_file() else {}
    painted = "none is needed for scenes that softpoint paints" if "painter" in cfg.data else None
    return {
        "command": shlex.join(["softpoint", "train", *(_FOLDERS.sub("", override) for override in overrides)]),
        "data": cfg.name,
        "labels": Path(labels).name if labels else None,
        "data_title": public.get("title"),
        "data_license": public.get("license", painted),
    }


def conclude(best: Path, facts: Mapping[str, Any], trainer: Any, report: FinalTest) -> None:
    """Write a run's record with the outcome of its test into the best checkpoint, and its model card."""
    from softpoint.inference import read_checkpoint
    from softpoint.inference.build_model import target_packages
    from softpoint.inference.model_card import write_card
    from softpoint.training.record import write_record

    try:
        if report.failure:
            raise ValueError(report.failure)
        checkpoint = read_checkpoint(best, target_packages(trainer.lightning_module.hparams["model"]))
    except ValueError as error:  # the training diverged
        print(f"no model card: {error}")
        return
    record, card = {**facts, **report.facts(), "finished": True}, Path(trainer.default_root_dir) / "model_card.md"
    write_record(best, record)
    write_card(replace(checkpoint, record=record), card)
    print(f"model card: {os.path.relpath(card)}")
