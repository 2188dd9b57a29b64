"""The socket and the process of a server."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from types import FrameType
from typing import Any

import uvicorn

from softpoint.serving.connections import Limits, bounded
from softpoint.serving.names import OwnNames, is_loopback
from softpoint.serving.open_files import connections_within

_SENT_AHEAD = 1 << 17  # bytes that the system keeps for a client that does not take its answers
_END_S = 2  # of the time to end, in which requests are given up
_WAITING = 128  # connections that the system keeps until they are taken, all at once
_REPEAT_S = 10  # seconds until the same is logged again

_log = logging.getLogger(__name__)


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
        bound = socket.create_server(address, family=family, backlog=_WAITING)
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
    """Serve until SIGTERM or Ctrl-C, call `on_end`, and finish the requests in progress within `grace_s` seconds.

    A server that listens on this machine alone refuses requests for other names.
    """
    limits = limits or Limits()
    if (most := connections_within(limits.max_connections)) < limits.max_connections:
        short = f"the limit of open files allows {most} connections and not max_connections={limits.max_connections}"
        _log.warning("%s; raise it (ulimit -n) for more", short)

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            on_end()
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        OwnNames(app) if is_loopback(listening.getsockname()[0]) else app,
        http=bounded(replace(limits, max_connections=most)),
        backlog=_WAITING,
        ws="none",
        lifespan="on",
        log_level="info" if access_log else "warning",
        access_log=access_log,
        server_header=False,
        timeout_graceful_shutdown=max(1, grace_s - _END_S),
    )
    logging.getLogger("uvicorn.error").addFilter(_is_no_cancellation)
    for name in ("uvicorn.error", "asyncio"):  # where clients could fill a disk
        logging.getLogger(name).addFilter(Seldom())
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


class Seldom(logging.Filter):
    """Leaves out records of the same message and fault as one that was logged just before."""

    def __init__(self) -> None:
        super().__init__()
        self._logged: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is to be logged."""
        fault = str(record.exc_info[1])[:200] if record.exc_info else ""
        key = (record.getMessage().partition("\n")[0], fault)
        recent = {key: time for key, time in self._logged.items() if record.created < time + _REPEAT_S}
        self._logged = {key: record.created} | recent
        return key not in recent
