"""Which found subject is which labeled one: one to one, the likeliest first, by OKS or by distance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from softpoint.evaluation.subjects.results import SubjectResults, rows_of
from softpoint.inference.finding import in_regions
from softpoint.metrics.functional import assign, distances, pose_similarity

OKS_LEVEL = 0.5
DISTANCE = 0.02  # of the image's diagonal

# By how much each of D found subjects (D, K, 2) agrees with each of N labeled ones (N, K, 2), whose areas are (N,), in
# an image of a diagonal: at least 0 where they match (D, N).
Rule = Callable[[np.ndarray, np.ndarray, np.ndarray, float], np.ndarray]


@dataclass(frozen=True)
class Outcomes:
    """What became of N labeled and D found subjects."""

    subject: np.ndarray  # (D,), the labeled subject that a found one is; -1 for none
    twin: np.ndarray  # (D,), the labeled subject that it would be, if that were not found already; -1 for none
    ignored: np.ndarray  # bool (D,): it is none, and where nothing is known of subjects: neither right nor wrong
    find: np.ndarray  # (N,), the found subject that a labeled one is; -1 for none
    measured: np.ndarray  # bool (N,): there are a labeled point and an area, so that it has to be found

    def right(self, kept: np.ndarray) -> np.ndarray:
        """Mask (D,) of the `kept` found subjects that are labeled ones."""
        return np.asarray(kept & (self.subject >= 0))

    def wrong(self, kept: np.ndarray) -> np.ndarray:
        """Mask (D,) of the `kept` found subjects that are none, the doubled ones among them."""
        return np.asarray(kept & (self.subject < 0) & ~self.ignored)

    @property
    def doubled(self) -> np.ndarray:
        """Mask (D,) of the found subjects that would be one that is found already."""
        return np.asarray(self.twin >= 0)

    def seen(self, kept: np.ndarray) -> np.ndarray:
        """Mask (N,) of the labeled subjects that are among the `kept` (D,) found ones."""
        return np.asarray((self.find >= 0) & np.append(kept, False)[self.find])


def by_oks(sigmas: np.ndarray, level: float = OKS_LEVEL) -> Rule:
    """Return the rule that the OKS is at least `level`."""
    return partial(_oks_margin, sigmas=sigmas, level=level)


def by_distance(fraction: float = DISTANCE) -> Rule:
    """Return the rule that the mean distance of the labeled points is at most a `fraction` of the image's diagonal."""
    return partial(_distance_margin, fraction=fraction)


def _oks_margin(
    found: np.ndarray, truth: np.ndarray, areas: np.ndarray, diagonal: float, sigmas: np.ndarray, level: float
) -> np.ndarray:
    return pose_similarity(found[:, None], truth, areas, sigmas) - min(level, 1 - 1e-10)  # as COCO's evaluator


def _distance_margin(
    found: np.ndarray, truth: np.ndarray, areas: np.ndarray, diagonal: float, fraction: float
) -> np.ndarray:
    apart, labeled = distances(found[:, None], truth), np.isfinite(truth).all(-1)
    means: np.ndarray = np.where(labeled, apart, 0).sum(-1) / labeled.sum(-1).clip(1)
    return fraction - means / diagonal


def match_subjects(results: SubjectResults, rule: Rule) -> Outcomes:
    """Return which found subject is which labeled one, in each image."""
    labeled, found = results.labeled, results.found
    areas = subject_areas(results)
    measured = (labeled.visibility > 0).any(1) & (areas > 0)
    subject, twin = np.full(len(found.score), -1), np.full(len(found.score), -1)
    find = np.full(len(measured), -1)
    for image, diagonal in enumerate(np.hypot(*results.size.T)):
        finds, rows = rows_of(results.found_in, image), rows_of(results.labeled_in, image)
        subjects = rows.start + np.flatnonzero(measured[rows])
        margins = rule(found.keypoints[finds], labeled.keypoints[subjects], areas[subjects], float(diagonal))
        chosen = assign(margins)
        hits = np.flatnonzero(chosen >= 0)
        subject[finds.start + hits] = subjects[chosen[hits]]
        find[subjects[chosen[hits]]] = finds.start + hits
        again = np.flatnonzero((chosen < 0) & (margins >= 0).any(1))
        twin[finds.start + again] = subjects[margins[again].argmax(1)] if len(again) else []
    ignored = (subject < 0) & unknown_places(results, measured)
    return Outcomes(subject, np.where(ignored, -1, twin), ignored, find, measured)


def unknown_places(results: SubjectResults, measured: np.ndarray) -> np.ndarray:
    """Return a mask (D,) of the found subjects whose box has its center where nothing is known of subjects.

    That is in a crowd, in the box of a labeled subject that is not `measured` (N,), and in an image that is not
    completely labeled everywhere but in the boxes of its labeled subjects.
    """
    found = results.found.boxes
    unknown = np.zeros(len(found), bool)
    for image, complete in enumerate(results.complete):
        finds, rows = rows_of(results.found_in, image), rows_of(results.labeled_in, image)
        boxes, known = results.labeled.boxes[rows], measured[rows]
        places = np.concatenate([results.crowds[rows_of(results.crowds_in, image)], boxes[~known]])
        unknown[finds] = in_regions(found[finds], places)
        if not complete:
            unknown[finds] |= ~in_regions(found[finds], boxes[known])
    return unknown


def subject_areas(results: SubjectResults) -> np.ndarray:
    """Return areas (N,) in px^2 of the labeled subjects' boxes."""
    boxes = results.labeled.boxes
    areas: np.ndarray = (boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(1)
    return areas
