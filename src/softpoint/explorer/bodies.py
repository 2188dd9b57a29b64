"""Bodies of requests, as long as was stated, and room for the files in them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

_LEAST = 100_000  # bytes that a file counts at least, so that many small ones are not too many to count


class TooLongError(Exception):
    """A body is longer than was stated."""


def counted(receive: Receive, length: int) -> Receive:
    """Return `receive` that raises TooLongError for a body of more than `length` bytes."""
    remaining = length

    async def counting() -> Message:
        nonlocal remaining
        message = await receive()
        remaining -= len(message.get("body", b""))
        if remaining < 0:
            raise TooLongError(f"the body has more than the stated {length} bytes")
        return message

    return counting


async def whole(receive: Receive) -> bytes:
    """Return a body."""
    body, more = bytearray(), True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


def again(body: bytes, receive: Receive) -> Receive:
    """Return what gives a body that was read, and then what follows it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


class UploadFolder:
    """Uploads in `folder`: `max_bytes` in all, of files and of those that arrive.

    Files that are older than `kept_s` seconds are deleted: the page's library deletes those that it handed on, and
    forgets those of an upload that was broken off.
    """

    def __init__(self, folder: Path, max_bytes: int, kept_s: float) -> None:
        self.folder, self.max_bytes, self.kept_s = folder, max_bytes, kept_s
        self.arriving = 0

    @contextmanager
    def taken(self, length: int) -> Iterator[bool]:
        """Take room for `length` bytes within the block, if there is so much; the value is whether there is."""
        there = self.used() + self.arriving + length <= self.max_bytes
        self.arriving += length if there else 0
        try:
            yield there
        finally:
            self.arriving -= length if there else 0

    def used(self) -> int:
        """Return the bytes of the files that are kept, and delete old ones."""
        oldest, used = time.time() - self.kept_s, 0
        for path in self.folder.rglob("*"):
            with suppress(OSError):  # deleted meanwhile
                if not path.is_file():
                    continue
                if path.stat().st_mtime < oldest:
                    path.unlink()
                else:
                    used += max(path.stat().st_size, _LEAST)
        return used
