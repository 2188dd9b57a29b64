"""The one way in which a request is turned down."""

from __future__ import annotations


class Refusal(Exception):  # noqa: N818 - it is an answer
    """An HTTP status that is no success, what went wrong with the way out, and headers that go with it.

    >>> refused = Refusal(413, "a body of 9 bytes is over max_bytes=8; send a smaller image")
    >>> refused.status, str(refused), refused.headers
    (413, 'a body of 9 bytes is over max_bytes=8; send a smaller image', {})
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers or {}


def busy(message: str) -> Refusal:
    """A refusal that asks to come back after a second.

    >>> busy("32 requests are being answered").headers
    {'Retry-After': '1'}
    """
    return Refusal(503, f"{message}; try again", {"Retry-After": "1"})
