"""The names by which a server of this machine alone may be asked."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi.responses import JSONResponse

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_REFUSAL = (
    "this server answers to 127.0.0.1 and localhost alone; a proxy in front of it must send one of these as Host,"
    " and host=0.0.0.0 answers to any name and every machine"
)


class OwnNames:
    """Passes requests on that ask for this machine by its own names.

    A page elsewhere could give its own name to this address (DNS rebinding), and read the answers as if they were its
    own; a browser states that name.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, with status 421 if it is for another name."""
        if scope["type"] == "http":
            host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
            if not is_loopback(name_in(host)):
                await JSONResponse({"error": _REFUSAL}, 421, {"Connection": "close"})(scope, receive, send)
                return
        await self.app(scope, receive, send)


def name_in(host: str) -> str:
    """Return the name in a Host header.

    >>> name_in("127.0.0.1:80"), name_in("[::1]:80"), name_in("localhost")
    ('127.0.0.1', '::1', 'localhost')
    """
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def is_loopback(name: str) -> bool:
    """Return whether a name is of this machine alone.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0"), is_loopback("a.example")
    (True, True, False, False)
    """
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
