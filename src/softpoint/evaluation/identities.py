"""Tracks measured against labels that name individuals: MOTA, IDF1, HOTA and identity switches.

A found subject is like a labeled one by 1 - d / (2 r), 0 at least: d is the mean distance of the labeled points, r the
distance at which a match ends, as a fraction of the diagonal of the box about the labeled points, or in pixels. Two
match where that is 0.5 or more. MOTA, IDF1 and switches are those of motmetrics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy

from softpoint.evaluation.against import matched_images
from softpoint.extras import require
from softpoint.labels.schema import Labels
from softpoint.metrics.functional import distances
from softpoint.tables import NumberTable

_MATCH = 0.5
_LEVELS = np.arange(1, 20) * 0.05  # of similarity, that HOTA is the mean over


class Individuals(NamedTuple):
    """The N subjects in a frame that are named or on a track."""

    ids: np.ndarray  # int (N,), each once
    keypoints: np.ndarray  # (N, K, 2), NaN where there is no point


@dataclass(frozen=True)
class Reach:
    """The mean distance up to which a found subject is a labeled one, in pixels or in sizes of the labeled one."""

    distance: float
    in_pixels: bool = False

    @classmethod
    def parse(cls, value: float | str) -> Reach:
        """Return the reach that 0.2 or 15px means; ValueError for anything else.

        >>> Reach.parse("15px"), Reach.parse(0.2).in_pixels
        (Reach(distance=15.0, in_pixels=True), False)
        """
        text = str(value)
        try:
            reach = cls(float(text.removesuffix("px")), text.endswith("px"))
        except ValueError:
            reach = cls(0.0)
        if not 0 < reach.distance < np.inf:
            raise ValueError(f"distance={value} must be a fraction of a subject's size, such as 0.2, or pixels: 15px")
        return reach


@dataclass(frozen=True)
class TrackMetrics:
    """Measures of the tracks of T frames; shares are 1 at best."""

    frames: int
    individuals: int  # that are labeled
    tracks: int  # that are found
    mota: float  # 1 - (misses + false finds + switches) / labeled subjects
    idf1: float  # F1 of subjects on the one track that stands for their individual throughout
    hota: float  # geometric mean of detection and association, over 19 levels of similarity
    deta: float
    assa: float
    switches: int  # times that an individual is on another track than before
    fragments: int  # times that an individual is missed and found again
    misses: int
    false: int  # found subjects on tracks that are no labeled one


def measure_tracks(truth: Sequence[Individuals], found: Sequence[Individuals], reach: Reach) -> TrackMetrics:
    """Return the measures of the found tracks in frames of which `truth` has all individuals.

    Raises ValueError where no subject is labeled, and ImportError without motmetrics.
    """
    motmetrics = require("motmetrics", "tracks", "measuring tracks")
    alike = [similarity(a.keypoints, b.keypoints, reach) for a, b in zip(truth, found, strict=True)]
    if not any(len(frame.ids) for frame in truth):
        raise ValueError("no subject is labeled in these frames")
    events = motmetrics.MOTAccumulator(auto_id=True)
    for a, b, likeness in zip(truth, found, alike, strict=True):
        events.update(a.ids.tolist(), b.ids.tolist(), np.where(likeness >= _MATCH, 1 - likeness, np.nan))
    names = ["mota", "idf1", "num_switches", "num_fragmentations", "num_misses", "num_false_positives"]
    mota, idf1, *counts = motmetrics.metrics.create().compute(events, metrics=names).iloc[0].tolist()
    switches, fragments, misses, false = map(int, counts)
    individuals, tracks = (len(np.unique(np.concatenate([frame.ids for frame in own]))) for own in (truth, found))
    return TrackMetrics(
        len(truth), individuals, tracks, float(mota), float(idf1), *hota(truth, found, alike), switches, fragments,
        misses, false,
    )  # fmt: skip


def similarity(truth: np.ndarray, found: np.ndarray, reach: Reach) -> np.ndarray:
    """Return how alike labeled (N, K, 2) and found poses (M, K, 2) are, (N, M), from 0 to 1.

    A labeled point that is not found has no part in it; without a common point it is 0.
    """
    apart = distances(truth[:, None], found)
    shared = np.isfinite(apart)
    mean = np.where(shared, apart, 0).sum(-1) / shared.sum(-1).clip(1)
    limit = np.full(len(truth), reach.distance)
    if not reach.in_pixels and len(truth):
        limit *= np.linalg.norm(np.nanmax(truth, 1) - np.nanmin(truth, 1), axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        likeness = np.nan_to_num(1 - mean / (2 * limit[:, None]), nan=0.0)
    result: np.ndarray = np.where(shared.any(-1), likeness.clip(0, 1), 0.0)
    return result


def hota(
    truth: Sequence[Individuals], found: Sequence[Individuals], alike: Sequence[np.ndarray]
) -> tuple[float, float, float]:
    """Return HOTA, DetA and AssA, means over 19 levels of similarity (N, M) in each frame.

    Source: Luiten et al., HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking, IJCV 2021.
    """
    rows, columns = _numbers(truth), _numbers(found)
    labeled, tracked = _counts(rows)[:, None], _counts(columns)[None]
    together = np.zeros((len(labeled), tracked.shape[1]))
    for i, j, likeness in zip(rows, columns, alike, strict=True):
        either = likeness.sum(1, keepdims=True) + likeness.sum(0, keepdims=True) - likeness
        together[np.ix_(i, j)] += np.divide(likeness, either, out=np.zeros_like(likeness), where=either > 0)
    alignment = together / np.maximum(labeled + tracked - together, 1e-9)
    matches = np.zeros((len(_LEVELS), *together.shape))
    for i, j, likeness in zip(rows, columns, alike, strict=True):
        a, b = scipy.optimize.linear_sum_assignment(alignment[np.ix_(i, j)] * likeness, maximize=True)
        matches[:, i[a], j[b]] += likeness[a, b] >= _LEVELS[:, None] - 1e-9
    hits = matches.sum((1, 2))
    detection = hits / (labeled.sum() + tracked.sum() - hits)
    shares = matches / np.maximum(labeled + tracked - matches, 1)
    association = (matches * shares).sum((1, 2)) / np.maximum(hits, 1)
    means = (np.sqrt(detection * association), detection, association)
    return float(means[0].mean()), float(means[1].mean()), float(means[2].mean())


def compare_tracks(labels: Labels, predicted: Labels, reach: Reach) -> tuple[TrackMetrics, list[str]]:
    """Return the measures of predicted tracks in the labeled frames, and notes of what was left out.

    Keypoints are matched by name, frames by their paths or numbers. Raises ValueError for labels or predictions whose
    subjects have no names, and where no keypoint or no frame is in both.
    """
    names = [name for name in labels.skeleton.names if name in predicted.skeleton.names]
    if not names:
        raise ValueError(
            f"{predicted.source} has no keypoint of {labels.source}: {', '.join(predicted.skeleton.names[:5])} beside"
            f" {', '.join(labels.skeleton.names[:5])}"
        )
    labels, predicted = labels.with_keypoints(names), predicted.with_keypoints(names)
    frames, by_name = matched_images(list(dict.fromkeys(labels.images)), list(dict.fromkeys(predicted.images)))
    if not frames:
        raise ValueError(f"{predicted.source} has no frame of {labels.source}: {predicted.images[0]} is not in it")
    notes = [f"frames are matched by {by_name}"] if by_name else []
    truth, unnamed = _by_frame(labels, {image: image for image in labels.images})
    if unnamed:
        raise ValueError(
            f"{labels.source}: {unnamed} labeled subjects have no name, by which individuals are told apart"
        )
    found, without = _by_frame(predicted, frames)
    if without and not any(len(frame.ids) for frame in found.values()):
        raise ValueError(f"{predicted.source} has no tracks; predict with track=true")
    if without:
        notes.append(f"{without} predicted subjects are on no track and are left out")
    K, order = len(names), list(truth)
    none = Individuals(np.empty(0, int), np.empty((0, K, 2)))
    return measure_tracks([truth[image] for image in order], [found.get(image, none) for image in order], reach), notes


def track_table(metrics: TrackMetrics) -> NumberTable:
    """Return the measures as a table for a terminal."""
    counts = ("frames", "individuals", "tracks", "switches", "fragments", "misses", "false")
    table = NumberTable("measure", ["value"])
    for name in counts:
        table.add_row(name, str(getattr(metrics, name)))
    for name in ("mota", "idf1", "hota", "deta", "assa"):
        table.add_row(name, f"{getattr(metrics, name):.3f}")
    return table


def _by_frame(labels: Labels, frames: Mapping[str, str]) -> tuple[dict[str, Individuals], int]:
    """Return the named subjects in each frame by its name in `frames`, and the number of those without a name."""
    numbers: dict[str, int] = {}
    members: dict[str, list[tuple[int, np.ndarray]]] = {frames[image]: [] for image in labels.images if image in frames}
    unnamed = 0
    for subject in labels.subjects:
        if subject.image not in frames or not np.isfinite(subject.keypoints).any():
            continue
        unnamed += not subject.name
        if subject.name:
            number = numbers.setdefault(subject.name, len(numbers))
            members[frames[subject.image]].append((number, subject.keypoints))
    K = len(labels.skeleton)
    return {
        image: Individuals(
            np.array([number for number, _ in own], int), np.array([points for _, points in own]).reshape(-1, K, 2)
        )
        for image, own in members.items()
    }, unnamed


def _numbers(frames: Sequence[Individuals]) -> list[np.ndarray]:
    """Return the ids (N,) of each frame, numbered from 0."""
    order = {number: i for i, number in enumerate(np.unique(np.concatenate([frame.ids for frame in frames])).tolist())}
    return [np.array([order[number] for number in frame.ids.tolist()], int) for frame in frames]


def _counts(numbers: Sequence[np.ndarray]) -> np.ndarray:
    return np.bincount(np.concatenate(numbers)).astype(float)
