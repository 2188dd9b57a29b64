"""Predictions as files."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np


class PredictionTable:
    """A CSV with one row a picture: image, then NAME_x, NAME_y, NAME_confidence; in place only when complete.

    Used as a context; what an error interrupts leaves no file, nor harms an earlier one.
    """

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.unfinished = path, path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self.file = self.unfinished.open("w", newline="", encoding="utf-8")
        self.writer = csv.writer(self.file)
        self.writer.writerow(["image", *(f"{name}_{part}" for name in names for part in ("x", "y", "confidence"))])

    def write(self, image: str, keypoints: np.ndarray, confidence: np.ndarray) -> None:
        """One row, for keypoints (K, 2) in pixels and confidence (K,)."""
        points = zip(keypoints.tolist(), confidence.tolist(), strict=True)
        self.writer.writerow([image, *(part for (x, y), c in points for part in (f"{x:.3f}", f"{y:.3f}", f"{c:.4f}"))])

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
