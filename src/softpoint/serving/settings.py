"""The limits of a server, and how it forms batches."""

from __future__ import annotations

import os
import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

Whole = Annotated[int, Field(ge=1)]


class Settings(BaseModel, strict=True, frozen=True, allow_inf_nan=False):
    """Limits on requests, each described in configs/serve.yaml; ValueError for one that would refuse every request."""

    batch_size: Whole
    wait_ms: Annotated[float, Field(ge=0)]
    queue_size: Whole
    queue_pixels: Whole
    queue_bytes: Whole
    max_connections: Whole
    header_s: Annotated[float, Field(ge=0.001)]
    body_s: Annotated[float, Field(ge=0.001)]
    decoders: Annotated[int, Field(ge=0)] | None
    decode_s: Annotated[float, Field(ge=0.001)]
    timeout_s: Annotated[float, Field(ge=0.001)]
    max_bytes: Whole
    max_pixels: Whole
    max_boxes: Whole
    exif: Literal["apply", "ignore", "error"]
    bits: Annotated[int, Field(ge=8, le=16)] | None
    cors: list[str]

    @model_validator(mode="after")
    def _fit(self) -> Self:
        for queue, largest in (("queue_pixels", "max_pixels"), ("queue_bytes", "max_bytes")):
            if (held := getattr(self, queue)) < (limit := getattr(self, largest)):
                problem = f"{queue}={held} is less than {largest}={limit}"
                raise ValueError(f"{problem}, so the largest images would always be refused; raise it")
        return self

    @field_validator("cors")
    @classmethod
    def _origins(cls, origins: list[str]) -> list[str]:
        for origin in origins:
            if origin != "*" and not re.fullmatch(r"https?://[^/\s?#]+", origin):
                raise ValueError("an origin is https://HOST or https://HOST:PORT without a path, or '*' for every page")
        return origins

    @property
    def decoder_count(self) -> int:
        """The number of processes that decode."""
        return min(8, os.cpu_count() or 1) if self.decoders is None else self.decoders
