"""The predictions of one source as files have them: rounded alike everywhere, read from disk as often as needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from softpoint.labels.skeleton import Skeleton
from softpoint.tracking import NO_TRACK

PIXEL_DECIMALS, PROBABILITY_DECIMALS = 3, 4

# Names of individuals in files that distinguish them.
INDIVIDUAL = "individual{}"


class Row(NamedTuple):
    """The prediction for one subject in an image or frame; an image without a subject has one row of NaN."""

    number: int  # of the image or frame, from 0
    subject: int  # from 0
    has_subject: bool
    time: float  # in seconds after the first frame; NaN for images
    size: tuple[int, int]  # (height, width); 0 for an image that cannot be read
    error: str  # why the image cannot be read
    box: np.ndarray  # (4,) edges; NaN for the whole image
    keypoints: np.ndarray  # float64 (K, 2); NaN for none
    confidence: np.ndarray  # (K,)
    covariance: np.ndarray  # (K, 2, 2)
    visibility: np.ndarray | None  # (K, 3), of networks that learned it
    parts: Mapping[str, np.ndarray] | None = None  # (K,) each, the `ConfidenceParts` of a predictor that explains
    sets: np.ndarray | None = None  # bool (K, h, w), cells of the heatmap sets that were asked for
    score: float = float("nan")  # probability that a subject that was found is one; NaN for one that was not found
    track: int | None = None  # from 1; NO_TRACK for a subject of none, None where subjects are not followed

    @property
    def region(self) -> np.ndarray | None:
        """The box; None for the whole image."""
        return None if np.isnan(self.box).any() else self.box


@dataclass(frozen=True)
class Predictions:
    """All predictions for one source; `rows` starts to read them from the beginning each time it is called."""

    skeleton: Skeleton
    source: Path  # the video, or the folder of the images
    images: tuple[str, ...] | None  # the images, relative to the folder; None for a video
    rows: Callable[[], Iterator[Row]]
    has_boxes: bool = False
    has_scores: bool = False
    has_visibility: bool = False
    tracks: int | None = None  # number of tracks; None where subjects are not followed
    coco_ids: Callable[[], tuple[dict[str, int | str], int | str]] | None = None  # ids of images and category

    def name(self, number: int) -> str:
        """Return the path of an image as readers of labels have it, VIDEO/000012 for a frame."""
        return self.images[number] if self.images is not None else f"{self.source.name}/{number:06d}"

    def by_image(self) -> Iterator[list[Row]]:
        """Yield the rows of each image."""
        return by_frame(self.rows())

    def individuals(self) -> int:
        """Return the number of tracks, or else the largest number of subjects in an image; at least 1."""
        if self.tracks is not None:
            return max(1, self.tracks)
        return max((row.subject for row in self.rows()), default=0) + 1


def individual(row: Row) -> int | None:
    """Return the number of a row's individual from 0: its track, or else its place in the image; None of no track."""
    if row.track is None:
        return row.subject
    return None if row.track == NO_TRACK else row.track - 1


def by_frame(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Yield the rows of each image or frame."""
    return (list(own) for _, own in groupby(rows, key=lambda row: row.number))


def above_threshold(rows: Iterable[Row], threshold: float) -> Iterator[Row]:
    """Yield the rows without the coordinates of keypoints whose confidence is below `threshold`."""
    for row in rows:
        keep = row.confidence >= threshold
        yield row._replace(keypoints=np.where(keep[:, None], row.keypoints, np.nan))


def rounded(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield the rows rounded to 0.001 px and 0.0001 of a probability, as all files of a job have them."""
    for row in rows:
        yield row._replace(
            keypoints=np.round(row.keypoints, PIXEL_DECIMALS) + 0.0,  # no -0
            confidence=np.round(row.confidence, PROBABILITY_DECIMALS),
        )


def median_smoothed(rows: Iterator[Row], window: int) -> Iterator[Row]:
    """Yield rows with each keypoint at the median of its x and y over `window` frames, weighted by confidence.

    The window is odd and holds the rows of the same track. It is centered on the frame, and narrower near the ends of
    the video and of the track. A frame that cannot be read has no weight and stays empty. Confidences and covariances
    stay those of the frame. Takes one row per frame where subjects are not followed.
    """
    reach, center, frames = window // 2, 0, by_frame(rows)
    near = deque(islice(frames, reach + 1))  # begins up to `reach` frames before the one at `center`
    while center < len(near):
        for row in near[center]:
            yield row if row.track == NO_TRACK else _median(row, near, center)
        near.extend(islice(frames, 1))
        if center == reach:
            near.popleft()
        else:
            center += 1


def _median(row: Row, near: Iterable[list[Row]], center: int) -> Row:
    """Return a row of the frame at `center` at the median of its track in the frames about it."""
    own = {i - center: other for i, frame in enumerate(near) for other in frame if other.track == row.track}
    side = min(-min(own), max(own))
    neighbors = [other for offset, other in own.items() if abs(offset) <= side]
    points = np.stack([neighbor.keypoints for neighbor in neighbors])
    weights = np.stack([neighbor.confidence for neighbor in neighbors])[..., None]
    median = weighted_median(points, np.broadcast_to(weights, points.shape))
    return row._replace(keypoints=np.where(np.isfinite(row.keypoints), median, np.nan))


def weighted_median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted median (...) of `values` (N, ...); NaN has no weight, and the result is NaN without any.

    Where half of the weight ends between two values it is their mean, as for an even number of equal weights.

    >>> weighted_median(np.array([1.0, 2.0, 50.0]), np.array([1.0, 1.0, 1.0])).item()
    2.0
    >>> weighted_median(np.array([1.0, 2.0, 50.0]), np.array([0.9, 0.9, 0.0])).item()
    1.5
    """
    weights = np.where(np.isfinite(values) & np.isfinite(weights), weights, 0.0)
    order = np.argsort(values, axis=0)
    values = np.take_along_axis(values, order, 0)
    total = np.cumsum(np.take_along_axis(weights, order, 0), 0)
    half, tolerance = total[-1:] / 2, 1e-12 * total[-1:]
    low, high = ((total >= half - tolerance).argmax(0), (total > half + tolerance).argmax(0))
    ends = [np.take_along_axis(values, index[None], 0)[0] for index in (low, high)]
    return np.where(total[-1] > 0, (ends[0] + ends[1]) / 2, np.nan)
