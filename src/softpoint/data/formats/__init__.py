"""One reader a file format; which one a label file needs is seen from its content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from softpoint.data.formats import dlc_csv
from softpoint.data.labels import Labels
from softpoint.suggest import did_you_mean


class Format(NamedTuple):
    """How a format is recognised (by the first 64 KiB), how it is read, and what it looks like."""

    recognise: Callable[[bytes], bool]
    read: Callable[[Path], Labels]
    looks: str


FORMATS: dict[str, Format] = {
    "dlc_csv": Format(dlc_csv.recognise, dlc_csv.read, dlc_csv.LOOKS),
}


def read_labels(path: str | Path, format: str | None = None) -> Labels:
    """The labels in a file, in the named `format` or in the one its content shows.

    Raises FileNotFoundError for a missing file and ValueError for one that is not understood.
    """
    path = Path(path)
    if format is not None and format not in FORMATS:
        raise ValueError(f"data.format={format!r}: {did_you_mean(format, FORMATS)}")
    if not path.is_file():
        problem = "is a folder; name the label file inside it" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"label file {path} {problem}")
    return FORMATS[format or _recognise(path)].read(path)


def _recognise(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(1 << 16)
    for name, format in FORMATS.items():
        if format.recognise(head):
            return name
    looks = "; ".join(f"{name} ({format.looks})" for name, format in FORMATS.items())
    found = f"begins with {head[:60]!r}" if head else "is empty"
    raise ValueError(f"{path} is in no known label format: looked for {looks}, but it {found}")
