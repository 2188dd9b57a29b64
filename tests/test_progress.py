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
    assert list(progress.track("abc", "reading", 3)) == ["a", "b", "c"]
    out, err = capsys.readouterr()
    assert out == "" and [line.split(",")[0] for line in err.splitlines()] == [
        f"reading: {done} of 3" for done in (1, 2, 3)
    ]


def test_an_error_of_the_work_is_passed_on() -> None:
    def work() -> Iterator[int]:
        yield 1
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        list(progress.track(work(), "reading", 2))
