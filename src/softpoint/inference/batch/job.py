"""Prediction of whole sources into files: resumable, in constant memory, with images that cannot be read listed."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.images import ImageFolder
from softpoint.images.scan import scan, unused_bits
from softpoint.images.video import Video
from softpoint.inference.batch.drawing import draw_item
from softpoint.inference.batch.journal import Journal, check_same_job, row_dtype
from softpoint.inference.batch.options import PredictOptions
from softpoint.inference.batch.output_files import OutputFiles
from softpoint.inference.batch.predictions import Predictions, Row, above_threshold, median_smoothed, rounded
from softpoint.inference.batch.sources import Boxes, ImageSource, Source, VideoSource, without_suffixes
from softpoint.inference.batch.stream import Progress, predict_items
from softpoint.inference.batch.tracks import find_tracks, kalman_smoothed, with_tracks
from softpoint.inference.batch.writers.coco import read_ids
from softpoint.inference.predictor import Predictor
from softpoint.inference.subjects import SubjectFinder
from softpoint.labels.row_errors import first_few
from softpoint.paths import sha256, write_json
from softpoint.suggest import without_data
from softpoint.tracking import DEFAULT_NOISE
from softpoint.viz import write_image

_log = logging.getLogger(__name__)

MAX_LISTED = 1000  # errors in job.json


class UnreadableError(ValueError):
    """A source of which nothing can be read."""


@dataclass(frozen=True)
class Job:
    """Predicts sources into the folder `output`; `progress` shows progress, as `softpoint.progress.track`."""

    predictor: Predictor
    options: PredictOptions
    output: Path
    boxes: Boxes | None = None
    finder: SubjectFinder | None = None  # of subjects, where there are no boxes
    progress: Progress = lambda items, **_: items

    def run(self, source: Source) -> str:
        """Predict one source, write its files, and return one line that names them.

        job.json is written last: if it exists, all files do. Raises UnreadableError if nothing in the source can be
        read, and ValueError if, with on_error=error, an image cannot, or if, with resume, `output` is of another job.
        """
        source = self._with_boxes(source)
        folder, identity = self.output / source.output, self._identity(source)
        partial_file, finished = folder / "predictions.partial", folder / "job.json"
        if self.options.resume and finished.exists() and not partial_file.exists():
            check_same_job(_read_job(finished), identity | self.options.of_outputs(), finished)
            return f"{source.path} is complete: {folder / 'predictions.csv'}"
        predictor = self.predictor
        K, states, explains = len(predictor.skeleton), predictor.predicts_visibility, predictor.explain
        dtype = row_dtype(K, states, explains, predictor.map_size)
        journal = Journal(partial_file, identity, dtype, self.options.resume)
        complete = unreadable = False
        try:
            video = self._predict(source, journal)
            predictions = self._predictions(source, journal)
            count, errors = _errors(source, predictions, video)
            read = self._image_reader(source, video)
            files = OutputFiles(predictor, self.options, self.progress).write(folder, predictions, video, read)
            facts = {"ckpt": str(self.options.ckpt), f"{source.kind}s": count, "errors": errors[:MAX_LISTED]}
            write_json(finished, {"job": identity | self.options.of_outputs(), **facts})
            complete = True
        except UnreadableError:
            unreadable = True
            raise
        finally:
            journal.close(discard=complete or unreadable)
            if journal.next and not (complete or unreadable):
                message = "%d %ss are kept in %s; output=%s resume=true continues after them"
                _log.warning(message, journal.next, source.kind, partial_file, self.output)
        return f"{count - len(errors)} {source.kind}s: {files}"

    def _with_boxes(self, source: Source) -> Source:
        """Return what is to be predicted; ValueError where boxes and source do not fit."""
        if self.boxes is None:
            return source
        if isinstance(source, ImageSource):
            return source.with_boxes(self.boxes)
        most = source.max_boxes(self.boxes)
        if self.options.smooths and self.options.track is None and most > 1:
            kind = f"smoothing={self.options.smoothing}"
            raise ValueError(f"{kind} takes one box per frame, but {source.path} has {most}; use none, or track=true")
        return source

    def _identity(self, source: Source) -> dict[str, Any]:
        """Return what decides the predictions and the images drawn with them, as plain values."""
        options = self.options
        drawn: Any = False
        if isinstance(source, ImageSource):
            names, states = _digest(source.names), _digest(source.states())
            content = f"{len(source.names)} images, names {names}, sizes and times of change {states}"
            if options.images:
                drawn = [options.names, options.ellipses, options.threshold]
                drawn += [f"regions {options.regions:g}"] if options.regions is not None else []
                drawn += [options.scale] if options.scale else []  # as in jobs from before there was this option
        else:
            status = source.path.stat()
            content = f"{status.st_size} bytes, changed {status.st_mtime_ns}"
        return {
            "ckpt": sha256(options.ckpt),
            "source": str(source.path.resolve()),
            "content": content,
            "boxes": options.boxes
            and (str(options.boxes.resolve()) if options.boxes.is_dir() else sha256(options.boxes)),
            "tta": options.tta,
            "exif": options.exif,
            "max_pixels": options.max_pixels,
            "images": drawn,
            "bits": options.bits,
            "explain": options.explain or None,  # as in jobs from before there were these options
            "heatmap_sets": options.heatmap_sets,
            "finder": self.finder and [self.finder.threshold, self.finder.max_subjects],
        }

    def _predict(self, source: Source, journal: Journal) -> Video | None:
        """Predict the rest of the source into the journal; return the video of a source that is one."""
        options, video = self.options, None
        if isinstance(source, ImageSource):
            image_folder = self._image_folder(source)
            if options.bits is None and (message := unused_bits(scan(image_folder, source.names[:3]))):
                _log.warning("%s: %s", source.path, without_data(message))
            items, drawn = source.items(image_folder, self.boxes, journal.next), without_suffixes(source.names)
            total: int | None = len(source.names)
        else:
            try:
                video = Video(source.path, options.max_pixels)
            except ValueError as error:
                raise UnreadableError(str(error)) from error
            items, total = source.items(video, self.boxes, journal.next), video.count
        draws = options.images and video is None
        bar = {"description": f"predicting {source.path.name}", "total": total, "completed": journal.next}
        with closing(predict_items(self.predictor, items, options.batch_size, draws, self.finder)) as results:
            for item, predictions in self.progress(results, **bar):
                if item.error and options.on_error == "error":
                    raise ValueError(f"{source.path} {source.kind} {item.name}: {item.error}; or use on_error=skip")
                if draws and predictions and item.image is not None:
                    path = self.output / source.output / "images" / f"{drawn[item.number]}.jpg"
                    write_image(path, draw_item(self.predictor, item, predictions, options, options.scale))
                journal.append(item, predictions)
        return video

    def _predictions(self, source: Source, journal: Journal) -> Predictions:
        """Return the journal's predictions, smoothed and without those below the threshold if the options say so."""
        options, is_video = self.options, isinstance(source, VideoSource)
        tracking = find_tracks(journal.rows, options.track) if options.track is not None and is_video else None
        noise = DEFAULT_NOISE if tracking is None else tracking.noise

        def rows() -> Iterator[Row]:
            result = journal.rows() if tracking is None else with_tracks(journal.rows(), tracking)
            if options.smoothing == "median" and is_video:
                result = median_smoothed(result, options.smoothing_window)
            elif options.smoothing == "kalman" and is_video:
                result = kalman_smoothed(result, noise)
            return rounded(above_threshold(result, options.threshold) if options.drop_below_threshold else result)

        return Predictions(
            skeleton=self.predictor.skeleton,
            source=source.path if isinstance(source, VideoSource) else source.folder,
            images=source.names if isinstance(source, ImageSource) else None,
            rows=rows,
            has_boxes=self.boxes is not None or self.finder is not None,
            has_scores=self.finder is not None,
            has_visibility=self.predictor.predicts_visibility,
            tracks=None if tracking is None else tracking.count,
            coco_ids=partial(read_ids, source.labels, self.predictor.skeleton.names)
            if isinstance(source, ImageSource) and source.labels
            else None,
        )

    def _image_folder(self, source: ImageSource) -> ImageFolder:
        return ImageFolder(source.folder, self.options.reading)

    def _image_reader(self, source: Source, video: Video | None) -> Callable[[int], np.ndarray]:
        """Return a function that reads the image of a number again."""
        if isinstance(source, ImageSource):
            names, image_folder = source.names, self._image_folder(source)
            return lambda number: image_folder.read(names[number])
        assert video is not None
        return video.read


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _errors(source: Source, predictions: Predictions, video: Video | None) -> tuple[int, list[str]]:
    """Return the number of images, and a line for each that cannot be read, which are warned of.

    Raises UnreadableError if none can be read.
    """
    errors, count = [], 0
    for rows in predictions.by_image():
        count += 1
        if rows[0].error:
            errors.append(f"{source.kind} {predictions.name(rows[0].number)}: {rows[0].error}")
    if video is not None and video.missing:
        _log.warning("video %s %s", source.path, video.missing)
    if errors:
        few = first_few(errors)
        _log.warning("%s: %d %ss cannot be read, their rows are empty%s", source.path, len(errors), source.kind, few)
    if count == len(errors):
        raise UnreadableError(f"none of the {count} {source.kind}s in source={source.path} could be read")
    return count, errors


def _read_job(path: Path) -> dict[str, Any]:
    """Return the options in the job.json of a finished job."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["job"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"resume=true: {path} is no file of a finished job; remove it") from error
