"""Files of predictions: one module per format, each file written atomically."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from softpoint.extras import require
from softpoint.images.ffmpeg import pyav
from softpoint.inference.batch.predictions import Predictions
from softpoint.inference.batch.writers import coco, dlc, slp, table
from softpoint.suggest import did_you_mean

__all__ = [
    "FORMATS", "Format", "check_formats", "write_confidence", "write_millimeters", "write_regions", "write_table",
]  # fmt: skip

write_table, write_confidence = table.write, table.write_confidence
write_regions, write_millimeters = table.write_regions, table.write_millimeters


class Format(NamedTuple):
    """Name of a file, the function that writes it, and the library that it needs, with its extra."""

    file: str
    write: Callable[[Path, Predictions], None]
    library: tuple[str, str] | None = None


FORMATS: dict[str, Format] = {
    "coco": Format("predictions_coco.json", coco.write),
    "dlc_csv": Format("predictions_dlc.csv", dlc.write_csv),
    "dlc_h5": Format("predictions_dlc.h5", dlc.write_h5, ("h5py", "dlc")),
    "slp": Format("predictions.slp", slp.write, ("sleap_io", "sleap")),
}


def check_formats(formats: Sequence[str], video: bool = False) -> None:
    """Raise ValueError for an unknown format, ImportError for a library that a format or a `video` lacks."""
    for name in formats:
        if name not in FORMATS:
            raise ValueError(f"formats={list(formats)}: {name!r}: {did_you_mean(name, FORMATS)}")
        if library := FORMATS[name].library:
            require(*library, f"formats=[{name}]")
    if video:
        pyav()
