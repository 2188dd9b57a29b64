"""Images and labels, from disk or painted, to batches.

`KeypointDataset` makes samples; `SyntheticData`, `LabeledData` and `StreamedData` are what a config instantiates.
They are imported when first asked for, because they bring Lightning along.
"""

from typing import Any

from softpoint.labels.skeleton import Skeleton

__all__ = ["KeypointDataset", "LabeledData", "Loader", "Skeleton", "StreamedData", "SyntheticData"]

_HOMES = {
    "KeypointDataset": "softpoint.data.dataset",
    "LabeledData": "softpoint.data.labeled",
    "Loader": "softpoint.data.datamodule",
    "StreamedData": "softpoint.data.shards.streaming",
    "SyntheticData": "softpoint.data.datamodule",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
