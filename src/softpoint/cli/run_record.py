"""What a run is remembered by: its record in the best checkpoint, and its model card."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from softpoint.cli.hydra_errors import CONFIGS


def told(cfg: DictConfig, words: Sequence[str]) -> dict[str, Any]:
    """The command of a run, and the name, labels and license of its data; None for what is not known.

    >>> cfg = OmegaConf.create({"name": "custom", "data": {"labels": "mine/labels.csv", "fetch": None}})
    >>> told(cfg, ["data=custom"])["command"], told(cfg, [])["labels"]
    ('python scripts/train.py data=custom', 'labels.csv')
    >>> told(OmegaConf.create({"name": "mirror_mouse", "data": {"fetch": "mirror_mouse"}}), [])["data_license"]
    'MIT'
    """
    labels, fetch = cfg.data.get("labels"), cfg.data.get("fetch")
    about = CONFIGS / "fetch" / f"{Path(str(fetch)).name}.yaml"
    public: Any = OmegaConf.load(about) if fetch and about.is_file() else {}
    painted = "none is needed for scenes that softpoint paints" if "painter" in cfg.data else None
    return {
        "command": shlex.join(["python", "scripts/train.py", *words]),
        "data": cfg.name,
        "labels": Path(labels).name if labels else None,
        "data_title": public.get("title"),
        "data_license": public.get("license", painted),
    }


def conclude(best: Path, facts: Mapping[str, Any], data: Any, trainer: Any) -> None:
    """Adds the test to a run's record, writes that into the best checkpoint, and the model's card beside it."""
    from softpoint.evaluation.final_test import measure_test
    from softpoint.inference import read_checkpoint
    from softpoint.inference.model_card import write_card
    from softpoint.training.record import write_record

    try:
        checkpoint = read_checkpoint(best)
        skipped = trainer.limit_test_batches == 0
        test = {} if skipped else measure_test(checkpoint, data, trainer.strategy.root_device)
    except ValueError as error:  # a training that diverged ends with the numbers that it has
        print(f"no model card: {error}")
        return
    record = {**facts, **test, "finished": True}
    write_record(best, record)
    card = Path(trainer.default_root_dir) / "model_card.md"
    write_card(replace(checkpoint, record=record), card)
    print(f"model card: {os.path.relpath(card)}")
