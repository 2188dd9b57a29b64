"""From the bytes of an image to its keypoints, within limits."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from softpoint.serving.batches import Answer, Batcher
from softpoint.serving.errors import Refusal, busy
from softpoint.serving.images import decoded, measured
from softpoint.serving.limits import Room
from softpoint.serving.metrics import Counts
from softpoint.serving.schemas import asked_boxes, told
from softpoint.serving.settings import Settings

if TYPE_CHECKING:
    from softpoint.runtime import Model

_DRAIN_S = 2

_log = logging.getLogger(__name__)


class Service:
    """Answers requests about one exported model; `start` and `stop` it in the event loop that asks."""

    def __init__(self, model: Model, settings: Settings) -> None:
        self.model, self.settings = model, settings
        self.counts = Counts(lambda: self.batcher.waiting, lambda: self.requests.used)
        self.batcher = Batcher(
            model, settings.batch_size, settings.wait_ms, settings.max_pixels, self.counts.batches.observe
        )
        self.requests = Room(settings.queue_size, "requests are being answered", "queue_size")
        self.pixels = Room(settings.queue_pixels, "pixels are being looked at", "queue_pixels")
        self._decoders = ThreadPoolExecutor(min(4, os.cpu_count() or 1), "decoder")

    def warm_up(self) -> None:
        """Makes one prediction; raises ValueError for a model that cannot, before anyone asks."""
        try:
            self.model(np.zeros((*(self.model.fixed_size or self.model.metadata["size"]), 3), np.uint8))
        except Exception as error:  # onnxruntime has an exception for each thing that can be wrong
            raise ValueError(f"{self.model.path} cannot predict: {error}; export it again") from error

    def start(self) -> None:
        """Begins to answer."""
        self.batcher.start()

    async def stop(self) -> None:
        """Answers what is waiting, and ends."""
        await self.batcher.stop()
        self._decoders.shutdown(cancel_futures=True)

    def described(self) -> dict[str, Any]:
        """What the exported file says of itself; a number that is none becomes null, as JSON wants it."""
        return json.loads(json.dumps(self.model.metadata), parse_constant=lambda _: None)

    def health(self) -> tuple[int, dict[str, str]]:
        """200 while requests are answered, 503 before and after."""
        ready = self.batcher.running
        return 200 if ready else 503, {"status": "ready" if ready else "not ready", "model": self.model.path.name}

    async def predict(
        self, chunks: AsyncIterator[bytes], headers: Mapping[str, str], query: Sequence[tuple[str, str]]
    ) -> dict[str, Any]:
        """The answer to POST /predict as plain values; raises a Refusal for what cannot be answered."""
        try:
            return await self._answered(chunks, headers, query)
        except Refusal:
            await _drain(chunks, self.settings.max_bytes)
            raise

    async def _answered(
        self, chunks: AsyncIterator[bytes], headers: Mapping[str, str], query: Sequence[tuple[str, str]]
    ) -> dict[str, Any]:
        if not self.batcher.running:
            raise busy("the server is stopping")
        boxes = asked_boxes(query, self.settings.max_boxes)
        if boxes is not None and self.model.metadata["crops"] is None:
            raise Refusal(422, f"{self.model.path.name} was trained on whole images and takes no box; leave box out")
        loop, body = asyncio.get_running_loop(), None
        with self.requests.taken(1):
            try:
                async with asyncio.timeout_at(loop.time() + self.settings.timeout_s):
                    body = await _received(chunks, headers.get("content-length", ""), self.settings.max_bytes)
                    return await self._looked_at(body, boxes)
            except TimeoutError as error:
                raise self._late(body is None) from error

    async def _looked_at(self, body: bytes, boxes: np.ndarray | None) -> dict[str, Any]:
        """Measures, decodes and predicts, each away from the event loop."""
        loop, exif, most = asyncio.get_running_loop(), self.settings.exif, self.settings.max_pixels
        height, width = await loop.run_in_executor(self._decoders, measured, body, exif, most)
        with self.pixels.taken(height * width):
            image = await loop.run_in_executor(self._decoders, decoded, body, exif, most)
            answers = await self._predicted(image, boxes)
        return told(self.model.names, (height, width), boxes, answers)

    async def _predicted(self, image: np.ndarray, boxes: np.ndarray | None) -> list[Answer]:
        try:
            return await self.batcher.predict(image, boxes)
        except ValueError as error:
            raise Refusal(422, str(error).replace(str(self.model.path), self.model.path.name)) from error
        except Exception as error:
            _log.exception("%s failed on an image of %s", self.model.path, image.shape)
            raise Refusal(
                500, f"the model failed on an image of {image.shape[:2]}; the server's log says why"
            ) from error

    def _late(self, sending: bool) -> Refusal:
        limit = f"timeout_s={self.settings.timeout_s:g}"
        if sending:
            return Refusal(408, f"the body did not arrive within {limit}; send a smaller image")
        return Refusal(504, f"there was no answer within {limit}; try again, or send fewer at once")


async def _drain(chunks: AsyncIterator[bytes], max_bytes: int) -> None:
    """Reads the rest of a body, up to a limit: who is still sending would see a broken connection, and no answer."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            async for chunk in chunks:
                if (max_bytes := max_bytes - len(chunk)) < 0:
                    return


async def _received(chunks: AsyncIterator[bytes], length: str, max_bytes: int) -> bytes:
    """The body; raises a Refusal, 413, as soon as it states or shows that it is too long."""
    too_long = Refusal(413, f"the body has more than max_bytes={max_bytes}; send a smaller image")
    if length.isdecimal() and int(length[:20]) > max_bytes:
        raise too_long
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > max_bytes:
            raise too_long
    return bytes(body)
