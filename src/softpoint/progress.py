"""Progress of long work: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

# Seconds between two lines.
_PAUSE = 10.0


def track(items: Iterable[Item], title: str, total: int) -> Iterator[Item]:
    """Yield `total` items, and show on stderr how many are done; work of less than ten seconds prints no line.

    >>> list(track("ab", "counting", 2))
    ['a', 'b']
    """
    from rich.console import Console
    from rich.progress import track as bar

    console = Console(stderr=True)
    if console.is_terminal:
        yield from bar(items, title, total, console=console, transient=True)
        return
    start = last = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        if (now := time.monotonic()) - last >= _PAUSE:
            last, left = now, (now - start) / done * (total - done)
            print(f"{title}: {done} of {total}, about {left:.0f} s left", file=sys.stderr, flush=True)
