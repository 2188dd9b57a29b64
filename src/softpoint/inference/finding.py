"""Subjects found in whole images: their boxes, of which each subject keeps one, and how likely they are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from softpoint.functional import find_centers
from softpoint.labels.boxes import box_overlaps
from softpoint.metrics.functional import assign
from softpoint.models import KeypointNet

# Peaks of a map that are read, and the smallest number of subjects that a peak must stand for.
MAX_PEAKS, FEWEST = 512, 1e-3

# Two boxes that overlap more, by intersection over union, are of one subject.
SAME_BOX = 0.7


class Finds(NamedTuple):
    """The N boxes found in an image, the likeliest first."""

    boxes: np.ndarray  # float64 (N, 4): left, top, right, bottom
    expected: np.ndarray  # float64 (N,), the number of subjects that the network expects there
    score: np.ndarray  # float64 (N,), probability of a subject


@torch.inference_mode()
def find(net: KeypointNet, images: Tensor) -> list[Finds]:
    """Return what the finder of a network sees in each of the images (B, C, H, W), in pixels of these."""
    assert net.finder is not None
    with torch.autocast(images.device.type, enabled=False):
        maps = net.find(images)
    count = min(MAX_PEAKS, maps.logits[0].numel())
    expected, boxes = find_centers(maps.logits, maps.boxes, net.finder.stride, count)
    score = net.finder.score(expected)
    arrays = (value.double().cpu().numpy() for value in (boxes, expected, score))
    return [distinct_finds(Finds(*one)) for one in zip(*arrays, strict=True)]


def distinct_finds(finds: Finds, limit: float = SAME_BOX) -> Finds:
    """Return the finds that stand for anything, of several about the same box the likeliest.

    >>> boxes = np.array([[0.0, 0, 4, 4], [0, 0, 4, 4], [9, 9, 12, 12]])
    >>> distinct_finds(Finds(boxes, np.array([0.9, 0.5, 0.7]), np.zeros(3))).expected.tolist()
    [0.9, 0.7]
    """
    order = np.argsort(-finds.expected, kind="stable")
    rows = order[finds.expected[order] >= FEWEST]
    same = box_overlaps(finds.boxes[rows], finds.boxes[rows]) > limit
    taken, kept = np.zeros(len(rows), bool), list[int]()
    for place in range(len(rows)):
        if not taken[place]:
            kept.append(place)
            taken |= same[place]
    chosen = rows[np.array(kept, int)]
    return Finds(*(part[chosen] for part in finds))


def matched_finds(finds: np.ndarray, truth: np.ndarray, least: float = 0.5) -> np.ndarray:
    """Return the row of the true box (M, 4) that each found box (N, 4) is of, the first finds first; -1 for none.

    A find is of the box that it overlaps most, by intersection over union of at least `least`, among those that no find
    before it is of.

    >>> matched_finds(np.array([[0.0, 0, 4, 4], [0, 0, 4, 3]]), np.array([[0.0, 0, 4, 4]])).tolist()
    [0, -1]
    """
    return assign(box_overlaps(finds, truth) - least)


def in_regions(boxes: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Return whether the center of each box (N, 4) is in one of the regions (M, 4).

    >>> in_regions(np.array([[0.0, 0, 2, 2]]), np.array([[0.0, 0, 9, 9]])).tolist()
    [True]
    """
    centers = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    return np.asarray(((centers >= regions[None, :, :2]) & (centers <= regions[None, :, 2:])).all(-1).any(1))
