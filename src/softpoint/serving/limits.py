"""Room for work: what is taken on at once is limited, and given back when it is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from softpoint.serving.errors import busy


class Room:
    """So much of one thing at a time; whoever asks for more is asked to come back.

    >>> room = Room(2, "requests are being answered", "queue_size")
    >>> with room.taken(2):
    ...     room.used
    2
    >>> room.used
    0
    >>> with room.taken(3): pass
    Traceback (most recent call last):
    softpoint.serving.errors.Refusal: 0 requests are being answered, with queue_size=2 there is no room ...; try again
    """

    def __init__(self, size: int, says: str, setting: str) -> None:
        self.size, self.used = size, 0
        self._says, self._setting = says, setting

    @contextmanager
    def taken(self, amount: int) -> Iterator[None]:
        """Holds an amount until the block ends; raises a Refusal, 503, where there is no room for it."""
        if self.used + amount > self.size:
            raise busy(f"{self.used} {self._says}, with {self._setting}={self.size} there is no room for {amount} more")
        self.used += amount
        try:
            yield
        finally:
            self.used -= amount
