"""Images and frames that may be labeled, with the expected error and the features of each, in bounded memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from heapq import heappush, heappushpop
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from softpoint.images import ImageFolder
from softpoint.images.channels import Channels
from softpoint.images.duplicates import NEAR
from softpoint.images.read_options import ReadOptions
from softpoint.images.scan import fingerprint
from softpoint.images.video import Video
from softpoint.inference import Checkpoint, Predictor
from softpoint.inference.batch.sources import Boxes, ImageSource, Source
from softpoint.inference.batch.stream import Item, PredictedArrays, Progress, predict_items
from softpoint.inference.subjects import SubjectFinder
from softpoint.labels.partition import evenly_spaced
from softpoint.labels.row_errors import first_few
from softpoint.layers import in_second_stage
from softpoint.paths import normalize_path
from softpoint.selection.expected_error import expected_errors
from softpoint.selection.trained import full_path
from softpoint.types import Prediction


class FeaturePredictor(Predictor):
    """A predictor whose predictions explain their confidence and hold `features` (C,), the mean of the coarsest map."""

    def __init__(self, checkpoint: Checkpoint, device: str) -> None:
        super().__init__(checkpoint.net, checkpoint.skeleton, checkpoint.size, device, checkpoint.crops, explain=True)
        self._features = torch.empty(0)
        backbone: Any = checkpoint.net.backbone  # of an ensemble that of its first member
        backbone.register_forward_hook(self._keep)

    def _keep(self, _: Any, __: Any, features: list[Tensor]) -> None:
        if not in_second_stage():  # of whole images, in which a shared backbone finds subjects
            self._features = features[-1].mean((-2, -1))

    def postprocess(self, prediction: Prediction, matrix: Tensor) -> dict[str, np.ndarray]:
        """Return a prediction in original pixels with its features; the last call of `forward` gave it."""
        features = self._features[: len(matrix)].float().cpu().numpy()
        return {**super().postprocess(prediction, matrix), "features": features}


@dataclass
class Candidate:
    """An image or frame with its predictions."""

    source: Source
    number: int  # in its source
    name: str  # path relative to the folder of the source, VIDEO/000012 for a frame
    time: float  # in seconds; NaN for images
    size: tuple[int, int]
    boxes: np.ndarray | None
    predictions: Sequence[PredictedArrays]  # of its subjects
    errors: np.ndarray  # (K,) expected, px, of its worst subject
    score: float  # mean of these by the subject's size
    features: np.ndarray  # (C,)
    print: int  # 256 bits that hardly change where the image hardly does

    def near(self, other: int) -> bool:
        """Return whether an image of this fingerprint is nearly the same."""
        return (self.print ^ other).bit_count() <= NEAR


@dataclass
class Pool:
    """The candidates of the highest scores, at most `limit`; of near duplicates in a row only the best."""

    limit: int
    seen: int = 0  # images and frames that could be read
    unreadable: list[str] = field(default_factory=list)
    labeled: int = 0  # left out: labeled images, and those that the model was trained or tested on
    flat: int = 0  # left out, as they show nothing
    empty: int = 0  # left out, as no subject is found in them
    _heap: list[tuple[float, int, Candidate]] = field(default_factory=list)
    _rows: int = 0  # that ended: no two entries of the heap are equal
    _best: Candidate | None = None  # of the row of near duplicates that goes on
    _first: int = 0  # fingerprint of the first of these

    def add(self, candidate: Candidate) -> None:
        """Take a candidate, which follows the one before in its source."""
        if self._best is not None and candidate.near(self._first):
            self._best = max(self._best, candidate, key=lambda one: one.score)
            return
        self.end_row()
        self._best, self._first = candidate, candidate.print

    def end_row(self) -> None:
        """End the row of near duplicates."""
        if self._best is not None:
            push = heappush if len(self._heap) < self.limit else heappushpop
            self._rows += 1
            push(self._heap, (self._best.score, -self._rows, self._best))
        self._best = None

    def __str__(self) -> str:
        parts = [f"{self.seen} images or frames read"]
        parts += [f"{self.labeled} of them left out, which are labeled or known to the model"] * (self.labeled > 0)
        parts += [f"{self.flat} left out, which show nothing"] * (self.flat > 0)
        parts += [f"{self.empty} left out, in which no subject is found"] * (self.empty > 0)
        parts += [f"{len(self.unreadable)} cannot be read"] * bool(self.unreadable)
        return ", ".join(parts) + first_few(self.unreadable)

    def candidates(self) -> list[Candidate]:
        """Return all, the highest score first."""
        self.end_row()
        return [candidate for *_, candidate in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]


@dataclass(frozen=True)
class Reading:
    """How images are read and predicted."""

    fraction: float
    batch_size: int = 16
    exif: str = "apply"
    max_pixels: int = 100_000_000
    bits: int | None = None
    channels: Channels = 3
    boxes: Boxes | None = None
    finder: SubjectFinder | None = None  # of the subjects, where there are no boxes
    progress: Progress = lambda items, **_: items

    def folder(self, path: Path) -> ImageFolder:
        """Return the images of a folder."""
        return ImageFolder(path, ReadOptions(self.exif, self.max_pixels, self.bits, self.channels))


def collect(predictor: Predictor, source: Source, reading: Reading, pool: Pool, known: Collection[str] = ()) -> None:
    """Add the images or frames of a source to a pool, all but those of a full path in `known`."""
    prints: dict[int, str] = {}
    folder = source.folder.resolve()
    items, total = _read(source, reading)
    finder = reading.finder if reading.boxes is None else None
    with closing(predict_items(predictor, _printed(items, prints), reading.batch_size, finder=finder)) as results:
        bar = {"description": f"predicting {source.path.name}", "total": total}
        for item, predictions in reading.progress(results, **bar):
            mark = prints.pop(item.number, "")
            name = item.name if isinstance(source, ImageSource) else f"{source.name}/{item.number:06d}"
            if item.error:
                pool.unreadable.append(f"{name}: {item.error}")
                continue
            pool.seen += 1
            if full_path(folder, name) in known:
                pool.labeled += 1
            elif not mark:
                pool.flat += 1
            elif predictions:
                pool.add(as_candidate(source, item._replace(name=name), predictions, int(mark, 16), reading))
            else:
                pool.empty += 1
    pool.end_row()


def covering(
    names: Sequence[str], folder: Path, predictor: Predictor, reading: Reading, limit: int, boxes: Boxes | None = None
) -> Pool:
    """Return images that need no label as candidates, at most `limit`, spread evenly over their names.

    They are seen as the candidates are: where these have boxes, by `boxes`, their own; None for whole images.
    """
    if reading.boxes is None or boxes is None:
        reading = replace(reading, boxes=None)
    else:
        reading, names = replace(reading, boxes=boxes), [name for name in names if normalize_path(name) in boxes]
    chosen = tuple(names[i] for i in evenly_spaced(len(names), limit))
    pool = Pool(max(len(chosen), 1))
    if chosen:
        collect(predictor, ImageSource(folder, chosen), reading, pool)
    return pool


def _read(source: Source, reading: Reading) -> tuple[Iterator[Item], int | None]:
    """Return the images or frames of a source, and their number where it is known."""
    if isinstance(source, ImageSource):
        folder = reading.folder(source.folder)
        source = source if reading.boxes is None else source.with_boxes(reading.boxes)
        return source.items(folder, reading.boxes), len(source.names)
    video = Video(source.path, reading.max_pixels)
    return source.items(video, reading.boxes), video.count


def _printed(items: Iterator[Item], prints: dict[int, str]) -> Iterator[Item]:
    """Yield the items, and keep the fingerprint of each."""
    for item in items:
        if item.image is not None:
            prints[item.number] = fingerprint(item.image)
        yield item


def as_candidate(
    source: Source, item: Item, predictions: Sequence[PredictedArrays], mark: int, reading: Reading
) -> Candidate:
    errors = [expected_errors(prediction, reading.fraction) for prediction in predictions]
    relative = [_score(one, prediction, reading.fraction) for one, prediction in zip(errors, predictions, strict=True)]
    worst = int(np.argmax(relative))
    features = np.mean([prediction["features"] for prediction in predictions], 0)
    # Copies: a view would keep the arrays of its whole batch.
    kept = [{name: value.copy() for name, value in one.items() if name != "features"} for one in predictions]
    return Candidate(
        source, item.number, item.name, item.time, item.size, item.boxes, kept,
        errors[worst], relative[worst], features, mark,
    )  # fmt: skip


def _score(errors: np.ndarray, prediction: Mapping[str, np.ndarray], fraction: float) -> float:
    return float((errors * fraction / prediction["radius"]).mean())
