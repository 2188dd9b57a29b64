"""Data modules of small sets, from flat settings as configs/data/custom.yaml names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from softpoint.data import LabeledData, Loader
from softpoint.labels.source import LabelSource
from softpoint.labels.split import Split

USUAL: dict[str, Any] = {"size": 64, "batch_size": 4, "num_workers": 0, "seed": 0, "epoch_steps": 1}


def labeled_data(labels: Path, stage: str = "fit", **settings: Any) -> LabeledData:
    """The data module of these labels, prepared and set up."""
    data = new_labeled_data(labels, **settings)
    data.prepare_data()
    data.setup(stage)
    return data


def new_labeled_data(labels: Path, **settings: Any) -> LabeledData:
    """The data module of these labels, which has not read anything yet."""
    settings = {"labels": labels, **USUAL, **settings}
    source, split, loader = (
        kind(**{field.name: settings.pop(field.name) for field in fields(kind) if field.name in settings})
        for kind in (LabelSource, Split, Loader)
    )
    return LabeledData(source, split, loader, **settings)


def same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Return whether two samples or batches are equal; NaN equals NaN."""
    arrays = ({key: v.numpy() if torch.is_tensor(v) else v for key, v in values.items()} for values in (a, b))
    try:
        np.testing.assert_equal(*arrays)
    except AssertionError:
        return False
    return True
