"""Connections of a server, bounded in number, and in the time that they may wait for a client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_INVALID = (
    b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
)
_SMALL = "the body comes in many small chunks; send larger ones, or state a content-length"
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"


@dataclass(frozen=True)
class Limits:
    """Limits on the connections of a server."""

    max_connections: int = 512
    header_s: float = 10  # seconds until a header has arrived
    body_s: float = 60  # seconds until a body has arrived
    write_s: float = 30  # seconds until a client takes what is sent to it
    end_s: float = 2  # seconds for both when the server is stopping, and for taking a refusal
    free_chunks: int = 500  # of a body sent in chunks, whatever their size
    chunk_bytes: int = 128  # that further chunks have on average, where they arrive faster than this:
    chunks_per_s: int = 100


def bounded(limits: Limits) -> type[H11Protocol]:
    """Return uvicorn's protocol within limits."""
    return type("Bounded", (_Bounded,), {"limits": limits})


class Chunks(h11.Connection):
    """The states of a connection, in which chunks of a body are counted: each costs as much as thousands of bytes."""

    def __init__(self, limits: Limits, now: Callable[[], float]) -> None:
        super().__init__(h11.SERVER)
        self.limits, self.now = limits, now
        self.spare, self._received = float(limits.free_chunks), now()

    def receive_data(self, data: bytes) -> None:
        """Allow the chunks that may come with the time that has passed, and with the bytes."""
        before, self._received = self._received, self.now()
        spare = self.spare + (self._received - before) * self.limits.chunks_per_s
        self.spare = min(spare, self.limits.free_chunks) + len(data) / self.limits.chunk_bytes
        super().receive_data(data)

    def next_event(self) -> Any:
        """Return h11's next event. Raises h11.RemoteProtocolError for a chunk too many."""
        event = super().next_event()
        if isinstance(event, h11.Data) and event.chunk_start:
            self.spare -= 1
            if self.spare < 0:
                raise h11.RemoteProtocolError(_SMALL)
        return event


class _Bounded(H11Protocol):
    """A connection that ends where its client is late.

    Where there are too many, the one that has waited for the longest time for its client, for the rest of a request or
    until a response is taken, is ended, so that a client of a usual speed gets in, however many others wait.
    """

    limits: Limits

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.conn: Chunks = Chunks(self.limits, self.loop.time)
        self._refused = False
        self._awaited: Any = None  # h11's state: IDLE for a header, SEND_BODY for a body, None for nothing
        self._timers: dict[str, asyncio.TimerHandle] = {}  # of "read" and "write" while each waits for the client
        self._since: dict[str, float] = {}  # the time when each of them began to wait

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a header, in the place of a connection that waits if there are too many."""
        super().connection_made(transport)
        self._watch()
        if len(self.connections) > self.limits.max_connections:
            bounded = [other for other in self.connections if isinstance(other, _Bounded)]
            waiting = [other for other in bounded if other._since]  # this one at least
            min(waiting, key=lambda other: min(other._since.values())).drop(_FULL)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        for timer in self._timers.values():
            timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Receive a part of a request."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._watch()

    def send_400_response(self, msg: str) -> None:
        """Refuse what the client sends, and read no more of it; who sends it again and again waits for each end."""
        self.flow.pause_reading()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):  # else a response has begun
            body = json.dumps({"error": _SMALL if self.conn.spare < 0 else msg}).encode()
            self.transport.write(_INVALID % (len(body), body))
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._refused = True
        self._set_timer("read", self.limits.end_s)

    def pause_writing(self) -> None:
        """Wait for the client to take a response."""
        super().pause_writing()
        self._set_timer("write", self.limits.write_s)

    def resume_writing(self) -> None:
        """Go on to send."""
        super().resume_writing()
        self._set_timer("write", None)

    def shutdown(self) -> None:
        """End when the request in progress is answered, or soon if the client does not go on."""
        super().shutdown()
        if self._timers:
            self._set_timer("read", self.limits.end_s)

    def drop(self, reply: bytes) -> None:
        """End the connection, with a reply if the application has not begun one."""
        if self.transport.is_closing():
            return
        self._awaited = None
        if not self._refused and (self.cycle is None or self.cycle.response_complete):
            self.transport.write(reply)
        if self.transport.get_write_buffer_size():  # a client that takes nothing would keep it open for ever
            self.transport.abort()
        else:
            self.transport.close()
        self.connections.discard(self)

    def _watch(self) -> None:
        """Begin to measure the time where the connection waits for another part than before."""
        state = self.conn.their_state
        awaited = state if state in (h11.IDLE, h11.SEND_BODY) else None
        if not self._refused and awaited is not self._awaited:
            self._awaited = awaited
            limit = self.limits.header_s if awaited is h11.IDLE else self.limits.body_s
            self._set_timer("read", None if awaited is None else limit)

    def _set_timer(self, name: str, seconds: float | None) -> None:
        if (timer := self._timers.pop(name, None)) is not None:
            timer.cancel()
        self._since.pop(name, None)
        if seconds is not None:
            self._since[name] = self.loop.time()
            self._timers[name] = self.loop.call_later(seconds, self.drop, _LATE)
