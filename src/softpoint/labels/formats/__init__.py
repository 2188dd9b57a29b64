"""One reader a file format; which one labels need is seen from their content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from softpoint.labels.formats import (
    coco,
    csv_long,
    csv_wide,
    dlc_csv,
    dlc_h5,
    dlc_project,
    json_per_image,
    sleap,
    tps,
    yolo_pose,
)
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import Labels
from softpoint.suggest import did_you_mean


class Format(NamedTuple):
    """How a format is recognized, how it is read, and what it looks like.

    `recognize` gets the path, which may be a folder, and the first 64 KiB of a file (nothing of a folder), and
    answers without raising.
    """

    recognize: Callable[[Path, bytes], bool]
    read: Callable[..., Labels]  # from (path, problems), and for the next the folder of the images or None
    looks: str
    opens_images: bool = False  # for what the labels leave out, such as the height that y is counted from


# In the order in which they are tried.
FORMATS: dict[str, Format] = {
    "dlc_project": Format(dlc_project.recognize, dlc_project.read, dlc_project.DESCRIPTION),
    "dlc_h5": Format(dlc_h5.recognize, dlc_h5.read, dlc_h5.DESCRIPTION),
    "dlc_csv": Format(dlc_csv.recognize, dlc_csv.read, dlc_csv.DESCRIPTION),
    "coco": Format(coco.recognize, coco.read, coco.DESCRIPTION),
    "json_per_image": Format(json_per_image.recognize, json_per_image.read, json_per_image.DESCRIPTION),
    "yolo_pose": Format(yolo_pose.recognize, yolo_pose.read, yolo_pose.DESCRIPTION, opens_images=True),
    "tps": Format(tps.recognize, tps.read, tps.DESCRIPTION, opens_images=True),
    "sleap": Format(sleap.recognize, sleap.read, sleap.DESCRIPTION, opens_images=True),
    "csv_long": Format(csv_long.recognize, csv_long.read, csv_long.DESCRIPTION),
    "csv_wide": Format(csv_wide.recognize, csv_wide.read, csv_wide.DESCRIPTION),
}

# What labels can be written as: (labels, path, sizes (N, 2) as height and width of each subject's image).
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
    problems: RowErrors | None = None,
) -> Labels:
    """The labels in a file or folder, in the named `format` or in the one its content shows.

    `images` is the folder of the images, where it is not that of the labels; `fetch` names the public set that
    they belong to.

    Rows that cannot be used are one error, or with `on_error` "skip" one warning; `problems` collects them instead.
    Raises FileNotFoundError for a missing file and ValueError for one that is not understood.
    """
    path = Path(path)
    if format is not None and format not in FORMATS:
        raise ValueError(f"data.format={format!r}: {did_you_mean(format, FORMATS)}")
    if not path.exists() and fetch is not None:
        raise FileNotFoundError(f"labels {path} do not exist; python scripts/fetch_data.py {fetch} brings them")
    if not path.exists():
        raise FileNotFoundError(f"labels {path} do not exist; name a label file, or the folder of a project")
    problems = problems or RowErrors(str(path), on_error)
    chosen = FORMATS[format or recognize(path)]
    folder = None if images is None else Path(images)
    labels = chosen.read(path, problems, folder) if chosen.opens_images else chosen.read(path, problems)
    problems.raise_or_warn()
    if not len(labels):
        raise ValueError(f"{path} labels no image; check that it is complete")
    return labels


def recognize(path: Path) -> str:
    """The name of the format that a file or folder is in; ValueError that says what was looked for and found."""
    head = b""
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(1 << 16)
    for name, format in FORMATS.items():
        if format.recognize(path, head):
            return name
    looks = "\n".join(f"  {name}: {format.looks}" for name, format in FORMATS.items())
    raise ValueError(f"{path} is in no known label format. Looked for\n{looks}\nbut {_found(path, head)}")


def _found(path: Path, head: bytes) -> str:
    if path.is_file():
        return f"it begins with {head[:60]!r}" if head else "it is empty"
    inside = sorted(entry.name + "/" * entry.is_dir() for entry in path.iterdir())
    return f"this folder holds {', '.join(inside[:8]) or 'nothing'}{', ...' if len(inside) > 8 else ''}"
