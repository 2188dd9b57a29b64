"""A socket, and a process that ends well."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
from contextlib import suppress
from importlib.util import find_spec
from typing import Any


def require_server() -> None:
    """Raises ImportError, with the command that installs them, where the server's libraries are missing."""
    missing = [name for name in ("fastapi", "uvicorn") if find_spec(name) is None]
    if missing:
        raise ImportError(f'serving needs {" and ".join(missing)}: pip install -e ".[serve]"')


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes a free one. Raises ValueError where that cannot be.

    >>> with listen("127.0.0.1", 0) as found:
    ...     found.getsockname()[1] > 0
    True
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"port={port} must be between 0 and 65535; 0 takes a free one")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return _bound(family, address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ValueError(f"port={port} is taken on host={host}; choose another, or 0 for a free one") from error
        raise ValueError(f"cannot listen on host={host} port={port}: {error}") from error


def _bound(family: int, address: Any) -> socket.socket:
    # asyncio sends answers without delay only from sockets that say they are TCP, which create_server's do not.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # so that it can be started again at once; elsewhere this would share the port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError:
        listening.close()
        raise
    return listening


def serve(app: Any, listening: socket.socket, grace_s: int, access_log: bool) -> None:
    """Answers until SIGTERM or Ctrl-C, and then what has been asked already, for at most `grace_s` seconds."""
    import uvicorn

    # uvicorn gives a signal back when it is done: that is a good end then, and before it starts as well.
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
