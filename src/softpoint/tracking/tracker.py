"""Subjects found in the frames of a video, joined to tracks by their poses and by how sure these are.

A track is a constant-velocity Kalman filter per keypoint. A subject fits a track by the mean over its keypoints of
log((1 - e) A p + e): p is the density of the point where the filter expects it, with the errors of both, A the area of
the image, and e the probability of an outlier, which may be anywhere in the image. It may be joined where that is above
0, which is where its points are likelier on the track than anywhere; the assignment of the largest sum is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

import numpy as np
import scipy

from softpoint.tracking.motion import Motion, begin, density, predict, update

NO_TRACK = 0

# Chosen by benchmarks/tracking.py. Lengths are in sizes of the subject, the diagonal of the box about its points.
SPEED = 0.1  # standard deviation of the velocity of a new track, per frame
NOISES = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16)  # of the change of a velocity over one frame, to choose from
DEFAULT_NOISE = 0.01  # where nothing is followed
_FLOOR = 0.01  # smallest standard deviation of a point's error; and half a pixel
_OUTLIER = 0.02  # probability that a point is anywhere
_LEAST_WEIGHT = 0.05  # of a point that seems to be an outlier, beside one that is none
_SURE = 0.5  # least score of a subject that begins a track
_BURSTS = 2.0  # of this many times the likeliest noise, because a turn is rarer and sharper than normal noise
_TRIED, _FEW = 500, 10_000  # frames that the choice of the noise is made by; fewer with more subjects in all


class Poses(NamedTuple):
    """The N subjects found in a frame, in pixels."""

    keypoints: np.ndarray  # (N, K, 2), NaN where there is no point
    covariance: np.ndarray  # (N, K, 2, 2) of their errors
    confidence: np.ndarray  # (N, K)
    score: np.ndarray  # (N,), probability that it is a subject; NaN where nobody knows


@dataclass(frozen=True)
class TrackOptions:
    """Options of tracks, each described in configs/predict.yaml; ValueError for impossible values."""

    max_gap: int = 30
    min_frames: int = 3
    subjects: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("max_gap", 0), ("min_frames", 1), ("subjects", 1)):
            value = getattr(self, name)
            if not (value is None and name == "subjects") and (type(value) is not int or value < least):
                raise ValueError(f"tracks.{name}={value} must be a whole number, {least} or more")


class _Tracks(NamedTuple):
    """N tracks that go on, of K keypoints."""

    ids: np.ndarray  # (N,), rising from 1
    last: np.ndarray  # (N,), number of the frame in which each was seen last
    seen: np.ndarray  # (N,), number of frames in which it was seen
    size: np.ndarray  # (N,) of the subject in px
    mean: np.ndarray  # (N, K, 4)
    covariance: np.ndarray  # (N, K, 4, 4)

    @property
    def motion(self) -> Motion:
        return Motion(self.mean, self.covariance)

    def select(self, rows: np.ndarray) -> _Tracks:
        return _Tracks(*(part[rows] for part in self))


def _none(K: int) -> _Tracks:
    numbers = np.empty(0, int)
    return _Tracks(numbers, numbers, numbers, np.empty(0), np.empty((0, K, 4)), np.empty((0, K, 4, 4)))


class Tracker:
    """The tracks of a video whose frames have this size (H, W) in px, and whose subjects have K keypoints.

    Args:
        options: of tracks.
        size: of the frames.
        K: number of keypoints.
        noise: standard deviation of the change of a velocity over one frame, in sizes of the subject.
    """

    def __init__(self, options: TrackOptions, size: tuple[int, int], K: int, noise: float) -> None:
        self._options, self._area, self._noise = options, float(size[0] * size[1]), noise
        self.fit = 0.0  # logarithm of how much likelier all subjects are on their tracks than anywhere
        self._tracks = _none(K)
        self._frame, self._begun = 0, 0

    def step(self, frame: int, poses: Poses) -> np.ndarray:
        """Return the id (N,) of the track of each subject in a frame, which must be a later one than the last.

        NO_TRACK is one that fits none and begins none: with too low a score, without a point, or one too many.
        """
        points, covariance = poses.keypoints, errors_of(poses)
        ids = np.full(len(points), NO_TRACK)
        self._move_to(frame)
        tracks, joined = self._matched(points, covariance)
        self._follow(tracks, points[joined], covariance[joined])
        ids[joined] = self._tracks.ids[tracks]
        free = (ids == NO_TRACK) & np.isfinite(points).all(-1).any(-1) & ~(poses.score < _SURE)
        tracks, found = self._found_again(np.flatnonzero(free), points)
        ids[found] = self._begin_again(tracks, points[found], covariance[found])
        free[found] = False
        new = self._in_order(np.flatnonzero(free), points)
        ids[new] = self._begin(points[new], covariance[new])
        return ids

    def _move_to(self, frame: int) -> None:
        """Move all tracks to a frame, without those that have ended before it."""
        tracks, options = self._tracks, self._options
        missed = frame - tracks.last - 1
        # One that was seen in few frames may be a false find, and is not waited for longer than it was seen.
        alive = missed <= np.minimum(tracks.seen, options.max_gap)
        if options.subjects is not None:
            alive |= tracks.seen >= options.min_frames
        moved = predict(tracks.motion, frame - self._frame, self._noise * tracks.size[:, None])
        self._tracks = tracks._replace(mean=moved.mean, covariance=moved.covariance).select(alive)
        self._frame = frame

    def _matched(self, points: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the tracks that have a subject in this frame and their subjects, as rows."""
        motion = Motion(self._tracks.mean[:, None], self._tracks.covariance[:, None])
        fit = np.log((1 - _OUTLIER) * self._area * density(motion, points, covariance) + _OUTLIER)
        shared = np.isfinite(fit)
        fit = np.where(shared, fit, 0).sum(-1) / np.maximum(1, shared.sum(-1))
        tracks, subjects = scipy.optimize.linear_sum_assignment(np.maximum(fit, 0), maximize=True)
        good = fit[tracks, subjects] > 0
        self.fit += float(fit[tracks, subjects][good].sum())
        return tracks[good], subjects[good]

    def _follow(self, rows: np.ndarray, points: np.ndarray, covariance: np.ndarray) -> None:
        """Update the tracks at these rows by the points (M, K, 2) of their subjects."""
        tracks = self._tracks
        own, seen = tracks.select(rows), tracks.seen[rows] + 1
        moved = observe(own.motion, points, covariance, SPEED * own.size[:, None], self._area)
        for part, values in (("last", self._frame), ("seen", seen), ("mean", moved[0]), ("covariance", moved[1])):
            getattr(tracks, part)[rows] = values
        tracks.size[rows] += (sizes(points) - own.size) / np.minimum(seen, 30)

    def _found_again(self, rows: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the tracks that were missed for longer than the largest gap, and the subjects that they must be.

        Such tracks are only kept where the number of subjects is known, so that one that fits no track is one of them.
        """
        since = self._frame - self._tracks.last
        lost = np.flatnonzero(since - 1 > self._options.max_gap)
        place, speed = np.split(_middles(self._tracks.mean[lost]), 2, axis=-1)
        place = place - speed * since[lost, None]  # where it was seen last
        apart = np.linalg.norm(place[:, None] - _middles(points[rows]), axis=-1)
        tracks, subjects = scipy.optimize.linear_sum_assignment(apart)
        return lost[tracks], rows[subjects]

    def _begin_again(self, rows: np.ndarray, points: np.ndarray, covariance: np.ndarray) -> np.ndarray:
        """Go on with the tracks at these rows at other points (M, K, 2), and return their ids."""
        tracks = self._tracks
        tracks.last[rows], tracks.seen[rows] = self._frame, tracks.seen[rows] + 1
        tracks.mean[rows], tracks.covariance[rows] = begin(points, covariance, SPEED * tracks.size[rows, None])
        ids: np.ndarray = tracks.ids[rows]
        return ids

    def _in_order(self, rows: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Return those of the subjects at these rows that begin a track, from left to right."""
        count, most = len(rows), self._options.subjects
        room = count if most is None else max(0, most - len(self._tracks.ids))
        order = np.lexsort(_middles(points[rows]).T[::-1])
        begun: np.ndarray = rows[order[:room]]
        return begun

    def _begin(self, points: np.ndarray, covariance: np.ndarray) -> np.ndarray:
        """Begin tracks at points (M, K, 2), and return their ids."""
        count = len(points)
        ids = self._begun + 1 + np.arange(count)
        size = sizes(points)
        motion = begin(points, covariance, SPEED * size[:, None])
        new = _Tracks(ids, np.full(count, self._frame), np.ones(count, int), size, *motion)
        self._tracks = _Tracks(*(np.concatenate(pair) for pair in zip(self._tracks, new, strict=True)))
        self._begun += count
        return ids


@dataclass(frozen=True)
class Tracking:
    """The tracks of all frames of a video."""

    ids: list[np.ndarray]  # (N,) of each frame: the track of each subject, from 1 in the order in which they begin
    noise: float  # of the motion, in sizes of the subject

    @property
    def count(self) -> int:
        """The number of tracks."""
        return max((int(ids.max()) for ids in self.ids if len(ids)), default=0)


def track(
    frames: Callable[[], Iterable[tuple[int, Poses]]], size: tuple[int, int], K: int, options: TrackOptions
) -> Tracking:
    """Return the tracks of the subjects in numbered frames, which are iterated over several times.

    NO_TRACK is a subject of no track, or of one with fewer than `min_frames` subjects. The noise of the motion is that
    of NOISES at which the subjects of the first frames are likeliest on their tracks.

    >>> shape, still = np.array([[0.0, 0.0], [9.0, 5.0]]), np.broadcast_to(np.eye(2), (2, 2, 2, 2))
    >>> pair = np.stack([shape + [20, 30], shape + [50, 30]])
    >>> poses = Poses(pair, still, np.ones((2, 2)), np.full(2, np.nan))
    >>> swapped = poses._replace(keypoints=pair[::-1])
    >>> found = track(lambda: enumerate([poses, poses, swapped, poses]), (48, 64), 2, TrackOptions())
    >>> [ids.tolist() for ids in found.ids]
    [[1, 2], [1, 2], [2, 1], [1, 2]]
    """
    fits = {}
    for noise in NOISES:
        tracker = Tracker(replace(options, subjects=None), size, K, noise)
        count = 0
        for frame, poses in islice(frames(), _TRIED):
            tracker.step(frame, poses)
            count += len(poses.keypoints)
            if count > _FEW:
                break
        fits[noise] = tracker.fit
    noise = max(fits, key=fits.__getitem__)
    tracker = Tracker(options, size, K, _BURSTS * noise)
    found = [tracker.step(frame, poses) for frame, poses in frames()]
    counts = np.bincount(np.concatenate([np.empty(0, int), *found]))
    kept = counts >= options.min_frames
    kept[:1] = False
    return Tracking([np.where(kept, np.cumsum(kept), NO_TRACK)[ids] for ids in found], noise)


def observe(
    motion: Motion, points: np.ndarray, covariance: np.ndarray, speed: np.ndarray | float, area: float
) -> Motion:
    """Return the motion after points (..., 2) were seen, of which some may be outliers anywhere in an area."""
    likely = (1 - _OUTLIER) * area * density(motion, points, covariance)
    weight = np.nan_to_num(np.maximum(_LEAST_WEIGHT, likely / (likely + _OUTLIER)), nan=1.0)
    return update(motion, points, covariance / weight[..., None, None], speed)


def _middles(values: np.ndarray) -> np.ndarray:
    """Return the means (N, C) over the K points of which something is known, of values (N, K, C)."""
    known = np.isfinite(values)
    middles: np.ndarray = np.where(known, values, 0).sum(1) / np.maximum(1, known.sum(1))
    return middles


def errors_of(poses: Poses) -> np.ndarray:
    """Return the covariances (N, K, 2, 2) of the errors of points: wider where the confidence is small."""
    least = np.maximum(0.5, _FLOOR * sizes(poses.keypoints)) ** 2
    wider = 1 / np.clip(np.nan_to_num(poses.confidence), 0.05, 1)
    errors: np.ndarray = np.nan_to_num(poses.covariance) * wider[..., None, None]
    return errors + least[:, None, None, None] * np.eye(2)


def sizes(points: np.ndarray) -> np.ndarray:
    """Return the diagonal (N,) of the box about each pose (N, K, 2), 1 px at least.

    >>> sizes(np.array([[[0.0, 0.0], [3.0, 4.0], [np.nan, np.nan]]])).tolist()
    [5.0]
    """
    seen = np.isfinite(points)
    span = np.where(seen, points, -np.inf).max(1) - np.where(seen, points, np.inf).min(1)
    return np.maximum(1.0, np.where(np.isfinite(span).all(-1), np.hypot(*span.T), 1.0))
