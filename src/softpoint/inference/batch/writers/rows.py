"""Answers as files tell them: rounded alike everywhere, and without what is not to be shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from softpoint.labels.skeleton import Skeleton

# Decimals of a pixel and of a probability; all files of a job have the same numbers.
_PIXEL, _PROBABILITY = 3, 4

# Names in files that tell individuals apart.
INDIVIDUAL = "individual{}"


class Row(NamedTuple):
    """One subject in an image or frame; an image without any has one row of NaN."""

    number: int  # of the image or frame, from 0
    subject: int  # from 0
    found: bool  # whether there is a subject
    time: float  # in seconds after the first frame; NaN for images
    size: tuple[int, int]  # (height, width); 0 where it cannot be read
    broken: str  # why it cannot be read
    box: np.ndarray  # (4,) edges; NaN for the whole image
    keypoints: np.ndarray  # float64 (K, 2), NaN where nothing is shown
    confidence: np.ndarray  # (K,)
    covariance: np.ndarray  # (K, 2, 2)
    visibility: np.ndarray | None  # (K, 3), where the network learned it


@dataclass(frozen=True)
class Answers:
    """All that was predicted for one album or video, to be gone through as often as there are files to write."""

    skeleton: Skeleton
    source: Path  # the video, or the folder of the images
    images: tuple[str, ...] | None  # the images, relative to the folder; None for a video
    rows: Callable[[], Iterator[Row]]
    boxes: bool = False  # whether subjects were looked for in boxes
    visibility: bool = False
    ids: Callable[[], tuple[dict[str, int], int]] | None = None  # COCO's ids of the images and of the category

    def name(self, index: int) -> str:
        """What the images' path is, as readers of labels know it: VIDEO/000012 for a frame."""
        return self.images[index] if self.images is not None else f"{self.source.name}/{index:06d}"

    def by_image(self) -> Iterator[list[Row]]:
        """The rows of each image."""
        for _, rows in groupby(self.rows(), key=lambda row: row.number):
            yield list(rows)

    def most_subjects(self) -> int:
        """How many subjects any image has, at least 1."""
        return max((row.subject for row in self.rows()), default=0) + 1


def unpacked(pieces: Iterator[np.ndarray]) -> Iterator[Row]:
    """The rows of a journal."""
    for piece in pieces:
        for one in piece:
            yield Row(
                number=int(one["index"]),
                subject=int(one["subject"]),
                found=bool(one["subjects"]),
                time=float(one["time"]),
                size=(int(one["size"][0]), int(one["size"][1])),
                broken=one["broken"].decode("utf-8", "replace"),
                box=one["box"],
                keypoints=one["keypoints"].astype(np.float64),
                confidence=one["confidence"].astype(np.float64),
                covariance=one["covariance"],
                visibility=one["visibility"] if "visibility" in (piece.dtype.names or ()) else None,
            )


def hidden(rows: Iterator[Row], threshold: float) -> Iterator[Row]:
    """The rows without the coordinates of keypoints of a lower confidence, which itself stays."""
    for row in rows:
        sure = row.confidence >= threshold
        yield row._replace(keypoints=np.where(sure[:, None], row.keypoints, np.nan))


def rounded(rows: Iterator[Row]) -> Iterator[Row]:
    """The rows as every file has them, to 1/1000 px and 1/10000 of a probability."""
    for row in rows:
        yield row._replace(
            keypoints=np.round(row.keypoints, _PIXEL) + 0.0,  # no -0
            confidence=np.round(row.confidence, _PROBABILITY),
        )
