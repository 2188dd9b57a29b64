"""Progress of long work on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TextIO, TypeVar

Item = TypeVar("Item")

# Seconds before the first line, and at most between two: the pause doubles after each.
_PAUSE, _LONGEST = 5.0, 60.0


def track(items: Iterable[Item], description: str, total: int | None = None, completed: int = 0) -> Iterator[Item]:
    """Yield the items, and show how many are done; work of less than five seconds prints no line.

    `total` is their number where they have no length, together with those that were `completed` before.

    >>> list(track("ab", "counting"))
    ['a', 'b']
    """
    known = len(items) if total is None and isinstance(items, Sized) else total
    with shown(description, known, completed) as show:
        for done, item in enumerate(items, completed + 1):
            yield item
            show(done)


def step(text: str, part: str = "") -> None:
    """Print what begins now, of work whose steps are few and long; `part` names the part of it."""
    print(f"{part}: {text}" if part else text, file=sys.stderr, flush=True)


@contextmanager
def shown(
    description: str, total: int | None, completed: int = 0, in_bytes: bool = False
) -> Iterator[Callable[[int], None]]:
    """Yield a function that is to be called with how much of `total` is done, now and then."""
    if not shows_bars(sys.stderr):
        yield _Lines(description, total, completed, in_bytes)
        return
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

    console = Console(stderr=True)
    columns = [*Progress.get_default_columns(), *([DownloadColumn(), TransferSpeedColumn()] if in_bytes else [])]
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(description, total=total, completed=completed)
        yield lambda done: bar.update(task, completed=done)


def shows_bars(stream: TextIO) -> bool:
    """Return whether a stream is a terminal on which a bar can be drawn again in its place."""
    return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def time_left(seconds: float) -> str:
    """Return a duration in the unit that suits it.

    >>> time_left(80), time_left(600), time_left(20_000)
    ('about 80 s', 'about 10 min', 'about 5.6 h')
    """
    if seconds < 120:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 7200 else f"about {seconds / 3600:.1f} h"


class _Lines:
    """Prints how much is done, ever less often."""

    def __init__(self, description: str, total: int | None, completed: int, in_bytes: bool) -> None:
        self.description, self.total, self.completed = description, total, completed
        self.text = (lambda count: f"{count / 1e6:.1f} MB") if in_bytes else str
        self.start, self.pause = time.monotonic(), _PAUSE
        self.next = self.start + self.pause

    def __call__(self, done: int) -> None:
        """Print a line if it is time for one."""
        now = time.monotonic()
        if now < self.next:
            return
        self.pause = min(2 * self.pause, _LONGEST)
        self.next = now + self.pause
        parts = [self.text(done)]
        if self.total is not None:
            parts[0] += f" of {self.text(self.total)}"
            if done > self.completed:
                left = (now - self.start) / (done - self.completed) * max(0, self.total - done)
                parts.append(f"{time_left(left)} left")
        print(f"{self.description}: {', '.join(parts)}", file=sys.stderr, flush=True)
