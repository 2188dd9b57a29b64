"""Findings about images of several subjects: one labeled twice, boxes and crowds of others, subjects that lack."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from softpoint.audit.report import Example, Finding, finding_of
from softpoint.labels.schema import Labels

# Largest distance of all points that two labels of one subject have in common, of the smaller one's diagonal. Points of
# two subjects in contact are not all that near: a nose is not at the other's nose and the tail at its tail.
_SAME = 0.05
_SHARED = 0.5  # part of the labeled points of the one with fewer that both must have, two at least
# Part of the images of a group in which as many subjects are labeled, and the number of images, from which on others
# with fewer stand out.
_USUAL, _IMAGES = 0.9, 10


def subject_findings(labels: Labels) -> list[Finding]:
    """Return the findings about subjects that share their image with others; none where each has its own."""
    rows: dict[str, list[int]] = {}
    for row, path in enumerate(labels.paths):
        rows.setdefault(path, []).append(row)
    shared = [np.array(own) for own in rows.values() if len(own) > 1]
    if not shared:
        return []
    twice, boxes, crowded = [], [], []
    for own in shared:
        twice += list(_labeled_twice(labels, own))
        boxes += list(_shared_boxes(labels, own))
        crowded += list(_in_crowds(labels, own))
    one, both = "remove one of the two", "give each subject its own box; crops and centers are made from boxes"
    know = "none needed if others are there too; in a crowd nothing is learned or measured but of labeled subjects"
    check = "label the others, or set data.complete=false in a training where subjects may lack"
    message = "images with fewer labeled subjects than nearly all others of their group"
    return [
        *finding_of("doubled_subject", "warning", "subjects that seem to be labeled twice", twice, one),
        *finding_of("shared_box", "warning", "subjects with the box of another one", boxes, both),
        *finding_of("subject_in_crowd", "info", "labeled subjects inside a crowd", crowded, know),
        *finding_of("fewer_subjects", "info", message, _fewer(labels, list(rows.values())), check),
    ]


def _labeled_twice(labels: Labels, own: np.ndarray) -> Iterator[Example]:
    """An example for each subject whose points are nearly those of an earlier one, and not exactly."""
    labeled = labels.visibility[own] > 0
    points, sizes, counts = labels.keypoints[own], _diagonals(labels, own), labeled.sum(1)
    both = labeled[:, None] & labeled
    apart = np.where(both[..., None], points[:, None] - points, 0)
    farthest = np.hypot(apart[..., 0], apart[..., 1]).max(-1)
    enough = both.sum(-1) >= np.maximum(2, _SHARED * np.minimum(counts[:, None], counts))
    exactly = (farthest == 0) & (labeled[:, None] == labeled).all(-1)  # another finding
    near = enough & ~exactly & (farthest <= _SAME * np.minimum(sizes[:, None], sizes))
    for j, i in np.argwhere(np.tril(near, -1)).tolist():
        value = f"its {both[i, j].sum()} points are within {farthest[i, j]:.1f} px of those in {labels.places[own[i]]}"
        yield _example(labels, int(own[j]), value, tuple(np.flatnonzero(both[i, j]).tolist()))


def _shared_boxes(labels: Labels, own: np.ndarray) -> Iterator[Example]:
    """An example for each subject with exactly the box of an earlier one, but other points."""
    first: dict[bytes, int] = {}
    for row in own.tolist():
        box = labels.boxes[row]
        if labels.crowds[row] or not np.isfinite(box).all():
            continue
        earlier = first.setdefault((box + 0.0).tobytes(), row)
        if earlier != row and not np.array_equal(labels.keypoints[earlier], labels.keypoints[row], equal_nan=True):
            yield _example(labels, row, f"its box is that in {labels.places[earlier]}")


def _in_crowds(labels: Labels, own: np.ndarray) -> Iterator[Example]:
    """An example for each subject whose labeled points are all in one crowd."""
    crowds = own[labels.crowds[own]]
    for row in own[~labels.crowds[own]].tolist():
        points = labels.keypoints[row][labels.visibility[row] > 0]
        for crowd in crowds.tolist() if len(points) else ():
            box = labels.boxes[crowd]
            if ((points >= box[:2]) & (points <= box[2:])).all():
                yield _example(labels, row, f"inside the crowd in {labels.places[crowd]}")
                break


def _fewer(labels: Labels, rows: list[list[int]]) -> list[Example]:
    """An example for each image with fewer labeled subjects than 9 of 10 images of its group, of ten or more."""
    known = np.any(labels.visibility > 0, axis=1).tolist()
    images: dict[str, list[tuple[int, int]]] = {}
    for own in rows:
        if not labels.crowds[own].any():  # nobody knows how many there are
            images.setdefault(labels.groups[own[0]], []).append((own[0], sum(known[row] for row in own)))
    examples = []
    for group in images.values():
        counts = np.array([count for _, count in group])
        usual = int(np.bincount(counts).argmax())
        if usual > 1 and len(group) >= _IMAGES and (counts == usual).mean() >= _USUAL:
            fewer = [(row, count) for row, count in group if count < usual]
            examples += [_example(labels, row, f"{count} of the usual {usual}") for row, count in fewer]
    return examples


def _diagonals(labels: Labels, own: np.ndarray) -> np.ndarray:
    """The diagonals (n,) of the subjects' boxes, else of those about their labeled points; 0 for neither."""
    labeled = labels.visibility[own] > 0
    low = np.where(labeled[..., None], labels.keypoints[own], np.inf).min(1)
    high = np.where(labeled[..., None], labels.keypoints[own], -np.inf).max(1)
    sides = labels.boxes[own][:, 2:] - labels.boxes[own][:, :2]
    return np.asarray(np.hypot(*np.where(np.isfinite(sides), sides, (high - low).clip(min=0)).T))


def _example(labels: Labels, row: int, value: str, keypoints: tuple[int, ...] = ()) -> Example:
    return Example(labels.images[row], labels.places[row], value, row, keypoints)
