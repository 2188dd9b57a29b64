"""Options of `predict`, checked before anything is predicted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from softpoint.inference.batch.smoothing import check_window
from softpoint.inference.batch.writers import check_formats
from softpoint.suggest import did_you_mean

_OUTPUT_OPTIONS = ("video", "names", "ellipses", "threshold", "drop_below_threshold", "smoothing", "smoothing_window")


@dataclass(frozen=True)
class PredictOptions:
    """Options of a job. Raises ValueError for impossible values, ImportError for a library that is not installed.

    Args:
        ckpt: file of the predictor's weights; with `tta` and the label file `boxes` it identifies an interrupted job.
        formats: names in `writers.FORMATS` of files to write beside predictions.csv.
        images: draw the keypoints on each image.
        video: write each video with its keypoints drawn.
        threshold: keypoints with less confidence are not drawn; `drop_below_threshold` leaves them out of files, too.
        smoothing: "median" over `smoothing_window` frames of a video, or "none".
        on_error: "skip" gives an image that cannot be read an empty row, "error" stops.
        resume: continue an interrupted job.
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
    drop_below_threshold: bool = False
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
        """Whether keypoints are smoothed over time."""
        return self.smoothing == "median"

    def of_outputs(self) -> dict[str, Any]:
        """Return the options that change the files, but not the predictions, as plain values."""
        return {"formats": list(self.formats), **{name: getattr(self, name) for name in _OUTPUT_OPTIONS}}
