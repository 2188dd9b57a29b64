"""Progress is shown on stderr and changes nothing that is done."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from softpoint import progress


def test_without_a_terminal_lines_count_what_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(progress.track("abc", "reading", 3)) == ["a", "b", "c"] and capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "_PAUSE", 0.0)
    assert list(progress.track("abc", "reading")) == ["a", "b", "c"]
    assert list(progress.track(iter("c"), "reading", total=3, completed=2)) == ["c"]
    assert list(progress.track(iter("a"), "reading")) == ["a"]
    with progress.shown("a.zip", 4_000_000, in_bytes=True) as show:
        show(1_000_000)
    out, err = capsys.readouterr()
    lines = [f"reading: {done} of 3" for done in (1, 2, 3, 3)]
    assert out == "" and [line.split(",")[0] for line in err.splitlines()] == [
        *lines, "reading: 1", "a.zip: 1.0 MB of 4.0 MB",
    ]  # fmt: skip


def test_lines_are_ever_farther_apart(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = iter(range(1000))  # a second passes with each item
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    list(progress.track(range(300), "reading"))
    lines = capsys.readouterr().err.splitlines()
    assert [int(line.split()[1]) for line in lines] == [5, 15, 35, 75, 135, 195, 255]
    assert lines[0] == "reading: 5 of 300, about 5 min left"


def test_an_error_of_the_work_is_passed_on() -> None:
    def work() -> Iterator[int]:
        yield 1
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        list(progress.track(work(), "reading", 2))
