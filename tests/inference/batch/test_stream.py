"""Images stream through a predictor in order, in batches, a bounded number of them at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.videos import film, gray, holed, reading_brightness
from softpoint.images.video import Video
from softpoint.inference import load_predictor, predict_video
from softpoint.inference.batch.stream import Item, predict_items, prefetch


@pytest.fixture
def predictor(run: Path) -> Any:
    return reading_brightness(load_predictor(run / "checkpoints" / "best.ckpt"))


def counted(count: int, seen: list[int]) -> Iterator[int]:
    for number in range(count):
        seen.append(number)
        yield number


def test_items_are_in_order_and_a_bounded_number_is_prefetched() -> None:
    seen: list[int] = []
    for number in prefetch(counted(50, seen), 3):
        # The one in hand, three that wait, one in the maker's hand.
        assert len(seen) <= number + 5
    assert seen == list(range(50))


def test_an_error_is_raised_at_its_item() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError("here")

    items = prefetch(failing(), 4)
    assert next(items) == 1
    with pytest.raises(ZeroDivisionError, match="here"):
        next(items)


def test_closing_ends_the_thread_and_the_iterator() -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    before = threading.active_count()
    items = prefetch(endless(), 2)
    next(items)
    items.close()  # type: ignore[attr-defined]
    assert closed.is_set() and threading.active_count() == before


def items(count: int, read: list[int]) -> Iterator[Item]:
    """Each seventh is broken, each fifth has three subjects, each eleventh none."""
    for i in counted(count, read):
        image = None if i % 7 == 6 else np.full((48, 64, 3), i % 250, np.uint8)
        whole = np.array([[-0.5, -0.5, 63.5, 47.5]])
        boxes = whole[:0] if i % 11 == 10 else whole.repeat(3, 0) if i % 5 == 4 else None
        yield Item(i, str(i), float(i), image, boxes, "lost" if image is None else "")


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_every_item_has_a_prediction_per_subject(predictor: Any, batch_size: int) -> None:
    read: list[int] = []
    for i, (item, predictions) in enumerate(predict_items(predictor, items(60, read), batch_size)):
        assert item.number == i and item.image is None and len(read) <= i + 3 * batch_size + 1
        expected = 0 if i % 7 == 6 or i % 11 == 10 else 3 if i % 5 == 4 else 1
        assert len(predictions) == expected
        assert all(answer["keypoints"][0, 0] == pytest.approx(i, abs=0.6) for answer in predictions)
        assert item.size == ((0, 0) if i % 7 == 6 else (48, 64))
    assert i == 59


def test_images_are_kept_on_request(predictor: Any) -> None:
    kept = [item.image for item, _ in predict_items(predictor, items(6, []), 2, keep=True)]
    assert all(image is not None and image.shape == (48, 64, 3) for image in kept)
    with pytest.raises(ValueError, match="batch_size=0 must be at least 1"):
        next(predict_items(predictor, items(6, []), 0))


def test_a_video_is_predicted_frame_by_frame(predictor: Any, tmp_path: Path) -> None:
    times = np.cumsum([0, *[1, 3] * 12][:24])
    path = film(tmp_path / "a.mp4", times=times.tolist())
    predictions = list(predict_video(predictor, path, batch_size=5))
    np.testing.assert_allclose([p["keypoints"][0, 0] for p in predictions], [gray(n) for n in range(24)], atol=4)
    np.testing.assert_allclose([p["time"] for p in predictions], times / 10)
    assert {name: value.shape for name, value in predictions[0].items()} == {
        "keypoints": (4, 2), "confidence": (4,), "covariance": (4, 2, 2), "time": ()
    }  # fmt: skip


def test_a_frame_that_is_lost_is_nan(predictor: Any, tmp_path: Path) -> None:
    path = holed(tmp_path / "hole.mp4", film(tmp_path / "a.mp4", count=40, size=(96, 128), crf="1"))
    lost = [frame.number for frame in Video(path, 10**6).play() if frame.pixels is None]
    predictions = list(predict_video(predictor, str(path)))
    assert len(predictions) == 40 and lost
    for number, prediction in enumerate(predictions):
        assert np.isfinite(prediction["time"]) and np.isnan(prediction["keypoints"]).any() == (number in lost)


def test_a_frame_is_predicted_as_an_image_is(run: Path, tmp_path: Path) -> None:
    predictor = load_predictor(run / "checkpoints" / "best.ckpt")
    path = film(tmp_path / "a.mp4", count=5)
    for frame, prediction in zip(Video(path, 10**6).play(), predict_video(predictor, path, 2), strict=True):
        for name, value in predictor(frame.pixels).items():
            np.testing.assert_allclose(prediction[name], value, rtol=1e-3, atol=1e-3)
