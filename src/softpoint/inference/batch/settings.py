"""How a job of predicting goes about it, checked before anything is predicted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from softpoint.inference.batch.smoothing import check_window
from softpoint.inference.batch.writers import check_formats
from softpoint.suggest import did_you_mean


@dataclass(frozen=True)
class Settings:
    """How a job predicts and what it writes; ValueError or ImportError for what cannot be.

    Args:
        ckpt, tta, boxes: what the predictor was loaded from and the file of the boxes, by which a job knows its own.
        formats: of `answers.FORMATS`, beside predictions.csv.
        images: draw the points on each image.
        video: write each video with its points drawn in.
        threshold: keypoints of a lower confidence are not drawn; with `hide` their coordinates are left out of files.
        smoothing: "median" for `median_smoothed` over `smoothing_window` frames of a video.
        on_error: "skip" gives what cannot be read an empty row, "error" stops.
        resume: go on where an interrupted job stopped.
    """

    ckpt: Path
    batch_size: int
    tta: str | None = None
    boxes: Path | None = None
    exif: str = "apply"
    max_pixels: int = 100_000_000
    formats: tuple[str, ...] = ()
    images: bool = True
    video: bool = False
    names: bool = False
    ellipses: bool = False
    threshold: float = 0.0
    hide: bool = False
    smoothing: str | None = None
    smoothing_window: int = 5
    on_error: str = "skip"
    resume: bool = False

    def __post_init__(self) -> None:
        check_formats(self.formats, self.video)
        if self.on_error not in ("skip", "error"):
            raise ValueError(f"on_error={self.on_error!r}: {did_you_mean(self.on_error, ('skip', 'error'))}")
        if self.smoothing not in (None, "none", "median"):
            raise ValueError(f"smoothing={self.smoothing!r}: {did_you_mean(self.smoothing, ('none', 'median'))}")
        if self.smooths:
            check_window(self.smoothing_window)
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold={self.threshold:g} must be a probability, 0 to 1")
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size} must be at least 1")

    @property
    def smooths(self) -> bool:
        """Whether points are smoothed."""
        return self.smoothing == "median"

    def outputs(self) -> dict[str, Any]:
        """What decides the files that are made of the predictions, as plain values."""
        names = ("video", "names", "ellipses", "threshold", "hide", "smoothing", "smoothing_window")
        return {"formats": list(self.formats), **{name: getattr(self, name) for name in names}}
