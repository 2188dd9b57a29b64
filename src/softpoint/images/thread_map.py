"""A function over many images at once: one thread per core, because decoders release Python's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from softpoint.progress import track

Item = TypeVar("Item")
Result = TypeVar("Result")


def thread_map(function: Callable[[Item], Result], items: Collection[Item], title: str) -> Iterator[Result]:
    """Yield `function` of each item, in their order, and show progress; the first error ends it.

    >>> list(thread_map(abs, [-1, 2, -3], "counting"))
    [1, 2, 3]
    """
    pool = ThreadPoolExecutor(min(16, os.cpu_count() or 1))
    try:
        yield from track(pool.map(function, items), title, len(items))
    finally:
        pool.shutdown(cancel_futures=True)
