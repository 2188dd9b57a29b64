"""The limits of a server, and how it forms batches."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from softpoint.suggest import check_choice


@dataclass(frozen=True)
class Settings:
    """Limits on requests, each described in configs/serve.yaml.

    Raises ValueError for a value that would refuse every request.
    """

    batch_size: int
    wait_ms: float
    queue_size: int
    queue_pixels: int
    timeout_s: float
    max_bytes: int
    max_pixels: int
    max_boxes: int
    exif: str

    def __post_init__(self) -> None:
        check_choice("exif", self.exif, ("apply", "ignore", "error"))
        for name in (field.name for field in fields(self) if field.name != "exif"):
            value, whole = getattr(self, name), name not in ("wait_ms", "timeout_s")
            minimum = 0 if name == "wait_ms" else 1 if whole else 0.001
            number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
            if not (number and math.isfinite(value) and value >= minimum):
                raise ValueError(f"{name}={value} must be a {'whole ' * whole}number of at least {minimum}")
        if self.queue_pixels < self.max_pixels:
            raise ValueError(
                f"queue_pixels={self.queue_pixels} is less than max_pixels={self.max_pixels}, so the largest images"
                " would always be refused; raise it"
            )
