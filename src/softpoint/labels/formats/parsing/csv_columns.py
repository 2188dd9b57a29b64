"""The columns of a plain CSV that say something of a whole subject: its image, its name, its box."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from softpoint.labels.csv_io import exact, number
from softpoint.labels.schema import Subject
from softpoint.paths import normalize_path

_log = logging.getLogger(__name__)

# What a column with the path of the image may be called; the first of them that a file has.
IMAGE = (
    "image", "img", "image_path", "path", "filepath", "file_path", "filename", "file_name", "image_name", "file",
    "frame", "id",
)  # fmt: skip
_TEXTS = {"name": ("subject", "individual", "animal"), "category": ("category", "class"), "group": ("group", "video")}
_BOX = ("box_left", "box_top", "box_right", "box_bottom")
_SIZE = ("image_height", "image_width")
_CROWD = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}

# Where each fact stands: image, name, category, group, the four edges, area, crowd, the two lengths of the image.
Fields = Mapping[str, int]


def fields(source: str, header: Sequence[str], taken: Collection[int] = ()) -> dict[str, int]:
    """Which columns hold facts about a subject; the path of the image is the first column where none is so called.

    Columns that are `taken` hold something else. Raises ValueError where none is left for the image, where two
    columns hold the same, or where an edge of the box is missing.

    >>> fields("a.csv", ["nose_x", "nose_y", "Image", "subject"])
    {'image': 2, 'name': 3}
    """
    lower = [cell.lower() for cell in header]
    places = {cell: i for i, cell in reversed(list(enumerate(lower))) if i not in taken}
    found = {"image": next((places[name] for name in IMAGE if name in places), 0)}
    if found["image"] in taken:
        raise ValueError(f"{source}: no column holds the path of the image; call one 'image'")
    wanted = _TEXTS | {name: (name,) for name in (*_BOX, "area", "crowd", *_SIZE)}
    for fact, names in wanted.items():
        here = [i for i, cell in enumerate(lower) if cell in names and i not in {found["image"], *taken}]
        if len(here) > 1:
            raise ValueError(f"{source}: columns {here[0] + 1} and {here[1] + 1} both hold the {fact}; remove one")
        found.update(zip([fact], here, strict=False))
    for together in (_BOX, _SIZE):
        if 0 < len(set(together) & set(found)) < len(together):
            raise ValueError(f"{source} has no column {min(set(together) - set(found))!r}; add it, or remove its kin")
    return found


def warn_unused(source: str, header: Sequence[str], known: Collection[int]) -> None:
    """Warns of columns with a title that are not `known`; ValueError where two have one title, of which one is."""
    first: dict[str, int] = {}
    for i, title in enumerate(header):
        earlier = first.setdefault(title, i)
        if title and earlier < i and (i in known or earlier in known):
            raise ValueError(f"{source}: columns {earlier + 1} and {i + 1} are both {title!r}; remove one")
    if rest := [title for i, title in enumerate(header) if title and i not in known]:
        more = f" and {len(rest) - 8} more" if len(rest) > 8 else ""
        _log.warning("%s: its columns %s%s are not used", source, ", ".join(rest[:8]), more)


def facts(fields: Fields, cells: Sequence[str], separator: str = ",") -> dict[str, Any]:
    """What one row says of its subject, as arguments of Subject; ValueError for what it cannot be."""
    image = cells[fields["image"]].replace("\\", "/")
    if not image:
        raise ValueError("it names no image; write its path")
    said: dict[str, Any] = {fact: cells[fields[fact]] for fact in ("name", "category") if fact in fields}
    if "group" in fields:
        said["group"] = cells[fields["group"]] or None
    if _BOX[0] in fields:
        said["box"] = _box([number(cells, fields[edge], separator) for edge in _BOX])
    if "area" in fields:
        said["area"] = _area(number(cells, fields["area"], separator))
    if "crowd" in fields:
        said["crowd"] = _crowd(cells[fields["crowd"]])
    if _SIZE[0] in fields:
        said["size"] = _size([number(cells, fields[length], separator) for length in _SIZE])
    return {"image": image} | said


def _box(edges: list[float]) -> tuple[float, float, float, float] | None:
    left, top, right, bottom = edges
    if all(map(math.isnan, edges)):
        return None
    if not (left < right and top < bottom):  # a NaN, too
        raise ValueError(
            f"its box has left {left:g}, top {top:g}, right {right:g} and bottom {bottom:g}; right must be beyond"
            " left and bottom below top, or leave all four empty"
        )
    return left, top, right, bottom


def _area(value: float) -> float:
    if value < 0:
        raise ValueError(f"its area is {value:g}; it must not be negative, or leave it empty")
    return value


def _crowd(cell: str) -> bool:
    if cell.lower() not in _CROWD:
        raise ValueError(f"its crowd is {cell!r}; write 0 or 1")
    return _CROWD[cell.lower()]


def _size(lengths: list[float]) -> tuple[int, int]:
    height, width = (0.0 if math.isnan(length) else length for length in lengths)
    if not (height.is_integer() and width.is_integer() and (height > 0) == (width > 0) and min(height, width) >= 0):
        raise ValueError(f"its image is {width:g} wide and {height:g} high; write both as whole numbers, or neither")
    return int(height), int(width)


def used_fields(subjects: Sequence[Subject]) -> list[str]:
    """The columns that these subjects need besides the image."""
    groups: Mapping[str, Iterable[bool]] = {
        "subject": (bool(s.name) for s in subjects),
        "category": (bool(s.category) for s in subjects),
        "group": (bool(s.group) for s in subjects),
        "box": (s.box is not None for s in subjects),
        "area": (not math.isnan(s.area) for s in subjects),
        "crowd": (s.crowd for s in subjects),
        "size": (any(s.size) for s in subjects),
    }
    used = [name for name, present in groups.items() if any(present)]
    return [column for name in used for column in {"box": _BOX, "size": _SIZE}.get(name, (name,))]


def cell(subject: Subject, column: str) -> str:
    """What stands in one of `used_fields`."""
    if column in _BOX:
        return exact(subject.box[_BOX.index(column)]) if subject.box else ""
    if column in _SIZE:
        return str(subject.size[_SIZE.index(column)] or "")
    if column == "area":
        return exact(subject.area)
    texts = {"subject": subject.name, "category": subject.category, "group": subject.group or ""}
    return texts[column] if column in texts else str(int(subject.crowd))


class Repeats:
    """Refuses a subject that an earlier row has: the same name in the same image, or the same of everything.

    >>> repeats = Repeats()
    >>> repeats.see("line 2", "a.png", "", "mouse1", b""); repeats.see("line 5", "./a.png", "", "mouse1", b"")
    Traceback (most recent call last):
    ValueError: labels mouse1 in ./a.png, as line 2 does; remove one of them
    """

    def __init__(self) -> None:
        self.first: dict[tuple[str, str, str, bytes], str] = {}

    def see(self, place: str, image: str, category: str, name: str, content: bytes) -> None:
        """ValueError that names the earlier row; `content` tells subjects without a name apart."""
        key = (normalize_path(image), category, name, b"" if name else content)
        if (earlier := self.first.setdefault(key, place)) != place:
            whom = f"{name} in {image}" if name else image
            raise ValueError(f"labels {whom}, as {earlier} does; remove one of them")
