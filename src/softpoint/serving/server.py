"""The socket and the process of a server."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from softpoint.serving.connections import Limits, bounded

_SENT_AHEAD = 1 << 17  # bytes that the system keeps for a client that does not take its answers
_END_S = 2  # of the time to end, in which requests are given up


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one. Raises ValueError if that is impossible.

    >>> with listen("127.0.0.1", 0) as listening:
    ...     listening.getsockname()[1] > 0
    True
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"port={port} must be between 0 and 65535; 0 takes a free one")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.create_server(address, family=family, backlog=128)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ValueError(f"port={port} is in use on host={host}; choose another, or 0 for a free one") from error
        raise ValueError(f"cannot listen on host={host} port={port}: {error}") from error
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SENT_AHEAD)
    # asyncio sends without delay only on sockets that state their protocol, which create_server's do not.
    return socket.socket(bound.family, bound.type, socket.IPPROTO_TCP, bound.detach())


def exit_on_sigterm() -> None:
    """Let SIGTERM end the process by SystemExit until it serves, so that nothing temporary stays."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def address_of(listening: socket.socket) -> str:
    """Return the address of a listening socket, http://HOST:PORT."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    app: Any,
    listening: socket.socket,
    grace_s: int,
    access_log: bool,
    limits: Limits | None = None,
    on_end: Callable[[], object] = lambda: None,
) -> None:
    """Serve until SIGTERM or Ctrl-C, call `on_end`, and finish the requests in progress within `grace_s` seconds."""

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            on_end()
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        app,
        http=bounded(limits or Limits()),
        ws="none",
        lifespan="on",
        log_level="info" if access_log else "warning",
        access_log=access_log,
        server_header=False,
        timeout_graceful_shutdown=max(1, grace_s - _END_S),
    )
    logging.getLogger("uvicorn.error").addFilter(_is_no_cancellation)
    server = Server(config)

    def end(*_: object) -> None:
        server.should_exit = True

    # Before uvicorn handles signals itself, and when it raises them again at its end, which is a normal one.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    server.run(sockets=[listening])


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """Return whether a record is to be logged: uvicorn reports each request that it gives up at the end as a fault."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))
