"""Streamed sets as tests open and compare them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from helpers.data import same
from softpoint.data import Loader
from softpoint.data.augment import Augment
from softpoint.data.dataset import KeypointDataset
from softpoint.data.shards.streaming import StreamedData

SEED = 3  # of the order in which tests pack


def open_streamed(folder: Path | str, **changes: Any) -> StreamedData:
    loader = Loader(changes.pop("batch_size", 4), changes.pop("num_workers", 0))
    arguments = {"size": 64, "loader": loader, "seed": 0, "augment": Augment(rotate=30)}
    data = StreamedData(str(folder), **arguments | changes)
    data.setup("fit")
    return data


def equal(a: KeypointDataset, b: KeypointDataset) -> bool:
    return len(a) == len(b) and all(same(a[index], b[index]) for index in range(len(a)))
