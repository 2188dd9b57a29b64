"""Images decoded in processes of their own, which can be ended: a stranger's image may take any time and memory."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import numpy as np
from fastapi import HTTPException

from softpoint.images import isolated
from softpoint.images.costs import max_bytes
from softpoint.images.process import Process, answer
from softpoint.images.read_options import ReadOptions
from softpoint.serving.schemas import image_pixels, image_size

Result = TypeVar("Result")

_START_S = 60  # for a process, on a busy machine


class Decoder:
    """Decodes one image after another in this process."""

    def __init__(self, options: ReadOptions) -> None:
        self.options, self._body = options, b""

    def ready(self) -> None:
        """Wait until it can decode."""

    def size(self, body: bytes | bytearray) -> tuple[int, int]:
        """Return (height, width) of an image as `schemas.image_size` does, and keep it for `pixels`."""
        self._body = bytes(body)
        return image_size(self._body, self.options)

    def pixels(self) -> np.ndarray:
        """Return the pixels of the image as `schemas.image_pixels` does."""
        return image_pixels(self._body, self.options)

    def end(self) -> None:
        """Nothing is left to end."""


class ProcessDecoder(Decoder):
    """Decodes in a new process, in which no code of a hostile image would reach the server; EOFError where it ends."""

    def __init__(self, options: ReadOptions) -> None:
        super().__init__(options)
        self._process, self._is_ready = Process(__name__, json.dumps(options.plain())), False
        self.process = self._process.process

    def ready(self) -> None:
        """Wait until the process has started, which takes longer than most images."""
        if not self._is_ready:
            self._is_ready = self._process.receive() == b""

    def size(self, body: bytes | bytearray) -> tuple[int, int]:
        """Return (height, width) as of `Decoder`."""
        self._process.send(b"size", body)
        height, width = self._reply()
        return height, width

    def pixels(self) -> np.ndarray:
        """Return the pixels as of `Decoder`."""
        self._process.send(b"pixels", b"")
        shape = self._reply()
        return np.frombuffer(self._process.receive(), np.uint8).reshape(shape)

    def end(self) -> None:
        """End the process at once."""
        self._process.end()

    def _reply(self) -> list[int]:
        """Return the numbers that the process sends; HTTPException where it refuses the image."""
        reply = json.loads(self._process.receive())
        if "error" in reply:
            raise HTTPException(int(reply["status"]), str(reply["error"]))
        return [int(number) for number in reply["numbers"]]


class Decoders:
    """`count` processes, each of which decodes an image in at most `seconds`; 0 decodes in this one, which goes on."""

    def __init__(self, options: ReadOptions, count: int, seconds: float) -> None:
        self.options, self.count, self.seconds = options, count, seconds
        self._free: asyncio.Queue[Decoder] = asyncio.Queue()
        self._running: set[Decoder] = set()

    async def start(self) -> None:
        """Start the processes, and wait until they can decode."""
        self._threads = ThreadPoolExecutor(max(4, 2 * self.count), "decoder")  # those of ended processes end soon
        for _ in range(self.count or 4):
            self._add()
        await asyncio.gather(*(self.run(decoder, _START_S, decoder.ready) for decoder in tuple(self._running)))

    def stop(self) -> None:
        """End the processes, whatever they do."""
        for decoder in tuple(self._running):
            self._end(decoder)
        self._threads.shutdown(wait=False, cancel_futures=True)

    @asynccontextmanager
    async def borrowed(self) -> AsyncIterator[Borrowed]:
        """Wait for a decoder and borrow it; where it had to be ended, a new one takes its place."""
        decoder = await self._free.get()
        try:
            await self.run(decoder, _START_S, decoder.ready)
            yield Borrowed(self, decoder)
        finally:
            if decoder in self._running:
                self._free.put_nowait(decoder)
            else:
                self._add()

    async def run(self, decoder: Decoder, seconds: float, function: Callable[..., Result], *arguments: Any) -> Result:
        """Return what a method of a decoder returns; HTTPException 422 where it takes too long, or ends its process."""
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        except HTTPException:
            raise
        except BaseException as error:
            self._end(decoder)
            if isinstance(error, TimeoutError):
                message = f"the image was not decoded within decode_s={seconds:g}; save it again in another format"
            elif isinstance(error, EOFError | OSError | ValueError):
                message = "the image ended the process that decoded it; save it again in another format"
            else:
                raise
            raise HTTPException(422, message) from error

    def _add(self) -> None:
        decoder = ProcessDecoder(self.options) if self.count else Decoder(self.options)
        self._running.add(decoder)
        self._free.put_nowait(decoder)

    def _end(self, decoder: Decoder) -> None:
        self._running.discard(decoder)
        decoder.end()


class Borrowed:
    """A decoder for one image."""

    def __init__(self, decoders: Decoders, decoder: Decoder) -> None:
        self._decoders, self._decoder = decoders, decoder

    async def size(self, body: bytes | bytearray) -> tuple[int, int]:
        """Return (height, width) of an image."""
        return await self._decoders.run(self._decoder, self._decoders.seconds, self._decoder.size, body)

    async def pixels(self) -> np.ndarray:
        """Return the pixels of the image, uint8 (H, W, C)."""
        return await self._decoders.run(self._decoder, self._decoders.seconds, self._decoder.pixels)


def run_in_process() -> None:
    """Answer the requests of a `ProcessDecoder` until it ends."""
    decoder = Decoder(ReadOptions(*json.loads(sys.argv[1])))

    def reply(part: Callable[[], bytearray]) -> Sequence[bytes | memoryview]:
        function, body = part(), part()
        try:
            if function == b"size":
                return [json.dumps({"numbers": decoder.size(body)}).encode()]
            pixels = decoder.pixels()
            return [json.dumps({"numbers": pixels.shape}).encode(), pixels.data]
        except HTTPException as error:
            return [json.dumps({"status": error.status_code, "error": error.detail}).encode()]

    isolated.is_isolated = True
    answer(reply, max_bytes(decoder.options.max_pixels))
