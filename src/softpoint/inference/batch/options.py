"""Options of `predict`, checked before anything is predicted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.images.channels import Channels
from softpoint.images.read_options import EXIF, ReadOptions
from softpoint.inference.batch.writers import check_formats
from softpoint.labels.plane import Plane
from softpoint.suggest import check_choice
from softpoint.tracking import TrackOptions

_OUTPUT_OPTIONS = (
    "video",
    "names",
    "ellipses",
    "scale",
    "threshold",
    "drop_below_threshold",
    "smoothing",
    "smoothing_window",
)

_MAX_SCALE = 16  # of what is drawn


@dataclass(frozen=True)
class PredictOptions:
    """Options of a job, each described in configs/predict.yaml; `ckpt` is the file of the predictor's weights.

    Raises ValueError for impossible values, ImportError for a library that is not installed.
    """

    ckpt: Path
    batch_size: int
    tta: str | None = None
    boxes: Path | None = None
    exif: str = "apply"
    max_pixels: int = 100_000_000
    bits: int | None = None
    channels: Channels = 3
    formats: tuple[str, ...] = ()
    images: bool = True
    video: bool = False
    names: bool = False
    ellipses: bool = False
    scale: int | None = None
    explain: bool = False
    explain_images: int = 20
    threshold: float = 0.0
    drop_below_threshold: bool = False
    smoothing: str | None = None
    smoothing_window: int = 5
    track: TrackOptions | None = None  # of the subjects of a video
    on_error: str = "skip"
    resume: bool = False
    regions: float | None = None
    heatmap_sets: float | None = None  # probability of those that the predictor makes
    plane: Plane | None = None  # that the images show: coordinates on it are written as well
    region_radii: tuple[float, ...] = ()  # of the keypoints at this probability, in Mahalanobis distances

    def __post_init__(self) -> None:
        check_choice("exif", self.exif, EXIF)
        check_formats(self.formats, self.video)
        check_choice("on_error", self.on_error, ("skip", "error"))
        check_choice("smoothing", self.smoothing or "none", ("none", "median", "kalman"))
        if self.smoothing == "median" and (self.smoothing_window < 3 or self.smoothing_window % 2 == 0):
            raise ValueError(f"smoothing_window={self.smoothing_window} must be an odd number of frames, 3 or more")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold={self.threshold:g} must be a probability, 0 to 1")
        if type(self.explain_images) is not int or self.explain_images < 0:
            raise ValueError(f"explain_images={self.explain_images} must be a number of pages, 0 for none")
        if self.scale is not None and not (type(self.scale) is int and 1 <= self.scale <= _MAX_SCALE):
            raise ValueError(f"overlay.scale={self.scale} must be a whole number from 1 to {_MAX_SCALE}, or null")
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size} must be at least 1")

    @property
    def reading(self) -> ReadOptions:
        """How images are read."""
        return ReadOptions(self.exif, self.max_pixels, self.bits, self.channels)

    @property
    def smooths(self) -> bool:
        """True if keypoints are smoothed over time."""
        return self.smoothing in ("median", "kalman")

    @property
    def outlines(self) -> bool:
        """True if an ellipse is drawn about each point."""
        return self.ellipses or self.regions is not None

    def outlined(self, covariance: np.ndarray) -> np.ndarray:
        """Return covariances (..., K, 2, 2) of which two standard deviations are the regions, if these are wanted."""
        if self.regions is None:
            return covariance
        return covariance * (np.array(self.region_radii) / 2)[:, None, None] ** 2

    def of_outputs(self) -> dict[str, Any]:
        """Return the options that change the files, but not the predictions, as plain values."""
        options = {name: getattr(self, name) for name in _OUTPUT_OPTIONS}
        pages = self.explain_images if self.explain else 0
        added: dict[str, Any] = {"regions": self.regions} if self.regions is not None else {}
        added |= {"track": asdict(self.track)} if self.track is not None else {}
        added |= {"homography": self.plane.matrix.tolist()} if self.plane is not None else {}
        return {
            "formats": list(self.formats),
            **options,
            "explain_images": pages or None,
            **added,
        }  # None as before there were
