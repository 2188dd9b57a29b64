"""How much a server takes on, and how it gathers what it computes together."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

_EXIF = ("apply", "ignore", "error")


@dataclass(frozen=True)
class Settings:
    """Limits on requests; raises ValueError for a number that allows none.

    Args:
        batch_size: images, or boxes, that the model sees at once.
        wait_ms: how long a free model waits for a batch to fill, in milliseconds.
        queue_size: requests being answered at once; one more gets 503.
        queue_pixels: pixels of all images decoded at once, of 3 bytes each; one more gets 503.
        timeout_s: seconds that a request may take before it gets 504, or 408 while its body is still coming.
        max_bytes: of a body; a larger one gets 413.
        max_pixels: of an image, by its header; a larger one gets 413.
        max_boxes: in one request; more get 413.
        exif: "apply" turns images upright, "ignore" takes them as they lie in the file, "error" gives 422.
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
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "exif":
                continue
            whole, least = field.type == "int", 0 if field.name == "wait_ms" else 1 if field.type == "int" else 1e-3
            number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
            if not (number and math.isfinite(value) and value >= least):
                raise ValueError(f"{field.name}={value} must be a {'whole ' * whole}number of at least {least}")
        if self.exif not in _EXIF:
            raise ValueError(f"exif={self.exif!r}: choose from {', '.join(_EXIF)}")
        if self.queue_pixels < self.max_pixels:
            raise ValueError(
                f"queue_pixels={self.queue_pixels} has no room for an image of max_pixels={self.max_pixels};"
                " set it to that or more"
            )
