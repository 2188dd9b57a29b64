"""Waiting images are computed together, and every request gets its own result."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from serving.conftest import Teller, encoded, until
from softpoint.serving.batcher import Batcher


def image(height: int, width: int, value: int = 0) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def run(
    teller: Teller,
    conversation: Callable[[Batcher], Awaitable[Any]],
    batch_size: int = 4,
    max_pixels: int = 10_000,
    wait_ms: float = 0,
) -> Any:
    """Return the result of `conversation(batcher)`, after which the batcher is stopped."""

    async def whole() -> Any:
        batcher = Batcher(teller, batch_size, wait_ms, max_pixels, lambda rows: None)
        batcher.start()
        result = await conversation(batcher)
        if batcher.running:
            await batcher.stop()
        return result

    return asyncio.run(whole())


def results(teller: Teller, images: list, max_pixels: int = 10_000) -> list:
    """Results of rows that were queued while the model was busy with a first one."""

    async def conversation(batcher: Batcher) -> list:
        teller.gate.clear()
        first = asyncio.create_task(batcher.predict(image(2, 2)))
        await asyncio.sleep(0)
        await until(lambda: teller.waiting)
        rest = [asyncio.create_task(batcher.predict(*row)) for row in images]
        await until(lambda: batcher.queue.qsize() == sum(1 if len(row) == 1 else len(row[1]) for row in images))
        teller.gate.set()
        return (await asyncio.gather(first, *rest, return_exceptions=True))[1:]

    return run(teller, conversation, max_pixels=max_pixels)


def test_waiting_images_form_batches_in_order(teller: Teller):
    sizes = [(3, 4), (5, 6), (3, 4), (7, 8), (9, 10), (3, 4)]
    rows = results(teller, [(image(*size, value),) for value, size in enumerate(sizes)])
    assert teller.calls == [1, 4, 2]
    for value, ((height, width), [answer]) in enumerate(zip(sizes, rows, strict=True)):
        assert answer["keypoints"].tolist() == [[width - 1, height - 1], [value, value]]


def test_rows_with_and_without_boxes_do_not_mix():
    boxes = np.float32([[1, 2, 3, 4], [5, 6, 7, 8]])
    teller = Teller()
    rows = results(teller, [(image(3, 4, 9),), (image(5, 6), boxes), (image(3, 4, 8),)])
    assert teller.calls == [1, 2, 2]
    assert [[row["keypoints"][1].tolist() for row in responses] for responses in rows] == [
        [[9, 9]], [[1, 2], [5, 6]], [[8, 8]]
    ]  # fmt: skip


def test_a_batch_of_many_pixels_is_not_filled_further(teller: Teller):
    results(teller, [(image(10, 10),)] * 3 + [(image(20, 20),)], max_pixels=250)
    assert teller.calls == [1, 3, 1]


def test_an_image_that_fails_does_not_affect_the_others(teller: Teller):
    good, bad, wrong, last = results(teller, [(image(*size),) for size in [(3, 4), (13, 13), (12, 12), (5, 6)]])
    assert isinstance(bad, RuntimeError) and isinstance(wrong, ValueError)
    assert good[0]["keypoints"][0].tolist() == [3, 2] and last[0]["keypoints"][0].tolist() == [5, 4]


def test_an_idle_model_waits_for_a_batch_to_fill(teller: Teller):
    async def conversation(batcher: Batcher) -> None:
        tasks = []
        for _ in range(3):  # the third fills the batch, long before the wait is over
            tasks.append(asyncio.create_task(batcher.predict(image(2, 2))))
            await asyncio.sleep(0.01)
        await asyncio.gather(*tasks)

    run(teller, conversation, batch_size=3, wait_ms=60_000)
    assert teller.calls == [3]


def test_stopping_finishes_the_waiting_images(teller: Teller):
    async def conversation(batcher: Batcher) -> list:
        tasks = [asyncio.create_task(batcher.predict(image(2, 2 + i))) for i in range(5)]
        await asyncio.sleep(0)
        await batcher.stop()
        assert not batcher.running
        return await asyncio.gather(*tasks)

    responses = run(teller, conversation, batch_size=2, wait_ms=60_000)
    assert [row["keypoints"][0, 0] for [row] in responses] == [1, 2, 3, 4, 5]
    assert teller.calls == [2, 2, 1]


def test_a_cancelled_image_is_not_computed(teller: Teller):
    async def conversation(batcher: Batcher) -> None:
        teller.gate.clear()
        tasks = [asyncio.create_task(batcher.predict(image(2, 2))) for _ in range(3)]
        await asyncio.sleep(0)
        await until(lambda: teller.waiting and batcher.queue.qsize() == 2)
        tasks[0].cancel()  # the model is computing it
        tasks[1].cancel()
        await asyncio.sleep(0)
        teller.gate.set()
        [row] = await tasks[2]
        assert row["confidence"][0] == 0.75

    run(teller, conversation, batch_size=1)
    assert teller.calls == [1, 1]


def test_a_request_out_of_time_frees_its_place(talk, teller: Teller):
    async def conversation(client, service):
        teller.gate.clear()
        late = await client.post("/predict", content=encoded(5, 6))
        used = (service.line.requests, service.line.used)
        teller.gate.set()
        return late, used

    late, used = talk(conversation, timeout_s=0.7)
    assert late.status_code == 504 and "timeout_s=0.7" in late.json()["error"]
    assert used == (0, 0)


def test_images_posted_at_once_share_a_batch(talk, teller: Teller):
    async def conversation(client, service):
        teller.gate.clear()
        tasks = [asyncio.create_task(client.post("/predict", content=encoded(5, 5 + i))) for i in range(5)]
        await until(lambda: service.line.used == sum(5 * (5 + i) for i in range(5)))
        teller.gate.set()
        return await asyncio.gather(*tasks), (await client.get("/metrics")).text

    responses, metrics = talk(conversation, wait_ms=50)
    assert [response.json()["size"] for response in responses] == [[5, 5 + i] for i in range(5)]
    assert sum(teller.calls) == 5 and max(teller.calls) > 1
    assert (
        f"softpoint_batch_images_count {len(teller.calls)}.0" in metrics and "softpoint_batch_images_sum 5.0" in metrics
    )


@pytest.mark.parametrize(("size", "status"), [((13, 13), 500), ((12, 12), 422)])
def test_errors_of_a_model_do_not_name_its_folder(post, caplog, size: tuple[int, int], status: int):
    response = post(encoded(*size))
    assert response.status_code == status
    assert "folder" not in response.json()["error"]
    assert ("unlucky" in caplog.text) == (status == 500) and "unlucky" not in response.text
