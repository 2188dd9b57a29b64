"""Work done ahead of time in a thread, while what it is for is at work itself."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from queue import Full, Queue
from typing import Any, TypeVar

T = TypeVar("T")

_END = object()


def ahead(items: Iterable[T], count: int = 1) -> Iterator[T]:
    """The items, made by a thread that is at most `count` of them, and the one it makes, ahead.

    What making one raises is raised here, in its place. The thread ends with this generator.

    >>> list(ahead(range(4), 2))
    [0, 1, 2, 3]
    """
    made: Queue[Any] = Queue(count)
    stop = threading.Event()
    thread = threading.Thread(target=_make, args=(items, made, stop), daemon=True)
    thread.start()
    try:
        while (item := made.get()) is not _END:
            if isinstance(item, _Failed):
                raise item.error
            yield item
    finally:
        stop.set()
        thread.join()


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def _make(items: Iterable[Any], made: Queue[Any], stop: threading.Event) -> None:
    try:
        for item in items:
            if not _hand_over(item, made, stop):
                break
        else:
            _hand_over(_END, made, stop)
    except BaseException as error:
        _hand_over(_Failed(error), made, stop)
    finally:
        if stop.is_set() and hasattr(items, "close"):  # in the thread that ran it, so that files close now
            items.close()


def _hand_over(item: Any, made: Queue[Any], stop: threading.Event) -> bool:
    """Waits until there is room; False where nobody wants any more."""
    while not stop.is_set():
        try:
            made.put(item, timeout=0.1)
            return True
        except Full:
            continue
    return False
