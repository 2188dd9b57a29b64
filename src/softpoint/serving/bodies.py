"""Bodies of requests, received within limits of time and of memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import HTTPException, Request

from softpoint.serving.settings import Settings


class Room:
    """Room for bodies; `used` counts their bytes."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.used = settings, 0
        self._incoming: dict[asyncio.Timeout, None] = {}  # the oldest first

    @asynccontextmanager
    async def received(self, request: Request) -> AsyncIterator[bytearray]:
        """Receive a body, whose bytes take room within the block.

        Where there is no room, the body that has been arriving for the longest time is given up: whoever sends at a
        usual speed gets in, however many others send slowly.
        Raises HTTPException: 413 for a body that is too large, 408 for one that is late, 503 where there is no room.
        """
        body = bytearray()
        try:
            try:
                async with asyncio.timeout(self.settings.body_s) as limit:
                    self._incoming[limit] = None
                    async for chunk in chunks(request, self.settings.max_bytes):
                        body += chunk
                        self.used += len(chunk)
                        self._make_room(limit)
            except TimeoutError as error:
                message = f"the body did not arrive within body_s={self.settings.body_s:g}, or later than others"
                raise HTTPException(408, f"{message}; send a smaller image") from error
            finally:
                self._incoming.pop(limit, None)
            yield body
        finally:
            self.used -= len(body)

    def _make_room(self, limit: asyncio.Timeout) -> None:
        if self.used <= self.settings.queue_bytes:
            return
        oldest = next(iter(self._incoming))
        if oldest is limit:
            message = f"all bodies have more than queue_bytes={self.settings.queue_bytes}; try again"
            raise HTTPException(503, message)
        del self._incoming[oldest]
        oldest.reschedule(0)


async def chunks(request: Request, max_bytes: int, stated: bool = True) -> AsyncIterator[bytes]:
    """Yield a body; HTTPException 413 as soon as its length, `stated` or actual, is too large."""
    too_large = HTTPException(413, f"the body has more than max_bytes={max_bytes}; send a smaller image")
    length, received = request.headers.get("content-length", ""), 0
    if stated and length.isdecimal() and int(length[:20]) > max_bytes:
        raise too_large
    async for chunk in request.stream():
        received += len(chunk)
        if received > max_bytes:
            raise too_large
        yield chunk
