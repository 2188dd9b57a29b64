"""Predictions of a model on one split beside the labels: the table from which every metric can be computed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.labels.csv_io import exact, read_rows, write_rows
from softpoint.labels.plane import Plane
from softpoint.labels.skeleton import Skeleton
from softpoint.metrics.functional import errors

_FIXED = ("image", "group", "height", "width", "scale")
_EDGES = ("box_left", "box_top", "box_right", "box_bottom")
# Columns of each keypoint, in this order.
_PARTS: tuple[str, ...] = ("x", "y", "confidence", "xx", "xy", "yy", "true_x", "true_y", "visibility")
_STATES = ("absent", "occluded", "visible")  # further columns where the network predicts them


@dataclass(frozen=True, eq=False)
class Results:
    """N evaluated subjects with K keypoints each, everything in pixels of their ORIGINAL images."""

    images: list[str]  # image of each subject; several subjects may share one
    groups: list[str]  # video, session or person
    keypoints: np.ndarray  # float64 (N, K, 2), predicted
    truth: np.ndarray  # float64 (N, K, 2), NaN where unlabeled
    visibility: np.ndarray  # int64 (N, K): 0 unlabeled, 1 hidden, 2 visible, -1 known to be absent
    confidence: np.ndarray  # float64 (N, K)
    covariance: np.ndarray  # float64 (N, K, 2, 2) in px^2
    scale: np.ndarray  # float64 (N,), the length that PCK divides by
    boxes: np.ndarray | None  # float64 (N, 4) left, top, right, bottom edges that the labels give; NaN for none
    size: np.ndarray  # int64 (N, 2), height and width
    skeleton: Skeleton
    areas: np.ndarray | None = None  # float64 (N,) in px^2 of the outlines that the labels give; NaN for none
    # float64 (N, K, 3), predicted probabilities of absent, occluded and visible; None where the network has none
    predicted_visibility: np.ndarray | None = None
    # Of a network with heatmap sets (`heatmap_sets.set_measures`), which predictions.csv does not hold either:
    set_tails: np.ndarray | None = None  # (N, K), of the labels
    set_sizes: np.ndarray | None = None  # (N, K, levels, 2), areas in px^2 and numbers of parts
    has_groups: bool = False  # other subjects than these are of other groups; predictions.csv does not keep it
    plane: Plane | None = None  # that the images show; predictions.csv, which is in pixels, does not keep it

    def __post_init__(self) -> None:
        N, K = len(self.images), len(self.skeleton)
        shapes = {"keypoints": (N, K, 2), "truth": (N, K, 2), "visibility": (N, K), "confidence": (N, K)}
        shapes |= {"covariance": (N, K, 2, 2), "scale": (N,), "boxes": (N, 4), "size": (N, 2), "areas": (N,)}
        shapes["predicted_visibility"] = (N, K, 3)
        for name, shape in shapes.items():
            array = getattr(self, name)
            assert array is None or array.shape == shape, (name, array.shape, shape)
        assert len(self.groups) == N
        # A point is labeled where it has coordinates.
        assert np.array_equal(self.labeled, np.isfinite(self.truth).all(-1))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def labeled(self) -> np.ndarray:
        """Mask (N, K) of the labeled points."""
        return self.visibility > 0

    @property
    def errors(self) -> np.ndarray:
        """Distances (N, K) of the predictions from the labels in px; NaN where unlabeled."""
        return errors(self)

    def select(self, rows: Iterable[int]) -> Results:
        """Return these subjects alone, in this order."""
        chosen = [int(row) for row in rows]
        parts: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                parts[field.name] = value[chosen]
            elif isinstance(value, list):
                parts[field.name] = [value[row] for row in chosen]
        return replace(self, **parts)

    def with_keypoints(self, names: Sequence[str]) -> Results:
        """Return these keypoints alone, in this order; ValueError for an unknown name."""
        skeleton = self.skeleton.subset(names)
        order = [self.skeleton.index(name) for name in names]
        per_point = ["keypoints", "truth", "visibility", "confidence", "covariance"]
        per_point += ["predicted_visibility", "set_tails", "set_sizes"]
        arrays = {name: value[:, order] for name in per_point if (value := getattr(self, name)) is not None}
        return replace(self, skeleton=skeleton, **arrays)

    @classmethod
    def concat(cls, parts: Sequence[Results]) -> Results:
        """Return all subjects of several results, such as the folds of a cross-validation.

        Raises ValueError for none, and for keypoints that differ.
        """
        if not parts:
            raise ValueError("there are no results to join")
        first = parts[0]
        for part in parts[1:]:
            if part.skeleton.names != first.skeleton.names:
                raise ValueError(
                    f"results of {', '.join(part.skeleton.names)} cannot be joined with results of"
                    f" {', '.join(first.skeleton.names)}; evaluate the same keypoints"
                )
        joined: dict[str, Any] = {
            name: [entry for part in parts for entry in getattr(part, name)] for name in ("images", "groups")
        }
        for field in fields(cls):
            if field.name not in (*joined, "skeleton", "has_groups", "plane"):
                joined[field.name] = _stack([getattr(part, field.name) for part in parts], list(map(len, parts)))
        has_groups = any(part.has_groups for part in parts)
        return cls(**joined, skeleton=first.skeleton, has_groups=has_groups, plane=first.plane)

    def write(self, path: str | Path) -> None:
        """Write a CSV with one row per subject, which `read` returns to the last bit."""
        boxes = () if self.boxes is None else _EDGES
        area = () if self.areas is None else ("area",)
        predicted, parts = np.empty((len(self), len(self.skeleton), 0)), _PARTS
        if self.predicted_visibility is not None:
            predicted, parts = self.predicted_visibility, _PARTS + _STATES
        columns = [f"{name}_{part}" for name in self.skeleton.names for part in parts]
        triangle = self.covariance[..., [0, 0, 1], [0, 1, 1]]
        points = np.concatenate([self.keypoints, self.confidence[..., None], triangle, self.truth], axis=2)
        rows = [[*_FIXED, *boxes, *area, *columns]]
        for i, image in enumerate(self.images):
            row = [image, self.groups[i], *map(str, self.size[i]), exact(self.scale[i])]
            row += [] if self.boxes is None else map(exact, self.boxes[i])
            row += [] if self.areas is None else [exact(self.areas[i])]
            for point, state, probabilities in zip(points[i], self.visibility[i], predicted[i], strict=True):
                row += [*map(exact, point), str(state), *map(exact, probabilities)]
            rows.append(row)
        write_rows(Path(path), rows)

    @classmethod
    def read(cls, path: str | Path) -> Results:
        """Return the results that `write` wrote; flip pairs and edges of the skeleton are not in the file.

        Raises FileNotFoundError and ValueError for any other file.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no predictions at {path}; softpoint evaluate writes predictions.csv")
        (_, header), *rows = read_rows(path) or [(0, [])]
        before = [*_FIXED, *(_EDGES if "box_left" in header else ()), *(["area"] if "area" in header else [])]
        parts = _PARTS + _STATES if header and header[-1].endswith("_visible") else _PARTS
        names = [column.removesuffix("_x") for column in header[len(before) :: len(parts)]]
        if header != [*before, *(f"{name}_{part}" for name in names for part in parts)]:
            raise ValueError(f"{path} is no predictions.csv of softpoint evaluate: its columns differ")
        numbers = _numbers(path, rows, len(before), len(header), len(parts))
        points = numbers[:, len(before) - 2 :].reshape(len(rows), len(names), len(parts))
        return cls(
            [cells[0] for _, cells in rows],
            [cells[1] for _, cells in rows],
            keypoints=points[..., 0:2],
            truth=points[..., 6:8],
            visibility=points[..., 8].astype(np.int64),
            confidence=points[..., 2],
            covariance=points[..., [3, 4, 4, 5]].reshape(*points.shape[:2], 2, 2),
            scale=numbers[:, 2],
            boxes=numbers[:, 3:7] if "box_left" in header else None,
            size=numbers[:, :2].astype(np.int64),
            skeleton=Skeleton(tuple(names)),
            areas=numbers[:, len(before) - 3] if "area" in header else None,
            predicted_visibility=points[..., 9:] if len(parts) > len(_PARTS) else None,
        )


