"""Hostile clients of a server: python hostile_clients.py PORT NUMBER KIND..."""

from __future__ import annotations

import asyncio
import contextlib
import io
import resource
import sys
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from PIL import Image

HEADER = b"POST /predict HTTP/1.1\r\nhost: server\r\ncontent-length: %d\r\n\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def half_header(streams: Streams) -> None:
    """Send a part of a header, and wait."""
    await send(streams, HEADER[:40])
    await streams[0].read()


async def slow_header(streams: Streams) -> None:
    """Send a header byte by byte."""
    for byte in HEADER * 100:
        await send(streams, bytes([byte]), 1)


async def slow_body(streams: Streams) -> None:
    """Send a body byte by byte."""
    await send(streams, HEADER % 1_000_000)
    while True:
        await send(streams, b"\xff", 1)


async def small_chunks(streams: Streams) -> None:
    """Send a body in chunks of one byte."""
    await send(streams, b"POST /predict HTTP/1.1\r\nhost: server\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        await send(streams, b"1\r\na\r\n" * 10_000)


async def long_body(streams: Streams) -> None:
    """Send nearly all of a large body, and wait."""
    await send(streams, HEADER % 19_000_000 + bytes(18_999_999))
    await streams[0].read()


async def idle(streams: Streams) -> None:
    """Make a request, and wait on its connection."""
    await send(streams, b"GET /health HTTP/1.1\r\nhost: server\r\n\r\n")
    await streams[0].read()


async def unread(streams: Streams) -> None:
    """Make requests and never take their answers."""
    while True:
        await send(streams, b"GET /metrics HTTP/1.1\r\nhost: server\r\n\r\n" * 100)


async def slow_image(streams: Streams) -> None:
    """Send an image of thousands of scans, which is to be refused, and take the answer."""
    await send(streams, HEADER % len(SCANS) + SCANS, 1)
    await streams[0].read(1000)


async def large_image(streams: Streams) -> None:
    """Send a small file of 25 million pixels, and take the answer."""
    await send(streams, HEADER % len(LARGE) + LARGE, 1)
    await streams[0].read(1000)


ATTACKS: dict[str, Callable[[Streams], Awaitable[None]]] = {
    attack.__name__: attack
    for attack in (half_header, slow_header, slow_body, small_chunks, long_body, idle, unread, slow_image, large_image)
}


async def send(streams: Streams, data: bytes, pause: float = 0) -> None:
    """Send bytes, as fast as the server takes them."""
    streams[1].write(data)
    await streams[1].drain()
    await asyncio.sleep(pause)


def attack(port: int, clients: int, kinds: Sequence[str]) -> None:
    """Keep a number of clients, of each kind in turn, on the server until this process is ended."""
    allow_connections()

    async def keep(kind: str) -> None:
        while True:
            with contextlib.suppress(OSError):
                streams = await asyncio.open_connection("127.0.0.1", port)
                with contextlib.suppress(OSError):
                    await ATTACKS[kind](streams)
                streams[1].close()
            await asyncio.sleep(0.1)

    async def all_of_them() -> None:
        await asyncio.gather(*(keep(kinds[number % len(kinds)]) for number in range(clients)))

    asyncio.run(all_of_them())


def allow_connections() -> None:
    """Let this process and those that it starts hold as many connections as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 8192), most))


def encoded(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    """Return an image as a file's bytes."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def many_scans(side: int, count: int) -> bytes:
    """Return a progressive JPEG whose last scan is repeated."""
    jpeg = encoded(np.full((side, side), 128, np.uint8), "JPEG", progressive=True)
    start = jpeg.rindex(b"\xff\xda")
    return jpeg[:-2] + jpeg[start:-2] * count + b"\xff\xd9"


SCANS = many_scans(4992, 7190)
LARGE = encoded(np.zeros((5000, 5000, 3), np.uint8), "PNG")

if __name__ == "__main__":
    attack(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
