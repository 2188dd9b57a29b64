"""Dynamic batching: images of separate requests go through the model together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

import numpy as np

Result = Mapping[str, np.ndarray]
Results = Result | list[Result]  # of a batch: arrays with a leading B, or one for each image where subjects are found


class _Row(NamedTuple):
    image: np.ndarray  # (H, W, 3)
    box: np.ndarray | None  # (4,)
    result: asyncio.Future[Result]


class Batcher:
    """A queue in front of a model, which runs one batch at a time in a thread.

    An idle model takes the waiting rows as soon as there are `batch_size`, or `wait_ms` milliseconds after the first.
    A batch that has `max_pixels`, of all its rows, is not filled further. Rows of cancelled requests are dropped.
    `model` is called with a list of images and an array of boxes or None, `observe` with the number of rows of a batch.
    """

    def __init__(
        self,
        model: Callable[..., Results],
        batch_size: int,
        wait_ms: float,
        max_pixels: int,
        observe: Callable[[int], None],
    ) -> None:
        self.model, self.batch_size, self.wait_ms, self.max_pixels = model, batch_size, wait_ms, max_pixels
        self.observe = observe
        self.queue: asyncio.Queue[_Row | None] = asyncio.Queue()  # None ends the work
        self._work: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def running(self) -> bool:
        """True while rows are processed: the batcher was started, and neither stopped nor failed."""
        return self._work is not None and not self._work.done() and not self._closing

    def start(self) -> None:
        """Process rows in the running event loop."""
        self._work = asyncio.create_task(self._process())

    async def stop(self) -> None:
        """Process the waiting rows and end."""
        self._closing = True
        self.queue.put_nowait(None)
        if self._work is not None:
            await self._work

    async def predict(self, image: np.ndarray, boxes: np.ndarray | None = None) -> list[Result]:
        """Return one result for a whole image uint8 (H, W, 3), or one per box of (N, 4)."""
        assert self.running, "rows would wait forever"
        new = asyncio.get_running_loop().create_future
        rows = [_Row(image, box, new()) for box in ([None] if boxes is None else boxes)]
        for row in rows:
            self.queue.put_nowait(row)
        return await asyncio.gather(*(row.result for row in rows))

    async def _process(self) -> None:
        while rows := await self._next_batch():
            if active := [row for row in rows if not row.result.done()]:
                self.observe(len(active))
                for boxed in (False, True):
                    if group := [row for row in active if (row.box is not None) == boxed]:
                        await self._run(group)

    async def _next_batch(self) -> list[_Row]:
        """Wait for a first row and for others that fill its batch; return no rows at the end."""
        rows: list[_Row] = []
        row = await self.queue.get()
        with suppress(TimeoutError):
            async with asyncio.timeout(self.wait_ms / 1000):
                while row is not None:
                    rows.append(row)
                    if len(rows) == self.batch_size or sum(r.image.size for r in rows) >= 3 * self.max_pixels:
                        return rows
                    row = await self.queue.get()
        if row is None:
            self.queue.put_nowait(None)  # ends the work after this batch
        return rows

    async def _run(self, rows: list[_Row]) -> None:
        """Set the results of rows that all have a box, or none; if they fail together, each is tried alone."""
        images, boxes = [row.image for row in rows], [row.box for row in rows if row.box is not None]
        try:
            outputs = await asyncio.to_thread(self.model, images, np.stack(boxes) if boxes else None)
        except Exception as error:  # it belongs to one row, and the next batch may succeed
            if len(rows) > 1:
                for row in rows:
                    await self._run([row])
            elif not rows[0].result.done():
                rows[0].result.set_exception(error)
            return
        for i, row in enumerate(rows):
            if not row.result.done():  # the request may have been cancelled meanwhile
                alone = outputs[i] if isinstance(outputs, list) else {name: value[i] for name, value in outputs.items()}
                row.result.set_result(alone)
