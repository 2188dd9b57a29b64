"""The limit of open files bounds the connections, and what clients cause is not logged without end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

resource = pytest.importorskip("resource", reason="Windows has no limit of open files")
pytest.importorskip("uvicorn", reason="serving needs its libraries: pip install 'softpoint[serve]'")

from softpoint.serving import open_files  # noqa: E402
from softpoint.serving.server import Seldom  # noqa: E402


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, int], list[int]]]:
    """Set the limit of files beyond those that are open, and return the list of it, which changes as it does."""

    def limit(soft: int, hard: int) -> list[int]:
        taken = len(list(Path("/dev/fd").iterdir())) + open_files._OTHERS
        limits = [taken + soft, taken + hard]
        monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(limits))
        monkeypatch.setattr(resource, "setrlimit", lambda _, pair: limits.__setitem__(slice(None), pair))
        return limits

    yield limit


@pytest.mark.parametrize(
    ("soft", "hard", "most"), [(2000, 2000, 512), (200, 5000, 512), (200, 768, 512), (200, 700, 444), (60, 100, 50)]
)
def test_connections_are_as_many_as_files_may_be_open(limited, soft: int, hard: int, most: int) -> None:
    before = limited(soft, hard)[:]
    after = limited(soft, hard)
    assert open_files.connections_within(512) == most
    assert after == [max(soft, min(hard, 768)) - soft + before[0], before[1]]


def test_one_connection_is_always_allowed(limited) -> None:
    limited(-60, -50)
    assert open_files.connections_within(512) == 1


def test_a_record_is_logged_again_after_a_while() -> None:
    seldom = Seldom()

    def logged(message: str, at: float, fault: Exception | None = None) -> bool:
        values = {"msg": message, "created": at, "exc_info": fault and (type(fault), fault, None)}
        return seldom.filter(logging.makeLogRecord(values))

    assert [logged("invalid\nfrom", at) for at in (0, 1, 9.5, 10.5, 11)] == [True, False, False, True, False]
    assert logged("invalid", 11, OSError("other")) and logged("another", 11) and not logged("another", 12)
    assert logged("invalid", 99) and len(seldom._logged) == 1
