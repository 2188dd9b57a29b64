"""Dynamic batching: images of separate requests go through the model together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from queue import Empty, Queue
from threading import Thread
from typing import NamedTuple

import numpy as np

Result = Mapping[str, np.ndarray]
Model = Callable[..., Mapping[str, np.ndarray]]  # softpoint.runtime.Model


class _Row(NamedTuple):
    image: np.ndarray  # (H, W, 3)
    box: np.ndarray | None  # (4,)
    result: Future[Result]


class Batcher:
    """A queue in front of a model, which runs one batch at a time in a thread.

    An idle model takes the waiting rows as soon as there are `batch_size`, or `wait_ms` after the first one.
    Rows of cancelled requests are dropped.

    Args:
        model: called with a list of images and an array of boxes or None.
        batch_size: rows per batch.
        wait_ms: milliseconds.
        max_pixels: a batch that has as many, of all its rows, is not filled further.
        observe: called with the number of rows of each batch.
    """

    def __init__(
        self, model: Model, batch_size: int, wait_ms: float, max_pixels: int, observe: Callable[[int], None]
    ) -> None:
        self.model, self.batch_size, self.wait_ms, self.max_pixels = model, batch_size, wait_ms, max_pixels
        self.queue: Queue[_Row | None] = Queue()  # None ends the thread
        self._observe, self._closing = observe, False
        self._thread = Thread(target=self._work, name="model", daemon=True)

    @property
    def running(self) -> bool:
        """True while rows are processed: the batcher was started, and neither stopped nor failed."""
        return self._thread.is_alive() and not self._closing

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    async def stop(self) -> None:
        """Process the waiting rows and end the thread."""
        self._closing = True
        self.queue.put(None)
        await asyncio.to_thread(self._thread.join)

    async def predict(self, image: np.ndarray, boxes: np.ndarray | None = None) -> list[Result]:
        """Return one result for a whole image uint8 (H, W, 3), or one per box of (N, 4)."""
        assert self.running, "rows would wait forever"
        rows = [_Row(image, box, Future()) for box in ([None] if boxes is None else boxes)]
        for row in rows:
            self.queue.put(row)
        return await asyncio.gather(*(asyncio.wrap_future(row.result) for row in rows))

    def _work(self) -> None:
        while rows := self._next_batch():
            if active := [row for row in rows if row.result.set_running_or_notify_cancel()]:
                self._observe(len(active))
                for boxed in (False, True):
                    if group := [row for row in active if (row.box is not None) == boxed]:
                        self._run(group)

    def _next_batch(self) -> list[_Row]:
        """Wait for a first row and for others that fill its batch; return no rows at the end."""
        rows: list[_Row] = []
        deadline = None
        while len(rows) < self.batch_size and sum(row.image.size for row in rows) < 3 * self.max_pixels:
            try:
                row = self.queue.get(timeout=None if deadline is None else max(0, deadline - time.monotonic()))
            except Empty:
                break
            if row is None:
                self.queue.put(None)  # ends the thread after this batch
                break
            deadline = deadline or time.monotonic() + self.wait_ms / 1000
            rows.append(row)
        return rows

    def _run(self, rows: list[_Row]) -> None:
        """Set the results of rows that all have a box, or none; if they fail together, each is tried alone."""
        boxes = [row.box for row in rows if row.box is not None]
        try:
            outputs = self.model([row.image for row in rows], np.stack(boxes) if boxes else None)
        except Exception as error:  # it belongs to one row, and the next batch may succeed
            if len(rows) == 1:
                rows[0].result.set_exception(error)
            else:
                for row in rows:
                    self._run([row])
        else:
            for i, row in enumerate(rows):
                row.result.set_result({name: value[i] for name, value in outputs.items()})
