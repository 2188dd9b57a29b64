"""The files of a predicted source: tables, a video, and pages that explain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from softpoint.images.video import Video
from softpoint.inference.batch.drawing import draw_rows, set_outlines
from softpoint.inference.batch.explanations import least_confident, write_explanations
from softpoint.inference.batch.options import PredictOptions
from softpoint.inference.batch.predictions import Predictions, Row, above_threshold
from softpoint.inference.batch.stream import Progress
from softpoint.inference.batch.video import write_video
from softpoint.inference.batch.writers import FORMATS, write_confidence, write_millimeters, write_regions, write_table
from softpoint.inference.batch.writers.heatmap_sets import write_sets
from softpoint.inference.predictor import Predictor


@dataclass(frozen=True)
class OutputFiles:
    """Writes the files that the options of a job name."""

    predictor: Predictor
    options: PredictOptions
    progress: Progress

    def write(
        self, folder: Path, predictions: Predictions, video: Video | None, read: Callable[[int], np.ndarray]
    ) -> str:
        """Write all files, predictions.csv last, and return their paths as text.

        `read` returns the image of a number again; `video` is the source where it is one.
        """
        options, formats = self.options, [FORMATS[name] for name in self.options.formats]
        for one in formats:
            one.write(folder / one.file, predictions)
        files: list[Path | str] = [folder / one.file for one in formats]
        remarks: list[str] = []
        if options.video and video is not None:
            files.append(path := folder / "labeled.mp4")
            remarks = self._write_video(path, predictions, video)
        files += self._write_tables(folder, predictions)
        if options.explain:
            files += self._explain(folder, predictions, read)
        write_table(folder / "predictions.csv", predictions)
        files += [folder / "images"] if options.images and video is None else []
        note = f" (the video is {'; '.join(remarks)})" if remarks else ""
        return ", ".join(map(str, [folder / "predictions.csv", *files])) + note

    def _write_video(self, path: Path, predictions: Predictions, video: Video) -> list[str]:
        """Write the video with its predictions, and return remarks on how it differs from the original."""
        options, scale = self.options, self.options.scale or 1
        frames = (list(self._outlined(above_threshold(rows, options.threshold))) for rows in predictions.by_image())
        draw = partial(
            draw_rows,
            skeleton=predictions.skeleton,
            names=options.names,
            ellipses=options.outlines,
            scale=scale,
            outlines=lambda row: set_outlines(self.predictor, row.sets, row.size, row.region),
        )
        height, width = next(row.size for row in predictions.rows() if any(row.size))
        bar = partial(self.progress, description=f"drawing {predictions.source.name}", total=video.count)
        return write_video(path, video, frames, draw, (height * scale, width * scale), bar)

    def _outlined(self, rows: Iterable[Row]) -> Iterator[Row]:
        return (row._replace(covariance=self.options.outlined(row.covariance)) for row in rows)

    def _write_tables(self, folder: Path, predictions: Predictions) -> list[Path]:
        """Write regions, heatmap sets and millimeters, where they are asked for, and return their paths."""
        options, files = self.options, list[Path]()
        if options.regions is not None:
            files.append(path := folder / "regions.csv")
            write_regions(path, predictions, options.region_radii)
        if options.heatmap_sets is not None:
            files.append(path := folder / "heatmap_sets.json")
            write_sets(path, predictions, options.heatmap_sets, self.predictor.parts_in)
        if options.plane is not None:
            files.append(path := folder / "millimeters.csv")
            write_millimeters(path, predictions, options.plane)
        return files

    def _explain(self, folder: Path, predictions: Predictions, read: Callable[[int], np.ndarray]) -> list[Path | str]:
        """Write the parts of each confidence, if it has any, and pages of the least confident predictions.

        Return their paths.
        """
        tables: list[Path | str] = []
        if self.predictor.explain:
            tables.append(folder / "confidence.csv")
            write_confidence(folder / "confidence.csv", predictions)
        if not (count := self.options.explain_images):
            return tables
        total = sum(row.has_subject for row in predictions.rows())
        rows = least_confident(predictions.rows(), count)
        bar = partial(self.progress, description=f"explaining {predictions.source.name}", total=len(rows))
        write_explanations(folder / "explain", self.predictor, predictions, rows, read, self.options.batch_size, bar)
        more = f" (the {count} least confident of {total}; explain_images={total} draws all)" if count < total else ""
        return [*tables, f"{folder / 'explain'}{more}"]
