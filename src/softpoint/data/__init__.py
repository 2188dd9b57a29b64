"""Pictures and labels, from disk or painted, to batches.

`KeypointDataset` makes samples; `SyntheticData`, `LabelledData` and `StreamedData` are what a config instantiates.
They are imported when first asked for, because they bring Lightning along.
"""

from typing import Any

from softpoint.data.skeleton import Skeleton

__all__ = ["KeypointDataset", "LabelledData", "Skeleton", "StreamedData", "SyntheticData"]

_HOMES = {
    "KeypointDataset": "softpoint.data.dataset",
    "LabelledData": "softpoint.data.labelled",
    "StreamedData": "softpoint.data.packed.streaming",
    "SyntheticData": "softpoint.data.datamodule",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
