"""What a job writes: one file a format, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from softpoint.images.video_seek import pyav
from softpoint.inference.batch.writers import coco, dlc, slp, table
from softpoint.inference.batch.writers.rows import Answers
from softpoint.suggest import did_you_mean

__all__ = ["FORMATS", "Answers", "Format", "check_formats", "write_table"]

write_table = table.write


class Format(NamedTuple):
    """What a file is called, what writes it, and what must be installed for that."""

    file: str
    write: Callable[[Path, Answers], None]
    need: Callable[[], Any] | None = None


FORMATS: dict[str, Format] = {
    "coco": Format("predictions_coco.json", coco.write),
    "dlc_csv": Format("predictions_dlc.csv", dlc.write_csv),
    "dlc_h5": Format("predictions_dlc.h5", dlc.write_h5, dlc.need_h5py),
    "slp": Format("predictions.slp", slp.write, slp.need_sleap_io),
}


def check_formats(formats: Sequence[str], video: bool = False) -> None:
    """ValueError for an unknown format, ImportError for a library that one, or a labeled `video`, needs and lacks."""
    for name in formats:
        if name not in FORMATS:
            raise ValueError(f"formats={list(formats)}: {name!r}: {did_you_mean(name, FORMATS)}")
        if (need := FORMATS[name].need) is not None:
            need()
    if video:
        pyav()
