"""The predictions of one source as files have them: rounded alike everywhere, read from disk as often as needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from softpoint.labels.skeleton import Skeleton

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


@dataclass(frozen=True)
class Predictions:
    """All predictions for one source; `rows` starts to read them from the beginning each time it is called."""

    skeleton: Skeleton
    source: Path  # the video, or the folder of the images
    images: tuple[str, ...] | None  # the images, relative to the folder; None for a video
    rows: Callable[[], Iterator[Row]]
    has_boxes: bool = False
    has_visibility: bool = False
    coco_ids: Callable[[], tuple[dict[str, int], int]] | None = None  # ids of the images and of the category

    def name(self, number: int) -> str:
        """Return the path of an image as readers of labels have it, VIDEO/000012 for a frame."""
        return self.images[number] if self.images is not None else f"{self.source.name}/{number:06d}"

    def by_image(self) -> Iterator[list[Row]]:
        """Yield the rows of each image."""
        for _, rows in groupby(self.rows(), key=lambda row: row.number):
            yield list(rows)

    def max_subjects(self) -> int:
        """Return the largest number of subjects in an image, at least 1."""
        return max((row.subject for row in self.rows()), default=0) + 1


def unpack(records: Iterable[np.ndarray]) -> Iterator[Row]:
    """Yield the rows of a journal's records."""
    for array in records:
        for record in array:
            yield Row(
                number=int(record["index"]),
                subject=int(record["subject"]),
                has_subject=bool(record["subjects"]),
                time=float(record["time"]),
                size=(int(record["size"][0]), int(record["size"][1])),
                error=record["error"].decode("utf-8", "replace"),
                box=record["box"],
                keypoints=record["keypoints"].astype(np.float64),
                confidence=record["confidence"].astype(np.float64),
                covariance=record["covariance"],
                visibility=record["visibility"] if "visibility" in (array.dtype.names or ()) else None,
            )


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
