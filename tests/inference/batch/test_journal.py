"""A journal keeps what was predicted, cuts off what was half written, and knows its own job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from softpoint.inference.batch.journal import Journal, row_dtype
from softpoint.inference.batch.predictions import Row, above_threshold, rounded, unpack
from softpoint.inference.batch.stream import Item

JOB = {"ckpt": "abc", "tta": None}


@pytest.fixture
def opened() -> Iterator[Any]:
    """Opens journals that the end of the test closes."""
    with ExitStack() as stack:

        def open(path: Path, resume: bool = False, job: dict[str, Any] = JOB) -> Journal:
            journal = Journal(path, job, row_dtype(2, True), resume)
            stack.callback(journal.file.close)
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


def rows(journal: Journal) -> list[Row]:
    return list(unpack(journal.records()))


def test_a_journal_reads_what_it_wrote(opened: Any, tmp_path: Path) -> None:
    journal = opened(tmp_path / "deep" / "p.partial")
    fill(journal)
    found = rows(journal)
    assert [(row.number, row.subject, row.has_subject) for row in found] == [
        (0, 0, True), (1, 0, True), (1, 1, True), (1, 2, True), (2, 0, False), (3, 0, False)
    ]  # fmt: skip
    for row, i in zip(found[:4], range(4), strict=True):
        for name, value in answer(i).items():
            np.testing.assert_array_equal(getattr(row, name), value)
    np.testing.assert_array_equal(found[2].box, [4, 5, 6, 7])
    assert np.isnan(found[0].box).all() and np.isnan(found[4].keypoints).all()
    assert found[4].error.startswith("lost: üüü") and found[4].size == (0, 0) and found[0].size == (48, 64)
    assert [row.time for row in found] == [0, 0.125, 0.125, 0.125, 0.25, 0.375]
    journal.close()


@pytest.mark.parametrize("lost", [1, 300, 700, 1100])
def test_a_half_written_image_is_written_again(opened: Any, tmp_path: Path, lost: int) -> None:
    """Whatever a crash leaves of the last images, whole ones are kept and the rest comes again."""
    path = tmp_path / "p.partial"
    whole = opened(path)
    fill(whole)
    whole.close()
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
    journal = opened(path)
    fill(journal)
    journal.close()
    assert opened(path, resume=True).next == 4
    anew = opened(path)
    assert anew.next == 0 and rows(anew) == []
    anew.close()
    assert not path.exists(), "an empty one is not left behind"


def test_an_option_that_differs_is_named(opened: Any, tmp_path: Path) -> None:
    path = tmp_path / "p.partial"
    journal = opened(path)
    fill(journal)
    journal.close()
    for job, said in [
        ({**JOB, "tta": "flip"}, r"p.partial was started with tta=None, not tta='flip'; use the same"),
        ({**JOB, "ckpt": "x"}, "was started with ckpt='abc', not ckpt='x'"),
        ({"tta": None}, "was started with ckpt='abc', not ckpt=None"),
    ]:
        with pytest.raises(ValueError, match=said):
            opened(path, resume=True, job=job)
    assert opened(path, resume=True).next == 4, "and is left as it was"


@pytest.mark.parametrize("content", [b"hello", b"[1]\n", b'{"format": 2}\n', b"[" * 100_000, b"\xff\n"])
def test_other_files_are_refused(opened: Any, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p.partial").write_bytes(content)
    with pytest.raises(ValueError, match=r"p.partial is no file of an interrupted job of this version; remove it"):
        opened(tmp_path / "p.partial", resume=True)


def test_dropped_points_keep_their_confidence_and_rows_are_rounded(opened: Any, tmp_path: Path) -> None:
    journal = opened(tmp_path / "p.partial")
    fill(journal)
    for row, shown in zip(rows(journal), above_threshold(unpack(journal.records()), 0.5), strict=True):
        sure = row.confidence >= 0.5
        np.testing.assert_array_equal(shown.keypoints[sure], row.keypoints[sure])
        assert np.isnan(shown.keypoints[~sure]).all()
        np.testing.assert_array_equal(shown.confidence, row.confidence)
    for row, short in zip(rows(journal)[:4], rounded(unpack(journal.records())), strict=False):
        for value, text in zip(row.keypoints.ravel(), short.keypoints.ravel(), strict=True):
            assert text == float(f"{value:.3f}") or abs(value * 1000 % 1 - 0.5) < 1e-6
        np.testing.assert_allclose(short.confidence, row.confidence, atol=5.01e-5)
    journal.close()
