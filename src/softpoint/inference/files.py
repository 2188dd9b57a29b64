"""Predictions as files."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np


class PredictionTable:
    """A CSV with one row a picture: image, then NAME_x, NAME_y, NAME_confidence; in place only when complete.

    With `boxes`, one row a subject, and the edges of its box after the image. With `visibility`, each keypoint
    also has NAME_absent and NAME_occluded, two probabilities. Used as a context; what an error interrupts
    leaves no file, nor harms an earlier one.
    """

    def __init__(self, path: Path, names: Sequence[str], boxes: bool = False, visibility: bool = False) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.unfinished = path, path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self.file = self.unfinished.open("w", newline="", encoding="utf-8")
        self.writer = csv.writer(self.file)
        edges = [f"box_{edge}" for edge in ("left", "top", "right", "bottom")] if boxes else []
        parts = ("x", "y", "confidence", *(("absent", "occluded") if visibility else ()))
        self.writer.writerow(["image", *edges, *(f"{name}_{part}" for name in names for part in parts)])

    def write(self, image: str, found: Mapping[str, np.ndarray], box: Sequence[float] | np.ndarray = ()) -> None:
        """One row: what a `Predictor` found for one subject."""
        parts = [
            np.char.mod("%.3f", found["keypoints"]),
            np.char.mod("%.4f", found["confidence"][:, None]),
            *([np.char.mod("%.4f", found["visibility"][:, :2])] if "visibility" in found else []),
        ]
        self.writer.writerow([image, *(f"{edge:.3f}" for edge in box), *np.concatenate(parts, axis=1).ravel()])

    def __enter__(self) -> PredictionTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()
        if kind is None:
            self.unfinished.replace(self.path)
        else:
            self.unfinished.unlink()


def write_picture(path: Path, image: np.ndarray) -> None:
    """Writes a uint8 RGB image (H, W, 3) in the format of the path's ending; OSError if it cannot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image[..., ::-1]):
        raise OSError(f"cannot write {path}")
