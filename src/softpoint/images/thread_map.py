"""A function over many images at once: one thread per core, because decoders release Python's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def thread_map(function: Callable[[Item], Result], items: Collection[Item], title: str) -> Iterator[Result]:
    """Yield `function` of each item, in their order, with a progress bar on a terminal; the first error ends it.

    >>> list(thread_map(abs, [-1, 2, -3], "counting"))
    [1, 2, 3]
    """
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    pool = ThreadPoolExecutor(min(16, os.cpu_count() or 1))
    try:
        results, hidden = pool.map(function, items), not console.is_terminal
        yield from track(results, title, len(items), console=console, transient=True, disable=hidden)
    finally:
        pool.shutdown(cancel_futures=True)
