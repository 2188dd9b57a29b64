"""Findings about points and boxes that their numbers alone show."""

from __future__ import annotations

import numpy as np

from softpoint.audit.report import Example, Finding, KeypointCounts, finding_of
from softpoint.labels.missing import exact_point, repeated_points
from softpoint.labels.schema import OCCLUDED, Labels
from softpoint.labels.validate import outside_points, pages_of_whole_files, repeated_subjects

# Distance from its box that a point may have, as a fraction of the box's diagonal: boxes are drawn roughly.
_BOX_MARGIN = 0.1


def point_findings(labels: Labels, sizes: np.ndarray, severity: str, out_of_frame: str) -> list[Finding]:
    """Return the findings about points and boxes; `sizes` (N, 2) is height and width, 0 if unknown.

    `severity` is that of a row that training cannot use, `out_of_frame` that of points beyond their image.
    """
    advice = "correct them, or set data.out_of_frame=drop to treat such points as unlabeled"
    beyond = _examples(labels, beyond_image(labels, sizes))
    at_origin = _examples(labels, (labels.keypoints == 0).all(axis=2))
    marks = "none needed for points in the corner; set data.missing=[[0,0]] if they mean that the point is missing"
    return [
        *_fractions(labels, sizes),
        *finding_of("out_of_frame", out_of_frame, "subjects with points outside their image", beyond, advice),
        *_repeated_subjects(labels, severity),
        *_pages_of_whole_files(labels, severity),
        *_never_labeled(labels),
        *finding_of("at_origin", "warning", "subjects with points at exactly (0, 0)", at_origin, marks),
        *_coincident(labels),
        *_constant(labels),
        *_unused(labels),
        *_boxes(labels),
    ]


def count_keypoints(labels: Labels, sizes: np.ndarray) -> list[KeypointCounts]:
    """Return the counts of each keypoint's states."""
    labeled = np.greater(labels.visibility, 0)
    parts = (labeled, labels.visibility == OCCLUDED, ~labeled, beyond_image(labels, sizes))
    columns = (np.sum(part, axis=0).tolist() for part in parts)
    return [KeypointCounts(*row) for row in zip(labels.skeleton.names, *columns, strict=True)]


def beyond_image(labels: Labels, sizes: np.ndarray) -> np.ndarray:
    """Return a mask (N, K) of the points outside their image; False if its size is unknown."""
    return outside_points(labels, sizes) & (sizes > 0).all(axis=1, keepdims=True)


def _examples(labels: Labels, mask: np.ndarray) -> list[Example]:
    """Return an example for each subject that has a point in `mask` (N, K)."""
    examples = []
    for i in np.flatnonzero(mask.any(axis=1)).tolist():
        points = np.flatnonzero(mask[i])
        values = [f"{labels.skeleton.names[k]} at ({_xy(labels.keypoints[i, k])})" for k in points[:3]]
        value = ", ".join(values) + (f" and {len(points) - 3} more" if len(points) > 3 else "")
        examples.append(_subject(labels, i, value, tuple(points.tolist())))
    return examples


def _subject(labels: Labels, index: int, value: str, keypoints: tuple[int, ...] = ()) -> Example:
    return Example(labels.images[index], labels.places[index], value, index, keypoints)


def _xy(point: np.ndarray) -> str:
    return f"{point[0]:g}, {point[1]:g}"


def _fractions(labels: Labels, sizes: np.ndarray) -> list[Finding]:
    points = labels.keypoints[labels.visibility > 0]
    if not len(points) or points.min() < 0 or points.max() > 1 or sizes.max(initial=0) < 8 or not points.any():
        return []
    rows = np.flatnonzero((labels.visibility > 0).any(axis=1)).tolist()
    examples = [_subject(labels, i, "all its coordinates are between 0 and 1") for i in rows]
    message = "subjects whose coordinates are fractions of the image, not pixels"
    advice = "multiply x by the width and y by the height of the image"
    return finding_of("fractions", "error", message, examples, advice)


def _repeated_subjects(labels: Labels, severity: str) -> list[Finding]:
    repeated = repeated_subjects(labels)
    examples = [_subject(labels, i, f"labeled exactly as in {place}") for i, place in repeated.items()]
    return finding_of("repeated_subject", severity, "subjects labeled twice", examples, "remove one of the two rows")


def _pages_of_whole_files(labels: Labels, severity: str) -> list[Finding]:
    pages = pages_of_whole_files(labels).items()
    examples = [_subject(labels, i, f"a page of {file}, which is labeled as a whole, too") for i, file in pages]
    message, advice = "subjects on pages of files that are also labeled as a whole", "label the pages alone"
    return finding_of("page_of_whole_file", severity, message, examples, advice)


def _never_labeled(labels: Labels) -> list[Finding]:
    counts = (labels.visibility > 0).sum(axis=0).tolist()
    examples = [Example("", "", name) for name, count in zip(labels.skeleton.names, counts, strict=True) if not count]
    advice = "label them, or select the others by data.keypoints"
    return finding_of("never_labeled", "warning", "keypoints that are never labeled", examples, advice)


def _coincident(labels: Labels) -> list[Finding]:
    """Return the subjects with several keypoints at exactly the same coordinates."""
    points = labels.keypoints
    # A point equals itself; unlabeled ones, being NaN, equal nothing.
    shared = np.stack([(points == points[:, [k]]).all(axis=2).sum(axis=1) > 1 for k in range(len(labels.skeleton))], 1)
    examples = _examples(labels, shared & ~(points == 0).all(axis=2))
    advice = "move one of them, or leave it empty if its position is unknown"
    return finding_of("coincident", "warning", "subjects with several keypoints at one point", examples, advice)


def _constant(labels: Labels) -> list[Finding]:
    """Return the keypoints with exactly the same coordinates in many images."""
    examples = []
    for k, position, rows in repeated_points(labels):
        labeled = int((labels.visibility[:, k] > 0).sum())
        value = f"{labels.skeleton.names[k]} is at exactly ({exact_point(position)}) in {len(rows)} of {labeled}"
        examples.append(_subject(labels, int(rows[0]), value, (k,)))
    advice = "none needed for a fixed mark; if they mean that the point is missing, list them in data.missing"
    return finding_of("constant", "warning", "keypoints at exactly one position in many images", examples, advice)


def _unused(labels: Labels) -> list[Finding]:
    examples = [Example("", "", f"{count} {content}") for content, count in labels.unused.items() if count]
    advice = "none needed if it is not what you want to train on"
    return finding_of("unused", "warning", "kinds of content of the labels that are left out", examples, advice)


def _boxes(labels: Labels) -> list[Finding]:
    low, high = labels.boxes[:, None, :2], labels.boxes[:, None, 2:]
    margin = _BOX_MARGIN * np.linalg.norm(high - low, axis=2, keepdims=True) + 1
    with np.errstate(invalid="ignore"):
        beyond = ((labels.keypoints < low - margin) | (labels.keypoints > high + margin)).any(axis=2)
    advice = "check that box and points belong to the same subject"
    empty = np.isfinite(labels.boxes).all(axis=1) & ~(labels.visibility > 0).any(axis=1)
    rows = np.flatnonzero(empty & ~labels.crowds).tolist()
    boxes = [_subject(labels, i, "a box without points") for i in rows]
    message = "subjects with points outside their box"
    return [
        *finding_of("outside_box", "warning", message, _examples(labels, beyond), advice),
        *finding_of("empty_box", "info", "boxes without a labeled point, which are not used", boxes, "label them"),
    ]
