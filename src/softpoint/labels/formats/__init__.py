"""Readers and writers of label files, one module per format, chosen by content.

A format is one module here with the public names of `Format`, and a line in `FORMATS`, which lists the formats in the
order in which they are tried. One that can be written has `write(labels, path, sizes)` too, and a line in `WRITERS`.

Shared pieces are in `parsing/`. Files are untrusted: for any content a reader raises only ValueError or
FileNotFoundError, and ImportError for a missing library; `tests/labels/formats` checks this with damaged files.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import numpy as np

from softpoint.labels.formats import (
    coco,
    coco_points,
    coco_splits,
    csv_long,
    csv_wide,
    cvat_xml,
    dlc_csv,
    dlc_h5,
    dlc_project,
    dlib_xml,
    json_per_image,
    label_studio,
    labelme,
    mpii,
    nwb,
    openpose,
    pts,
    results_json,
    sleap,
    tps,
    via,
    yolo_pose,
)
from softpoint.labels.formats.parsing.rows import read_head
from softpoint.labels.missing import Missing, marks_of, without_marks
from softpoint.labels.row_errors import NothingLeftError, RowErrors, first_few
from softpoint.labels.schema import Labels
from softpoint.suggest import check_choice

_log = logging.getLogger(__name__)


class Format(Protocol):
    """The public names of a module that reads a format."""

    DESCRIPTION: str  # the kind of file, for messages: "an HDF5 file .h5 that ..."

    def recognize(self, path: Path, head: bytes) -> bool:
        """Return whether a file or folder is in this format; `head` is the first 64 KiB of a file. Never raises."""

    def read(self, path: Path, errors: RowErrors, images: Path | None = None) -> Labels:
        """Return the labels; `images` is the folder of the images if the user names one.

        Raises ValueError for an invalid file. A row is read within `with errors.row("line 4"):`, which collects a
        ValueError, to be reported later.
        """


FORMATS: dict[str, Format] = {
    "dlc_project": dlc_project,
    "dlc_h5": dlc_h5,
    "dlc_csv": dlc_csv,
    "coco_points": coco_points,
    "coco": coco,
    "coco_splits": coco_splits,
    "json_per_image": json_per_image,
    "label_studio": label_studio,
    "mpii": mpii,
    "results_json": results_json,
    "via": via,
    "labelme": labelme,
    "openpose": openpose,
    "yolo_pose": yolo_pose,
    "cvat_xml": cvat_xml,
    "dlib_xml": dlib_xml,
    "pts": pts,
    "tps": tps,
    "sleap": sleap,
    "nwb": nwb,
    "csv_long": csv_long,
    "csv_wide": csv_wide,
}

# From labels, a path, and the sizes (N, 2), height and width of each subject's image.
WRITERS: dict[str, Callable[[Labels, Path, np.ndarray], None]] = {
    "dlc_csv": dlc_csv.write,
    "csv": csv_wide.write,
    "coco": coco.write,
}


def read_labels(
    path: str | Path,
    format: str | None = None,
    on_error: str = "error",
    images: str | Path | None = None,
    fetch: str | None = None,
    errors: RowErrors | None = None,
    missing: Missing = "auto",
) -> Labels:
    """Return the labels in a file or folder, in the named `format` or in the one that its content shows.

    `images` is the folder of the images if it differs from that of the labels; `fetch` names the public set of the
    labels, for a message; `missing` names the coordinates of missing points, see `marks_of`. Rows with errors raise one
    ValueError, or with `on_error` "skip" are left out with one warning; `errors` collects them instead. Raises
    FileNotFoundError for a missing file and ValueError for an invalid one.
    """
    path = Path(path)
    marks_of(missing)  # refuses a wrong value
    if format is not None:
        check_choice("data.format", format, FORMATS)
    check_exists(path, fetch)
    errors = errors or RowErrors(str(path), on_error)
    before = len(errors.skipped)
    reader = FORMATS[format or recognize(path)]
    with _uncollected():
        labels = reader.read(path, errors, None if images is None else Path(images))
    errors.raise_or_warn()
    labels.columns.pack_texts()
    if not len(labels):
        skipped = errors.skipped[before:] if errors.silent else []
        reasons = f"; no row can be used{first_few(skipped)}" if skipped else ""
        reasons = reasons or (f"; it has {_unused(labels)} alone" if _unused(labels) else "")
        raise NothingLeftError(f"{path} labels no image{reasons or '; check that the file is complete'}")
    labels = without_marks(labels, missing)
    unused = _unused(labels)
    if unused and not errors.silent:
        _log.warning("%s: left out %s", path, unused)
    return labels


def _unused(labels: Labels) -> str:
    return ", ".join(f"{count} {content}" for content, count in labels.unused.items() if count)


def check_exists(path: Path, fetch: str | None = None) -> None:
    """Raise FileNotFoundError where there are no labels at a path; `fetch` names the public set that they belong to."""
    if not path.exists():
        hint = f"download them by softpoint fetch {fetch}" if fetch else "name a label file, or the folder of a project"
        raise FileNotFoundError(f"labels {path} do not exist; {hint}")


@contextmanager
def _uncollected() -> Iterator[None]:
    """Switch Python's garbage collector off: it would search all that was read so far again and again.

    That takes a sixth of the time of a COCO file of 20 MB, and an eighth of that of a CSV of 10,000 rows.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


