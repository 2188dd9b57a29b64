"""The limits of a server, and how it forms batches."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

Whole = Annotated[int, Field(ge=1)]


class Settings(BaseModel, strict=True, frozen=True, allow_inf_nan=False):
    """Limits on requests, each described in configs/serve.yaml; ValueError for one that would refuse every request."""

    batch_size: Whole
    wait_ms: Annotated[float, Field(ge=0)]
    queue_size: Whole
    queue_pixels: Whole
    timeout_s: Annotated[float, Field(ge=0.001)]
    max_bytes: Whole
    max_pixels: Whole
    max_boxes: Whole
    exif: Literal["apply", "ignore", "error"]
    bits: Annotated[int, Field(ge=8, le=16)] | None

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.queue_pixels < self.max_pixels:
            raise ValueError(
                f"queue_pixels={self.queue_pixels} is less than max_pixels={self.max_pixels}, so the largest images"
                " would always be refused; raise it"
            )
        return self
