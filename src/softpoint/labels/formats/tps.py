"""The landmark files of tpsDig and tpsUtil."""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from softpoint.images.decode import image_size
from softpoint.labels.formats.parsing.path_search import best_folder, folders_near, tail_below
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import UNLABELED, VISIBLE, Labels, Subject
from softpoint.labels.skeleton import Skeleton

DESCRIPTION = "a TPS file, which begins with LM= and a number of landmarks"

_log = logging.getLogger(__name__)
_KEY = re.compile(r"\s*([A-Za-z]\w*)\s*=\s*(.*?)\s*$")
_FIRST = re.compile(rb"(?:\xef\xbb\xbf)?\s*LM3?\s*=\s*\d", re.IGNORECASE)


@dataclass
class _Specimen:
    """One image's entry, as it stands in the file."""

    line: int
    stated: str  # what LM= says
    rows: list[tuple[int, str]] = field(default_factory=list)  # line number and text below LM=
    image: str = ""
    name: str = ""
    stray: list[tuple[int, str]] = field(default_factory=list)  # lines that belong to nothing


def recognize(path: Path, head: bytes) -> bool:
    """Whether a file that begins like this is one.

    >>> recognize(Path(), b"LM=12\\n290. 108.\\n"), recognize(Path(), b"x,y")
    (True, False)
    """
    return _FIRST.match(head) is not None


def read(path: Path, problems: RowErrors, images: Path | None = None) -> Labels:
    """The landmarks of every specimen, in pixels of its image.

    TPS counts y upwards from the lower border: y = height - y_tps, so the images must be at hand; they are
    looked for below `images`, or else near the file. NA and negative coordinates, tpsDig's mark for missing,
    are unlabeled; a specimen without landmarks is an image without labels. Scale, curves and outlines are
    passed over. Raises ValueError for a file that is not understood or has landmarks in 3-D.
    """
    specimens = _specimens(path)
    count = _count(path, specimens)
    folder = best_folder([images] if images else folders_near(path), [specimen.image for specimen in specimens])
    subjects = []
    for number, specimen in enumerate(specimens, 1):
        place = f"specimen {number} (line {specimen.line})"
        with problems.row(place):
            subjects.append(_subject(specimen, place, count, folder))
    # Landmarks have no names here, so nothing says which ones a mirror would exchange.
    return Labels(str(path), str(folder), Skeleton(tuple(f"LM{i}" for i in range(1, count + 1))), tuple(subjects))


def _specimens(path: Path) -> list[_Specimen]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as UTF-8 text ({error}); save it as UTF-8") from error
    found: list[_Specimen] = []
    rows = before = list[tuple[int, str]]()  # where lines without a key go
    passed: Counter[str] = Counter()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if match := _KEY.match(line):
            key, value = match[1].upper(), match[2]
            if key == "LM3":
                raise ValueError(f"{path} line {number}: LM3 means landmarks in 3-D; only 2-D ones (LM) can be learned")
            if key == "LM":
                found.append(_Specimen(number, value))
            elif found and key in ("IMAGE", "ID"):
                setattr(found[-1], "image" if key == "IMAGE" else "name", value)
            else:
                passed[key] += 1
            rows = (
                [] if key == "POINTS" else before if not found else found[-1].rows if key == "LM" else found[-1].stray
            )
        else:
            rows.append((number, line))
    if not found or before:
        where = f" line {before[0][0]}" if before else ""
        raise ValueError(f"{path}{where}: a specimen begins with a line LM= and its number of landmarks")
    if passed:
        listed = ", ".join(f"{key} ({count})" for key, count in passed.items())
        _log.info("%s: passed over %s; coordinates are in pixels", path, listed)
    return found


def _count(path: Path, specimens: list[_Specimen]) -> int:
    """How many landmarks a specimen has; what most of them say."""
    stated = Counter(len(specimen.rows) for specimen in specimens if specimen.rows)
    if not stated:
        raise ValueError(f"{path}: none of its {len(specimens)} specimens has landmarks; place them with tpsDig")
    return stated.most_common(1)[0][0]


def _subject(specimen: _Specimen, place: str, count: int, folder: Path) -> Subject:
    if not (specimen.stated.isascii() and specimen.stated.isdigit()):
        raise ValueError(f"LM={specimen.stated!r} is not a number of landmarks")
    if specimen.stray:
        line, text = specimen.stray[0]
        raise ValueError(f"line {line} {text.strip()[:60]!r} is no landmark and no KEY=VALUE")
    if len(specimen.rows) != int(specimen.stated):
        raise ValueError(f"LM={specimen.stated}, but {len(specimen.rows)} lines of numbers follow")
    if specimen.rows and len(specimen.rows) != count:
        raise ValueError(f"has {len(specimen.rows)} landmarks, but most have {count}; give all of them the same")
    if not specimen.image:
        raise ValueError("has no line IMAGE=; add one that names its image")
    image = tail_below(folder, specimen.image)
    if image is None:
        raise FileNotFoundError(
            f"image {specimen.image} was not found in {folder}; put the images beside the TPS file, or set data.images"
        )
    size = image_size(folder / image)
    points = np.array([_point(line, text) for line, text in specimen.rows], np.float64).reshape(-1, 2)
    if not len(points):
        points = np.full((count, 2), np.nan)
    points[:, 1] = size[0] - points[:, 1]
    visibility = np.where(np.isnan(points[:, 0]), UNLABELED, VISIBLE).astype(np.int64)
    return Subject(image, place, points, visibility, name=specimen.name, size=size)


def _point(line: int, text: str) -> tuple[float, float]:
    """x and y as they stand, or NaN for both where the landmark is missing."""
    cells = text.split()
    if len(cells) != 2:
        raise ValueError(f"line {line} {text.strip()[:60]!r} is not two numbers x and y")
    if all(cell.upper() in ("NA", "NAN") for cell in cells):
        return math.nan, math.nan
    try:
        # Python reads 1_000 as a number; in a table it is a slip.
        x, y = (float(cell) if "_" not in cell else math.inf for cell in cells)
    except ValueError:
        x = y = math.inf
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ValueError(f"line {line} {text.strip()[:60]!r} is not two finite numbers; write NA NA for a missing one")
    return (x, y) if x >= 0 and y >= 0 else (math.nan, math.nan)