def group_rows(groups: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the places of the subjects of each group, by its name.

    >>> {group: rows.tolist() for group, rows in group_rows(["b", "a", "b"]).items()}
    {'b': [0, 2], 'a': [1]}
    """
    numbers = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    number = np.array([numbers[group] for group in groups], int)
    order = np.argsort(number, kind="stable")
    return dict(zip(numbers, np.split(order, np.cumsum(np.bincount(number))[:-1]), strict=True))


def _stack(arrays: Sequence[np.ndarray | None], counts: Sequence[int]) -> np.ndarray | None:
    """The arrays concatenated, NaN in place of those that are None; None if all are."""
    shape = next((array.shape[1:] for array in arrays if array is not None), None)
    if shape is None:
        return None
    blanks = (np.full((count, *shape), np.nan) for count in counts)
    return np.concatenate([blank if a is None else a for a, blank in zip(arrays, blanks, strict=True)])


def _numbers(path: Path, rows: Sequence[tuple[int, list[str]]], start: int, width: int, parts: int) -> np.ndarray:
    """The columns after image and group as float64 (N, columns), NaN for an empty cell.

    Those of keypoints begin at `start` and are `parts` each.
    """
    numbers = np.full((len(rows), width - 2), np.nan)
    for i, (line, cells) in enumerate(rows):
        if len(cells) != width:
            raise ValueError(f"{path} line {line}: it has {len(cells)} cells, but its header {width}")
        try:
            numbers[i] = [float(cell or "nan") for cell in cells[2:]]
        except ValueError as error:
            raise ValueError(f"{path} line {line}: {error}") from error
        given = np.isfinite(numbers[i, start - 2 :].reshape(-1, parts)[:, :6])
        # Another tool may have given no confidences, or no covariances, at all.
        if not given[:, :2].all() or any(part.any() and not part.all() for part in (given[:, 2], given[:, 3:])):
            raise ValueError(f"{path} line {line}: a predicted x, y, confidence or covariance is not a number")
        if not np.isfinite(numbers[i, [0, 1, 2]]).all() or not np.isfinite(numbers[i, start + 6 :: parts]).all():
            raise ValueError(f"{path} line {line}: its size, its scale and every visibility must be numbers")
    return numbers
