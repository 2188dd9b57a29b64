"""Samples and batches of keypoints, from labeled images, shards or painted scenes.

`LabeledData`, `StreamedData` and `SyntheticData` are the data modules that a config names; `KeypointDataset` makes
samples. They are imported on first use, because they import Lightning.
"""

from typing import Any

from softpoint.labels.skeleton import Skeleton

__all__ = ["KeypointDataset", "LabeledData", "Loader", "Skeleton", "StreamedData", "SyntheticData"]

_HOMES = {
    "KeypointDataset": "softpoint.data.dataset",
    "LabeledData": "softpoint.data.labeled",
    "Loader": "softpoint.data.loaders",
    "StreamedData": "softpoint.data.shards.streaming",
    "SyntheticData": "softpoint.data.painted",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
