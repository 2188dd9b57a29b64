"""A journal keeps predictions, cuts off half-written ones, and is resumed by the same job alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from softpoint.inference.batch.journal import Journal, row_dtype
from softpoint.inference.batch.predictions import above_threshold, rounded
from softpoint.inference.batch.stream import Item

JOB = {"ckpt": "abc", "tta": None}


@pytest.fixture
def opened() -> Iterator[Any]:
    """Opens journals that the end of the test closes, some of them filled."""
    with ExitStack() as stack:

        def open(path: Path, resume: bool = False, job: dict[str, Any] = JOB, filled: bool = False) -> Journal:
            journal = Journal(path, job, row_dtype(2, True), resume)
            stack.callback(journal.file.close)
            if filled:
                fill(journal)
            return journal

        yield open


def answer(i: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(i)
    shapes = {"keypoints": (2, 2), "confidence": (2,), "covariance": (2, 2, 2), "visibility": (2, 3)}
    return {name: rng.random(shape, np.float32) for name, shape in shapes.items()}


def item(index: int, boxes: int | None = None, broken: str = "") -> Item:
    where = None if boxes is None else np.arange(4.0 * boxes).reshape(-1, 4)
    return Item(index, str(index), index / 8, None, where, broken, (0, 0) if broken else (48, 64))


def fill(journal: Journal) -> None:
    journal.append(item(0), [answer(0)])
    journal.append(item(1, boxes=3), [answer(1), answer(2), answer(3)])
    journal.append(item(2, broken="lost: " + "ü" * 300), [])
    journal.append(item(3, boxes=0), [])


def test_a_journal_reads_what_it_wrote(opened: Any, tmp_path: Path) -> None:
    journal = opened(tmp_path / "deep" / "p.partial", filled=True)
    result = list(journal.rows())
    assert [(row.number, row.subject, row.has_subject) for row in result] == [
        (0, 0, True), (1, 0, True), (1, 1, True), (1, 2, True), (2, 0, False), (3, 0, False)
    ]  # fmt: skip
    for row, i in zip(result[:4], range(4), strict=True):
        for name, value in answer(i).items():
            np.testing.assert_array_equal(getattr(row, name), value)
    np.testing.assert_array_equal(result[2].box, [4, 5, 6, 7])
    assert np.isnan(result[0].box).all() and np.isnan(result[4].keypoints).all()
    assert result[4].error.startswith("lost: üüü") and result[4].size == (0, 0) and result[0].size == (48, 64)
    assert [row.time for row in result] == [0, 0.125, 0.125, 0.125, 0.25, 0.375]


@pytest.mark.parametrize("lost", [1, 300, 700, 1100])
def test_a_half_written_image_is_written_again(opened: Any, tmp_path: Path, lost: int) -> None:
    """Of the images that a crash leaves, complete ones are kept and the others are written again."""
    path = tmp_path / "p.partial"
    opened(path, filled=True).close()
    content = path.read_bytes()
    path.write_bytes(content[:-lost])
    again = opened(path, resume=True)
    size = row_dtype(2, True).itemsize
    kept = [0, 1, 4, 5, 6][: again.next + 1][-1]
    assert again.next < 4 and path.stat().st_size == len(content) - (6 - kept) * size <= len(content) - lost
    for index in range(again.next, 4):
        number = {0: 1, 1: 3}.get(index, 0)
        first = [0, 1][min(index, 1)]
        broken = "lost: " + "ü" * 300 if index == 2 else ""
        again.append(item(index, [None, 3, None, 0][index], broken), [answer(first + i) for i in range(number)])
    again.close()
    assert path.read_bytes() == content


def test_without_resume_a_journal_starts_empty(opened: Any, tmp_path: Path) -> None:
    path = tmp_path / "p.partial"
    opened(path, filled=True).close()
    assert opened(path, resume=True).next == 4
    restarted = opened(path)
    assert restarted.next == 0 and list(restarted.rows()) == []
    restarted.close()
    assert not path.exists(), "an empty one is not left behind"


def test_an_option_that_differs_is_named(opened: Any, tmp_path: Path) -> None:
    path = tmp_path / "p.partial"
    opened(path, filled=True).close()
    for job, message in [
        ({**JOB, "tta": "flip"}, r"p.partial was started with tta=None, not tta='flip'; use the same"),
        ({**JOB, "ckpt": "x"}, "was started with ckpt='abc', not ckpt='x'"),
        ({"tta": None}, "was started with ckpt='abc', not ckpt=None"),
    ]:
        with pytest.raises(ValueError, match=message):
            opened(path, resume=True, job=job)
    assert opened(path, resume=True).next == 4, "and is left as it was"


@pytest.mark.parametrize("content", [b"hello", b"[1]\n", b'{"format": 2}\n', b"[" * 100_000, b"\xff\n"])
def test_other_files_are_refused(opened: Any, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p.partial").write_bytes(content)
    with pytest.raises(ValueError, match=r"p.partial is no file of an interrupted job of this version; remove it"):
        opened(tmp_path / "p.partial", resume=True)


def test_dropped_points_keep_their_confidence_and_rows_are_rounded(opened: Any, tmp_path: Path) -> None:
    journal = opened(tmp_path / "p.partial", filled=True)
    for row, drawn in zip(journal.rows(), above_threshold(journal.rows(), 0.5), strict=True):
        sure = row.confidence >= 0.5
        np.testing.assert_array_equal(drawn.keypoints[sure], row.keypoints[sure])
        assert np.isnan(drawn.keypoints[~sure]).all()
        np.testing.assert_array_equal(drawn.confidence, row.confidence)
    for row, short in list(zip(journal.rows(), rounded(journal.rows()), strict=True))[:4]:
        for value, text in zip(row.keypoints.ravel(), short.keypoints.ravel(), strict=True):
            assert text == float(f"{value:.3f}") or abs(value * 1000 % 1 - 0.5) < 1e-6
        np.testing.assert_allclose(short.confidence, row.confidence, atol=5.01e-5)
