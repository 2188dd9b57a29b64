"""Points and boxes that a labeling tool draws as single shapes, and the images that these lie in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from softpoint.labels.formats.parsing import csv_columns
from softpoint.labels.formats.parsing.path_search import Tails, best_folder
from softpoint.labels.formats.parsing.rows import UniqueRows
from softpoint.labels.row_errors import NothingLeftError, RowErrors
from softpoint.labels.schema import Labels
from softpoint.paths import normalize_path

Edges = tuple[float, float, float, float]

# The image of each place of a file as written, and its subjects, still without it.
Contents = Mapping[str, tuple[str, list[csv_columns.Row]]]


@dataclass
class _Group:
    """The shapes of one subject."""

    points: dict[str, csv_columns.State] = field(default_factory=dict)
    boxes: list[tuple[str, Edges]] = field(default_factory=list)  # label and edges


class Shapes:
    """The shapes of one image, by what the tool states to be their subject; None where it states nothing."""

    def __init__(self, apart: str = "give the points of each subject a group_id of their own") -> None:
        self._apart = apart  # the way out where a subject has two points of one name
        self._groups: dict[Hashable, _Group] = {}

    def add_point(self, subject: Hashable, name: str, x: float, y: float, state: int) -> None:
        """Add a keypoint; ValueError for the second of one subject, and for half a point."""
        points = self._groups.setdefault(subject, _Group()).points
        if name in points:
            raise ValueError(f"it has two points {name}; {self._apart}")
        points[name] = csv_columns.checked_point(name, x, y, state)

    def add_box(self, subject: Hashable, label: str, edges: Edges) -> None:
        """Add a box with its label, the subject's category."""
        self._groups.setdefault(subject, _Group()).boxes.append((label, edges))

    def rows(self, place: str, known: dict[str, Any], unused: Counter[str]) -> list[csv_columns.Row]:
        """Return the subjects that have points, or one without any; `known` are fields of each.

        The only box of a subject is its own, and the box's label its category; of those of no subject, the only one
        that encloses the points of the only subject. The others are counted in `unused`.
        """
        loose = self._groups[None].boxes if None in self._groups else []
        subjects = {number: group for number, group in self._groups.items() if group.points}
        rows: list[csv_columns.Row] = []
        for number, group in subjects.items():
            boxes = [] if number is None else group.boxes
            if not boxes and len(subjects) == 1:
                boxes = [box for box in loose if _encloses(box[1], group.points)]
            fields = dict(known)
            if len(boxes) == 1:
                fields |= {key: value for key, value in zip(("category", "box"), boxes[0], strict=True) if value}
            rows.append((place if number is None else f"{place} group {number}", fields, group.points))
        used = sum("box" in fields for _, fields, _ in rows)
        boxes_in_all = sum(len(group.boxes) for group in self._groups.values())
        unused["rectangles that are not the only one of a subject"] += boxes_in_all - used
        return rows or [(place, known, {})]


def _encloses(box: Edges, points: dict[str, csv_columns.State]) -> bool:
    """Return whether all labeled points lie in the box."""
    left, top, right, bottom = box
    return all(left <= x <= right and top <= y <= bottom for x, y, state in points.values() if state)


def size_of(height: Any, width: Any) -> dict[str, Any]:
    """Return the field `size` of a subject; none where the lengths are no whole numbers above 0.

    >>> size_of(20, 30), size_of(None, 30)
    ({'size': (20, 30)}, {})
    """
    return {"size": (height, width)} if all(type(n) is int and n > 0 for n in (height, width)) else {}


def labels_of_images(
    path: Path,
    folders: Sequence[Path],
    contents: Contents,
    errors: RowErrors,
    unused: Counter[str],
    hint: str,
    names: Sequence[str] = (),
    check: Callable[[str, str], None] = lambda place, image: None,
) -> Labels:
    """Return the subjects of all places; the end of an image's path that exists counts, below the best folder.

    `names` are the keypoints, else those that the rows have; `check` raises ValueError for a wrong image. Raises
    ValueError with `hint` where none has a point. An image that is not found, or that two places label, is an error of
    its row.
    """
    tails = Tails(best_folder(folders, [image for image, _ in contents.values()]), [i for i, _ in contents.values()])
    rows: list[csv_columns.Row] = []
    unique = UniqueRows()
    for place, (written, subjects) in contents.items():
        with errors.row(place, written):
            image = tails[written]
            check(place, image)
            unique.add(normalize_path(image), place, image)
            rows += [(where, {"image": image} | fields, points) for where, fields, points in subjects]
    names = names or tuple(dict.fromkeys(name for *_, points in rows for name in points))
    if not any(points for *_, points in rows):
        errors.raise_or_warn()
        raise NothingLeftError(f"{path}: none of its {len(contents)} images has a point; {hint}")
    labels = csv_columns.labels_of(path, names, rows)
    return Labels(str(path), str(tails.folder), labels.skeleton, labels.subjects, labels.categories, unused=unused)
