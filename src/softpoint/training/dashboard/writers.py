"""Images, tables and histograms in each of the loggers of a run, by its own calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import cv2
import numpy as np
from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary

from softpoint.inference.run_record import escape
from softpoint.tables import markdown_table

_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 92, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)


class Writer(Protocol):
    """A logger that shows more than numbers; a tag is "group/name"."""

    def image(self, tag: str, image: np.ndarray, step: int) -> None:
        """Show an image (H, W, 3) uint8 RGB."""
        ...

    def table(self, tag: str, header: Sequence[str], rows: Sequence[Sequence[str]], step: int) -> None:
        """Show a table of names and numbers."""
        ...

    def histogram(self, tag: str, values: np.ndarray, step: int) -> None:
        """Show the distribution of values of any shape."""
        ...


class TensorBoardWriter:
    """Writes into the event file of a `TensorBoardLogger`."""

    def __init__(self, logger: TensorBoardLogger) -> None:
        self.board: Any = logger.experiment

    def image(self, tag: str, image: np.ndarray, step: int) -> None:
        # JPEG in full color: `add_image` makes a PNG of three times the bytes in thirty times the time.
        height, width = image.shape[:2]
        _, encoded = cv2.imencode(".jpg", image[..., ::-1], _JPEG)
        content = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=encoded.tobytes())
        self.board._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=tag, image=content)]), step)

    def table(self, tag: str, header: Sequence[str], rows: Sequence[Sequence[str]], step: int) -> None:
        self.board.add_text(tag, _markdown(header, rows), step)

    def histogram(self, tag: str, values: np.ndarray, step: int) -> None:
        self.board.add_histogram(tag, values, step)


class WandbWriter:
    """Logs by the calls of a `WandbLogger`."""

    def __init__(self, logger: WandbLogger) -> None:
        self.logger = logger

    def image(self, tag: str, image: np.ndarray, step: int) -> None:
        self.logger.log_image(tag, [image], step)

    def table(self, tag: str, header: Sequence[str], rows: Sequence[Sequence[str]], step: int) -> None:
        numbers = [[name, *(None if text == "-" else float(text) for text in row)] for name, *row in rows]
        self.logger.log_table(tag, [*header], numbers, step=step)

    def histogram(self, tag: str, values: np.ndarray, step: int) -> None:
        import wandb

        self.logger.log_metrics({tag: wandb.Histogram(values)}, step)


class MLFlowWriter:
    """Logs artifacts of the run of an `MLFlowLogger`, which knows no histograms."""

    def __init__(self, logger: MLFlowLogger) -> None:
        self.client: Any = logger.experiment
        self.run = logger.run_id

    def image(self, tag: str, image: np.ndarray, step: int) -> None:
        self.client.log_image(self.run, image, key=tag, step=step)

    def table(self, tag: str, header: Sequence[str], rows: Sequence[Sequence[str]], step: int) -> None:
        self.client.log_text(self.run, _markdown(header, rows), f"{tag}/{step:06}.md")

    def histogram(self, tag: str, values: np.ndarray, step: int) -> None:
        pass


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return markdown_table(header, [[escape(name), *texts] for name, *texts in rows])


_WRITERS: dict[type[Logger], Any] = {
    TensorBoardLogger: TensorBoardWriter, WandbLogger: WandbWriter, MLFlowLogger: MLFlowWriter,
}  # fmt: skip


def writers(trainer: Any) -> list[Writer]:
    """Return a writer for each logger of a run that shows images; none in other processes than the first."""
    if not trainer.is_global_zero:
        return []
    kinds = _WRITERS.items()
    return [writer(logger) for logger in trainer.loggers for kind, writer in kinds if isinstance(logger, kind)]


def event_files(trainer: Any) -> list[Any]:
    """Return torch's `SummaryWriter` of each TensorBoard logger; none in other processes than the first."""
    return [writer.board for writer in writers(trainer) if isinstance(writer, TensorBoardWriter)]


def forget_from(board: Any, step: int) -> None:
    """Let TensorBoard forget what it has from `step` on: steps that a resumed run makes again."""
    log = SessionLog(status=SessionLog.START)
    board._get_file_writer().add_event(Event(session_log=log), step)
