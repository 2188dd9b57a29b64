"""The library of loops is compiled once, kept where no one else writes, and never loaded damaged."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch.autograd import forward_ad

from helpers.loops import compiled
from softpoint.kernels import library as loops
from softpoint.kernels.library import runs_here
from softpoint.paths import LOCK

needs_compiler = pytest.mark.skipif(not loops.compilers(), reason="there is no C++ compiler")
posix = pytest.mark.skipif(os.name != "posix", reason="files have no owners here")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a cache of its own, for a library of one small function."""
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources/answer.cpp").write_text('extern "C" int softpoint_answer() { return 42; }')
    monkeypatch.setattr(loops, "_SOURCES", tmp_path / "sources")
    monkeypatch.setattr(loops, "WANTED", True)
    monkeypatch.setenv("SOFTPOINT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CXX", raising=False)
    return tmp_path / "cache/kernels"


def answer() -> int:
    """What the library of a new process gives."""
    library = loops.library.__wrapped__()
    assert library is not None
    return library.softpoint_answer()


def libraries(cache: Path) -> list[Path]:
    """All that is kept, but the lock."""
    return [path for path in cache.iterdir() if path.name != LOCK]


def without_compilers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert not loops.compilers()


@needs_compiler
def test_a_kept_library_needs_no_compiler(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert answer() == 42
    (kept,) = libraries(cache)
    assert kept.stat().st_mode & 0o077 == cache.stat().st_mode & 0o077 == 0 or os.name != "posix"
    without_compilers(monkeypatch, tmp_path)
    assert answer() == 42


@needs_compiler
@pytest.mark.parametrize("damage", [lambda data: data[:3000], lambda _: b"", lambda data: b"junk" + data[4:]])
def test_a_damaged_library_is_compiled_again(cache: Path, damage: Callable[[bytes], bytes]):
    assert answer() == 42
    (kept,) = libraries(cache)
    whole = kept.read_bytes()
    kept.unlink()
    kept.write_bytes(damage(whole))
    kept.chmod(0o700)
    assert answer() == 42
    assert [path.read_bytes() for path in libraries(cache)] == [whole]


@needs_compiler
def test_a_whole_library_that_does_not_load_is_replaced(cache: Path):
    assert answer() == 42
    (kept,) = libraries(cache)
    other = cache / "other"
    other.write_bytes(b"no library")
    other.chmod(0o700)
    other.rename(cache / f"{loops._key()}{loops._digest(other)}.so")
    kept.unlink()
    assert answer() == 42
    assert [path.name for path in libraries(cache)] == [kept.name]


@posix
@needs_compiler
@pytest.mark.parametrize("others", [0o720, 0o702])
def test_a_library_that_others_can_write_is_not_loaded(cache: Path, others: int):
    assert answer() == 42
    (kept,) = libraries(cache)
    kept.chmod(others), cache.chmod(others)
    assert answer() == 42
    (kept,) = libraries(cache)
    assert kept.stat().st_mode & 0o777 == cache.stat().st_mode & 0o777 == 0o700


@posix
@needs_compiler
def test_a_folder_of_another_user_is_not_used(cache: Path, monkeypatch: pytest.MonkeyPatch):
    cache.mkdir(parents=True)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    monkeypatch.setattr(Path, "lstat", lambda path: os.stat_result([0o40700, 0, 0, 1, 54321, 0, 0, 0, 0, 0]))
    assert answer() == 42
    assert not [*cache.iterdir()]


@needs_compiler
def test_a_cache_that_cannot_be_written_leaves_the_library_to_this_process(cache: Path):
    cache.parent.write_text("a file, no folder")
    assert answer() == 42


@needs_compiler
def test_a_named_compiler_may_have_options_and_may_fail(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    log, compiler = tmp_path / "log", loops.compilers()[0][0]
    code = "import subprocess, sys; open(sys.argv[1], 'a').write('called '); sys.exit(subprocess.call(sys.argv[2:]))"
    for real in (compiler, "false"):
        script = tmp_path / f"{real} wrapper.py"
        script.write_text(code)
        monkeypatch.setenv("CXX", f"'{sys.executable}' '{script}' '{log}' {real}")
        assert answer() == 42
        assert len(libraries(cache)) == (1 if real == compiler else 2)
    assert log.read_text().count("called") == 1 + len(loops._OPTIONAL_FLAGS)
    monkeypatch.setenv("CXX", "'a quote without an end")
    assert loops.compilers() and answer() == 42


def test_one_warning_says_why_there_are_no_loops(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    without_compilers(monkeypatch, tmp_path)
    assert loops.library.__wrapped__() is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING and "install g++ or clang++" in record.message
    caplog.clear()
    monkeypatch.setattr(loops, "WANTED", False)
    assert loops.library.__wrapped__() is None and not caplog.records


@needs_compiler
def test_the_warning_quotes_the_error_of_the_compiler(cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "sources/answer.cpp").write_text("#include <nowhere.h>")
    assert loops.library.__wrapped__() is None
    (record,) = caplog.records
    assert "nowhere.h" in record.message and "\n" not in record.message and not libraries(cache)


@needs_compiler
def test_of_several_that_want_the_library_at_once_one_compiles_it(cache: Path, monkeypatch: pytest.MonkeyPatch):
    compilations, build = [], loops._built
    monkeypatch.setattr(loops, "_built", lambda: (compilations.append(1), build())[1])
    with ThreadPoolExecutor(3) as pool:
        assert [*pool.map(lambda _: answer(), range(3))] == [42, 42, 42]
    (kept,) = libraries(cache)
    assert loops._digest(kept) in kept.name and len(compilations) == 1


@compiled
def test_the_loops_read_plain_tensors_alone():
    x = torch.randn(2, 3)
    assert runs_here(x) and runs_here(x, torch.nn.Parameter(x)) and runs_here(x[:, ::2])
    negative = torch.randn(2, 3, dtype=torch.complex64).conj().imag
    assert negative.is_neg()
    unread = (negative, x.double(), x.bfloat16(), x.to("meta"), x.to_sparse(), torch._efficientzerotensor((2, 3)))
    for other in unread:
        assert not runs_here(other) and not runs_here(x, other) and not runs_here(other, x)
    with forward_ad.dual_level():
        assert not runs_here(x)
    assert runs_here(x)
