"""What is wrong with points and boxes that one sees from their numbers alone."""

from __future__ import annotations

import numpy as np

from softpoint.audit.report import Example, Finding, KeypointCounts, found
from softpoint.labels.schema import OCCLUDED, Labels
from softpoint.labels.validate import outside_points
from softpoint.paths import normalize_path

# A keypoint that has exactly the same coordinates in so many images, and this share of them, was not clicked.
_FROZEN, _FROZEN_SHARE = 5, 0.1

# How far beyond its box a point may lie, as a fraction of the box's diagonal: boxes are drawn roughly.
_BESIDE = 0.1


def look_at_points(labels: Labels, sizes: np.ndarray, severity: str, outside: str) -> list[Finding]:
    """Findings about points and boxes; `sizes` (N, 2) is height and width, 0 where unknown.

    `severity` is that of a row that training cannot use, and `outside` that of points beyond their image.
    """
    return [
        *_fractions(labels, sizes),
        *_outside(labels, sizes, outside),
        *_twice(labels, severity),
        *_never(labels),
        *_at_zero(labels),
        *_together(labels),
        *_frozen(labels),
        *_beside_box(labels),
        *_empty_boxes(labels),
    ]


def count_keypoints(labels: Labels, sizes: np.ndarray) -> list[KeypointCounts]:
    """How often each keypoint is labeled, occluded, missing, and outside its image."""
    known = np.greater(labels.visibility, 0)
    parts = (known, labels.visibility == OCCLUDED, ~known, beyond_image(labels, sizes))
    columns = (np.sum(part, axis=0).tolist() for part in parts)
    return [KeypointCounts(*row) for row in zip(labels.skeleton.names, *columns, strict=True)]


def beyond_image(labels: Labels, sizes: np.ndarray) -> np.ndarray:
    """Which points (N, K) lie outside their image; none where its size is unknown."""
    return outside_points(labels, sizes) & (sizes > 0).all(axis=1, keepdims=True)


def _points(labels: Labels, where: np.ndarray) -> list[Example]:
    """An example for each subject that has a point in `where` (N, K)."""
    examples = []
    for i in np.flatnonzero(where.any(axis=1)).tolist():
        chosen = np.flatnonzero(where[i])
        spots = [f"{labels.skeleton.names[k]} at ({_xy(labels.keypoints[i, k])})" for k in chosen[:3]]
        value = ", ".join(spots) + (f" and {len(chosen) - 3} more" if len(chosen) > 3 else "")
        examples.append(_subject(labels, i, value, tuple(chosen.tolist())))
    return examples


def _subject(labels: Labels, index: int, value: str, keypoints: tuple[int, ...] = ()) -> Example:
    return Example(labels.images[index], labels.places[index], value, index, keypoints)


def _xy(point: np.ndarray) -> str:
    return f"{point[0]:g}, {point[1]:g}"


def _fractions(labels: Labels, sizes: np.ndarray) -> list[Finding]:
    points = labels.keypoints[labels.visibility > 0]
    if not len(points) or points.min() < 0 or points.max() > 1 or sizes.max(initial=0) < 8 or not points.any():
        return []
    known = np.flatnonzero((labels.visibility > 0).any(axis=1)).tolist()
    examples = [_subject(labels, i, "all its coordinates are between 0 and 1") for i in known]
    message = "all coordinates are between 0 and 1: they are fractions of the image, not pixels"
    return found("fractions", "error", message, examples, "multiply x by the width and y by the height of its image")


def _outside(labels: Labels, sizes: np.ndarray, severity: str) -> list[Finding]:
    examples = _points(labels, beyond_image(labels, sizes))
    way_out = "correct them, or set data.outside=drop to treat such points as unlabeled"
    return found("outside", severity, "subjects with points outside their image: {n}", examples, way_out)


def _twice(labels: Labels, severity: str) -> list[Finding]:
    first: dict[tuple, str] = {}
    examples = []
    for index, subject in enumerate(labels.subjects):
        key = (normalize_path(subject.image), subject.keypoints.tobytes(), subject.box)
        if subject.visibility.any() and key in first:
            examples.append(_subject(labels, index, f"labeled exactly as in {first[key]}"))
        first.setdefault(key, subject.place)
    return found("twice", severity, "subjects labeled twice: {n}", examples, "remove one of the two rows")


def _never(labels: Labels) -> list[Finding]:
    labeled = (labels.visibility > 0).sum(axis=0).tolist()
    examples = [Example("", "", name) for name, n in zip(labels.skeleton.names, labeled, strict=True) if not n]
    way_out = "label them, or name the others in data.keypoints"
    return found("never_labeled", "warning", "keypoints that are never labeled: {n}", examples, way_out)


def _at_zero(labels: Labels) -> list[Finding]:
    examples = _points(labels, (labels.keypoints == 0).all(axis=2))
    way_out = "leave the cells of points that are not labeled empty: (0, 0) is the corner pixel"
    return found("zero", "warning", "subjects with points at exactly (0, 0): {n}", examples, way_out)


def _together(labels: Labels) -> list[Finding]:
    """Different keypoints of a subject at exactly the same coordinates."""
    points = labels.keypoints
    # A point equals itself; unlabeled ones, being NaN, equal nothing.
    shared = np.stack([(points == points[:, [k]]).all(axis=2).sum(axis=1) > 1 for k in range(len(labels.skeleton))], 1)
    examples = _points(labels, shared & ~(points == 0).all(axis=2))
    way_out = "move one of them, or leave it empty where it is not known"
    return found("together", "warning", "subjects with several keypoints on one spot: {n}", examples, way_out)


def _frozen(labels: Labels) -> list[Finding]:
    """Keypoints that have exactly the same coordinates in many images."""
    examples = []
    for k, name in enumerate(labels.skeleton.names):
        points = labels.keypoints[labels.visibility[:, k] > 0, k]
        spots, counts = np.unique(points, axis=0, return_counts=True)
        for spot, count in zip(spots, counts, strict=True):
            if count >= max(_FROZEN, _FROZEN_SHARE * len(points)) and spot.any() and len(spots) > 1:
                first = int(np.flatnonzero((labels.keypoints[:, k] == spot).all(axis=1))[0])
                value = f"{name} is at exactly ({_xy(spot)}) in {count} of {len(points)}"
                examples.append(_subject(labels, first, value, (k,)))
    way_out = "nothing, if it is a fixed mark; else label it again: a default was kept"
    return found("frozen", "info", "keypoints at exactly one place in many images: {n}", examples, way_out)


def _beside_box(labels: Labels) -> list[Finding]:
    low, high = labels.boxes[:, None, :2], labels.boxes[:, None, 2:]
    room = _BESIDE * np.linalg.norm(high - low, axis=2, keepdims=True) + 1
    with np.errstate(invalid="ignore"):
        beyond = ((labels.keypoints < low - room) | (labels.keypoints > high + room)).any(axis=2)
    way_out = "check that box and points belong to one subject"
    return found(
        "beside_box", "warning", "subjects with points beside their box: {n}", _points(labels, beyond), way_out
    )


def _empty_boxes(labels: Labels) -> list[Finding]:
    empty = np.isfinite(labels.boxes).all(axis=1) & ~(labels.visibility > 0).any(axis=1)
    rows = [i for i in np.flatnonzero(empty).tolist() if not labels.subjects[i].crowd]
    examples = [_subject(labels, i, "a box without points") for i in rows]
    return found(
        "empty_box", "info", "boxes without a labeled point: {n}", examples, "label them, or leave them: unused"
    )
