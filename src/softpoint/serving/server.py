"""The socket and the process of a server."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

from softpoint.extras import require


def require_libraries() -> None:
    """Raise ImportError with the command that installs the server's libraries if one is missing."""
    for library in ("fastapi", "uvicorn", "prometheus_client"):
        require(library, "serve", "serving")


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
        # asyncio sends without delay only on sockets that state their protocol, which create_server's do not.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            if os.name == "posix":  # so that it can be restarted at once; on other systems this would share the port
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(128)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ValueError(f"port={port} is in use on host={host}; choose another, or 0 for a free one") from error
        raise ValueError(f"cannot listen on host={host} port={port}: {error}") from error
    return listening


def serve(app: Any, listening: socket.socket, grace_s: int, access_log: bool) -> None:
    """Serve until SIGTERM or Ctrl-C, then finish the requests in progress within `grace_s` seconds."""
    import uvicorn

    # uvicorn raises the signal again when it is done, which is a normal end, as it is before uvicorn starts.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    config = uvicorn.Config(
        app,
        lifespan="on",
        log_level="info" if access_log else "warning",
        access_log=access_log,
        server_header=False,
        timeout_graceful_shutdown=grace_s,
    )
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])