# How content begins that a program other than a labeling tool has changed, and the way out.
_UTF_16 = "is text in UTF-16; save it as UTF-8"
_WRAPPED = {
    b"\xff\xfe": _UTF_16,
    b"\xfe\xff": _UTF_16,
    b"\x1f\x8b": "is compressed by gzip; unpack it, by gunzip",
    b"PK\x03\x04": "is a ZIP archive; unpack it, and name the label file or folder in it",
}


# Endings of label files, and how many files and folders are tried in a folder that is in no format itself.
_ENDINGS = {".csv", ".h5", ".json", ".mat", ".nwb", ".slp", ".tps", ".xml", ".yaml", ".yml"}
_TRIED = 50


def recognize(path: Path) -> str:
    """Return the name of the format of a file or folder.

    Raises a ValueError that names the labels in a folder, or the folder that a file is of, else all formats.
    """
    if name := _format_of(path):
        return name
    if path.is_dir():
        if found := _labels_in(path):
            raise ValueError(
                f"{path} is a folder that holds labels; name one of these, or several as [A,B]{first_few(found)}"
            )
        names = sorted(entry.name + "/" * entry.is_dir() for entry in path.iterdir())
        content = f"this folder holds {', '.join(names[:8]) or 'nothing'}{', ...' if len(names) > 8 else ''}"
    else:
        head = read_head(path)
        if way_out := next((way_out for start, way_out in _WRAPPED.items() if head.startswith(start)), None):
            raise ValueError(f"{path} {way_out}")
        if of_folder := _format_of(path.parent):
            raise ValueError(f"{path} is in no known label format, but its folder is ({of_folder}); name {path.parent}")
        content = f"it begins with {head[:60]!r}" if head else "it is empty"
    descriptions = "\n".join(f"  {name}: {format.DESCRIPTION}" for name, format in FORMATS.items())
    raise ValueError(f"{path} is in no known label format: {content}. Convert it to one of\n{descriptions}")


def _format_of(path: Path) -> str | None:
    head = read_head(path) if path.is_file() else b""
    return next((name for name, format in FORMATS.items() if format.recognize(path, head)), None)


def _labels_in(folder: Path) -> list[str]:
    """Return the labels in a folder and its subfolders: files, and subfolders in a format of their own."""
    with suppress(OSError):
        folders = [entry for entry in sorted(folder.glob("[!.]*/"))[:_TRIED] if entry.is_dir()]
        own = [entry for entry in folders if _format_of(entry)]
        files = [file for place in [folder, *folders] if place not in own for file in sorted(place.glob("[!.]*.*"))]
        files = [file for file in files if file.suffix.lower() in _ENDINGS and file.is_file()]
        return [*map(str, own), *(str(file) for file in files[:_TRIED] if _format_of(file))]
    return []
