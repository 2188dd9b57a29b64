"""Images that came by themselves go through the model together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

Answer = Mapping[str, np.ndarray]
Model = Callable[..., Mapping[str, np.ndarray]]  # softpoint.runtime.Model, or what answers as it does


class _Row(NamedTuple):
    image: np.ndarray  # (H, W, 3)
    box: np.ndarray | None  # (4,)
    answer: asyncio.Future[Answer]


class Batcher:
    """Gathers what waits for a model; the model runs in one thread of its own, one batch after the other.

    A free model takes what waits as soon as `batch_size` rows do, and at the latest `wait_ms` after it saw the first.
    Rows that nobody waits for any more are left out.

    Args:
        model: takes a list of images and a list of boxes or None.
        batch_size: rows at once.
        wait_ms: milliseconds.
        max_pixels: of all rows of a batch, unless one row alone has more.
        seen: is told the number of rows of each batch.
    """

    def __init__(
        self, model: Model, batch_size: int, wait_ms: float, max_pixels: int, seen: Callable[[int], None]
    ) -> None:
        self.model, self.batch_size, self.wait_ms, self.max_pixels = model, batch_size, wait_ms, max_pixels
        self._seen = seen
        self._rows: deque[_Row] = deque()
        self._arrived = asyncio.Event()
        self._closing = False
        self._worker: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Rows that the model has not taken yet."""
        return len(self._rows)

    @property
    def running(self) -> bool:
        """Whether rows are answered: it was started, and neither stopped nor broken."""
        return self._worker is not None and not self._worker.done() and not self._closing

    def start(self) -> None:
        """Begins to answer, in the running event loop."""
        self._worker = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Answers what waits, and ends."""
        self._closing = True
        self._arrived.set()
        if self._worker is not None:
            await self._worker

    async def predict(self, image: np.ndarray, boxes: np.ndarray | None = None) -> list[Answer]:
        """One answer for a whole image uint8 (H, W, 3), or one a box of (N, 4)."""
        assert self.running, "rows would wait for ever"
        loop = asyncio.get_running_loop()
        regions: Sequence[Any] = [None] if boxes is None else list(boxes)
        rows = [_Row(image, box, loop.create_future()) for box in regions]
        self._rows.extend(rows)
        self._arrived.set()
        try:
            return await asyncio.gather(*(row.answer for row in rows))
        finally:  # what nobody waits for any more takes no room
            for row in rows:
                row.answer.cancel()
            self._rows = deque(row for row in self._rows if not row.answer.done())

    async def _work(self) -> None:
        with ThreadPoolExecutor(1, "model") as thread:
            while await self._some():
                await self._full()
                if rows := self._take():
                    await self._answer(rows, thread)

    async def _some(self) -> bool:
        """Waits for a first row; False where there will be none."""
        while not self._rows and not self._closing:
            self._arrived.clear()
            await self._arrived.wait()
        return bool(self._rows)

    async def _full(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self.wait_ms / 1000):
                while len(self._rows) < self.batch_size and not self._closing:
                    self._arrived.clear()
                    await self._arrived.wait()

    def _take(self) -> list[_Row]:
        rows: list[_Row] = []
        pixels = 0
        while self._rows and len(rows) < self.batch_size:
            height, width, _ = self._rows[0].image.shape
            if rows and pixels + height * width > self.max_pixels:
                break
            row = self._rows.popleft()
            if not row.answer.done():  # its request may have run out of time
                rows.append(row)
                pixels += height * width
        return rows

    async def _answer(self, rows: list[_Row], thread: ThreadPoolExecutor) -> None:
        self._seen(len(rows))
        answers = await asyncio.get_running_loop().run_in_executor(thread, self._run, rows)
        for row, answer in zip(rows, answers, strict=True):
            if row.answer.done():
                continue
            if isinstance(answer, Exception):
                row.answer.set_exception(answer)
            else:
                row.answer.set_result(answer)

    def _run(self, rows: list[_Row]) -> Sequence[Answer | Exception]:
        """Answers in order; where a batch fails, each row goes by itself, so that one cannot spoil the others."""
        try:
            return self._together(rows)
        except Exception as error:  # whatever a model raises is the answer, and the next batch may do better
            return [error] if len(rows) == 1 else [self._run([row])[0] for row in rows]

    def _together(self, rows: list[_Row]) -> list[Answer]:
        """Answers in order; rows with a box and those without are two questions."""
        answers: dict[int, Answer] = {}
        for boxed in (False, True):
            places = [i for i, row in enumerate(rows) if (row.box is not None) == boxed]
            if places:
                boxes = [box for i in places if (box := rows[i].box) is not None]
                found = self.model([rows[i].image for i in places], np.stack(boxes) if boxes else None)
                answers |= {i: {name: value[n] for name, value in found.items()} for n, i in enumerate(places)}
        return [answers[i] for i in range(len(rows))]
