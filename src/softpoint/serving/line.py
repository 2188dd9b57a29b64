"""The line of images that wait to be decoded, in which a small one need not wait for large ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

from fastapi import HTTPException


@dataclass(order=True)
class Place:
    """The place of an image: waiting, then decoding, then decoded, in all of which it counts."""

    pixels: int
    number: int
    turn: asyncio.Future[None] = field(compare=False)
    decoding: bool = field(default=False, compare=False)


class Line:
    """Images in progress: at most `size` of them, of which those whose turn came have at most `pixels` together.

    The smallest image that waits is next. Where the line is full, the largest that waits is refused: few large images
    do not keep out many small ones. Large ones, of more than a quarter of `max_pixels`, leave one of several `decoders`
    and some room to others.
    """

    def __init__(self, size: int, pixels: int, max_pixels: int, decoders: int) -> None:
        self.size, self.pixels, self.decoders, self.large = size, pixels, decoders, max_pixels // 4
        self.waiting: list[Place] = []
        self.begun: list[Place] = []
        self._numbers = count()

    @property
    def requests(self) -> int:
        """The number of images in progress."""
        return len(self.waiting) + len(self.begun)

    @property
    def used(self) -> int:
        """The pixels of those whose turn has come."""
        return sum(place.pixels for place in self.begun)

    @asynccontextmanager
    async def place(self, pixels: int) -> AsyncIterator[Place]:
        """Wait for the turn of an image, and count it within the block; HTTPException 503 where the line is full."""
        if self.requests >= self.size:
            self._refuse_largest(pixels)
        place = Place(pixels, next(self._numbers), asyncio.get_running_loop().create_future())
        self.waiting.append(place)
        self._next()
        try:
            await place.turn
            yield place
        finally:
            for places in (self.waiting, self.begun):
                if place in places:
                    places.remove(place)
            self._next()

    def decoded(self, place: Place) -> None:
        """Let the next image be decoded."""
        place.decoding = False
        self._next()

    def _next(self) -> None:
        while self.waiting:
            place = min(self.waiting)
            is_large, used = place.pixels > self.large, self.used
            decoders = max(1, self.decoders - is_large)
            room = self.pixels - is_large * self.large
            if sum(other.decoding for other in self.begun) >= decoders or (used and used + place.pixels > room):
                return
            self.waiting.remove(place)
            self.begun.append(place)
            place.decoding = True
            place.turn.set_result(None)

    def _refuse_largest(self, pixels: int) -> None:
        largest = max(self.waiting, default=None)
        error = HTTPException(503, f"{self.requests} requests are in progress, and queue_size={self.size}; try again")
        if largest is None or largest.pixels <= pixels:
            raise error
        self.waiting.remove(largest)
        if not largest.turn.done():  # it may have been cancelled
            largest.turn.set_exception(error)
