"""Landmark files of tpsDig and tpsUtil."""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from softpoint.images.decode import image_size
from softpoint.labels.formats.parsing.path_search import Tails, best_folder, folders_near
from softpoint.labels.formats.parsing.rows import parse_float, read_lines, unlabeled_points, visibility_of
from softpoint.labels.missing import WORDS
from softpoint.labels.row_errors import Row, RowErrors
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton

DESCRIPTION = "a TPS file, which begins with LM= and a number of landmarks"

_log = logging.getLogger(__name__)
_KEY = re.compile(r"([A-Za-z]\w*)\s*=\s*(.*)$")
_FIRST = re.compile(rb"(?:\xef\xbb\xbf)?\s*LM3?\s*=\s*\d", re.IGNORECASE)

_Line = tuple[int, str]  # its number and text


@dataclass
class _Specimen:
    """The lines about one image."""

    line: int
    stated: str  # the value of LM=
    rows: list[_Line] = field(default_factory=list)  # below LM=
    image: str = ""
    name: str = ""
    stray: list[_Line] = field(default_factory=list)  # lines that are neither landmarks nor KEY=VALUE


def recognize(path: Path, head: bytes) -> bool:
    """Return whether the file begins with LM= and a number.

    >>> recognize(Path(), b"LM=12\\n290. 108.\\n"), recognize(Path(), b"x,y")
    (True, False)
    """
    return _FIRST.match(head) is not None


def read(path: Path, errors: RowErrors, images: Path | None = None) -> Labels:
    """Return the landmarks of every specimen, in pixels of its image.

    TPS counts y upwards from the lower border: y = height - y_tps, so the images must be available; they are searched
    below `images`, or near the file. NA NA is unlabeled; (-1, -1) is the mark of tpsDig. A specimen
    without landmarks is an unlabeled image. Scale is ignored; curves and outlines are counted in `unused`.
    Raises ValueError for an invalid file or landmarks in 3-D.
    """
    specimens, ignored = _specimens(path)
    counts = Counter(len(specimen.rows) for specimen in specimens if specimen.rows)
    if not counts:
        raise ValueError(f"{path}: none of its {len(specimens)} specimens has landmarks; place them with tpsDig")
    count = counts.most_common(1)[0][0]
    folder = best_folder([images] if images else folders_near(path), [specimen.image for specimen in specimens])
    tails = Tails(folder, [specimen.image for specimen in specimens])
    subjects = []
    for number, specimen in enumerate(specimens, 1):
        place = f"specimen {number} (line {specimen.line})"
        with errors.row(place, specimen.image) as row:
            subjects.append(_subject(specimen, row, count, tails))
    # Landmarks have no names, so that flip pairs are unknown.
    skeleton = Skeleton(tuple(f"LM{i}" for i in range(1, count + 1)))
    return Labels(str(path), str(folder), skeleton, tuple(subjects), unused={"curves and outlines": ignored["POINTS"]})


def _specimens(path: Path) -> tuple[list[_Specimen], Counter[str]]:
    """Return the specimens, and how often each key of no use occurs."""
    specimens: list[_Specimen] = []
    rows = before = list[_Line]()  # the list that collects lines without a key
    ignored: Counter[str] = Counter()
    for number, line in read_lines(path):
        if match := _KEY.match(line):
            key, value = match[1].upper(), match[2]
            if key == "LM3":
                raise ValueError(f"{path} line {number}: LM3 means landmarks in 3-D; only 2-D landmarks (LM) are read")
            if key == "LM":
                specimens.append(_Specimen(number, value))
            elif specimens and key in ("IMAGE", "ID"):
                setattr(specimens[-1], "image" if key == "IMAGE" else "name", value)
            else:
                ignored[key] += 1
            if key == "POINTS":
                rows = []  # of a curve
            elif specimens:
                rows = specimens[-1].rows if key == "LM" else specimens[-1].stray
            else:
                rows = before
        else:
            rows.append((number, line))
    if not specimens or before:
        place = f" line {before[0][0]}" if before else ""
        raise ValueError(f"{path}{place}: a specimen begins with a line LM= and its number of landmarks; add it")
    if ignored:
        keys = ", ".join(f"{key} ({count})" for key, count in ignored.items())
        _log.info("%s: ignored %s; coordinates are in pixels", path, keys)
    return specimens, ignored


def _subject(specimen: _Specimen, row: Row, count: int, tails: Tails) -> Subject:
    rows = specimen.rows
    if not (specimen.stated.isascii() and specimen.stated.isdigit()):
        raise ValueError(f"LM={specimen.stated!r} is not a number of landmarks")
    if specimen.stray:
        line, text = specimen.stray[0]
        raise ValueError(f"line {line} {text[:60]!r} is neither a landmark nor KEY=VALUE")
    if len(rows) != int(specimen.stated):
        raise ValueError(f"LM={specimen.stated}, but {len(rows)} lines of numbers follow")
    if rows and len(rows) != count:
        raise ValueError(f"it has {len(rows)} landmarks, but most have {count}; give all of them the same number")
    if not specimen.image:
        raise ValueError("it has no line IMAGE=; add one that names its image")
    image = tails[specimen.image]
    size = image_size(tails.folder / image)
    written = row.usable(_points, rows, lambda: {f"LM{k + 1}": [k] for k in range(count)}, (0, "NA NA"))
    if not rows:
        written = unlabeled_points(count)[0]
    points = np.stack([written[:, 0], size[0] - written[:, 1]], axis=1)
    return Subject(image, row.place, points, visibility_of(points), name=specimen.name, size=size, written=written)


def _points(rows: list[_Line]) -> np.ndarray:
    """Return float64 (K, 2) as written."""
    return np.array([_point(line, text) for line, text in rows])


def _point(line: int, text: str) -> tuple[float, float]:
    """Return x and y as written, or NaN for both if the landmark is missing."""
    cells = text.split()
    if len(cells) != 2:
        raise ValueError(f"line {line} {text[:60]!r} is not two numbers x and y")
    if all(cell.lower() in WORDS for cell in cells):
        return math.nan, math.nan
    try:
        x, y = map(parse_float, cells)
    except ValueError:
        x = y = math.inf
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ValueError(f"line {line} {text[:60]!r} is not two finite numbers; write NA NA for a missing one")
    return x, y
