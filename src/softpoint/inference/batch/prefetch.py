"""Items prepared in a thread while earlier ones are used."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

_END = object()


def prefetch(items: Iterable[T], count: int = 1) -> Iterator[T]:
    """Yield the items, which a thread makes up to `count` + 1 ahead.

    An error in making an item is raised in its place. The thread ends with this generator.

    >>> list(prefetch(range(4), 2))
    [0, 1, 2, 3]
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1) as thread:
        pending: deque[Future[Any]] = deque(thread.submit(next, iterator, _END) for _ in range(count + 1))
        try:
            while (item := pending.popleft().result()) is not _END:
                pending.append(thread.submit(next, iterator, _END))
                yield item
        finally:
            for future in pending:
                future.cancel()
            if hasattr(iterator, "close"):  # in the thread that runs it, so that its files close now
                thread.submit(iterator.close).result()
