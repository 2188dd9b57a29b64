"""Costly images are decoded in a process that is ended where they take too long."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from softpoint.images import costs, isolated
from softpoint.images.containers import Pages
from softpoint.images.decode import decode_image, decoded, read_image
from softpoint.images.decode_errors import NoProcessError
from softpoint.images.process import Process, limit_memory, limit_time
from softpoint.images.read_options import ReadOptions

VALUES = np.random.default_rng(0).integers(0, 1 << 12, (20, 30, 3)).astype(np.uint16)
pytestmark = pytest.mark.skipif(not hasattr(os, "setsid"), reason="signals are sent as on Unix")


@pytest.fixture
def anything_is_costly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(costs, "is_costly", lambda *_: True)
    monkeypatch.setattr(costs, "is_costly_image", lambda _: True)
    monkeypatch.setattr("softpoint.images.containers.is_costly_image", lambda _: True)
    _end_idle()
    yield
    _end_idle()


def _end_idle() -> None:
    isolated._end_idle()
    isolated._idle.clear()


def idle() -> list[int]:
    return [process.process.pid for processes in isolated._idle.values() for process in processes]


def test_a_process_decodes_as_this_one_and_is_ended_when_it_is_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    cv2.imwrite(str(tmp_path / "wide.png"), VALUES)
    colors = Image.fromarray((VALUES >> 4).astype(np.uint8))
    for name in ("a.jp2", "b.tif", "c.png"):
        colors.save(tmp_path / name)
    (tmp_path / "cut.jp2").write_bytes((tmp_path / "a.jp2").read_bytes()[:-60])
    images = [tmp_path / name for name in ("wide.png", "a.jp2", "b.tif", "c.png")]
    here = [decoded(path, ReadOptions(bits=12)) for path in images]
    page = Pages(tmp_path / "b.tif", 10_000).read(0)
    with pytest.raises(ValueError, match="truncated") as error:
        read_image(tmp_path / "cut.jp2")

    request.getfixturevalue("anything_is_costly")
    for path, image in zip(images, here, strict=True):
        apart = decoded(path, ReadOptions(bits=12))
        assert np.array_equal(apart.pixels, image.pixels) and apart.bits == image.bits
        assert apart.pixels.flags.writeable
    (pid,) = idle()
    assert np.array_equal(Pages(tmp_path / "b.tif", costs.MAX_PIXELS).read(0).pixels, page.pixels)
    assert np.array_equal(decode_image((tmp_path / "c.png").read_bytes()), here[3].pixels)
    with pytest.raises(ValueError) as same:
        read_image(tmp_path / "cut.jp2")
    assert str(same.value) == str(error.value)
    assert idle() == [pid]  # one process did it all

    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(isolated, "_PATIENCE", 0.01)
    with pytest.raises(ValueError, match=r"a\.jp2 was not decoded within 5 s .* remove it, or .*max_pixels=200000000"):
        read_image(tmp_path / "a.jp2")
    assert idle() == []


@pytest.mark.parametrize("fault", ["none to be had", "stalls", "dies"])
def test_a_process_that_does_not_start_is_no_fault_of_the_image(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anything_is_costly: None
) -> None:
    started = []

    class Failing(Process):
        def __init__(self, *_: str) -> None:
            if fault == "none to be had":
                raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
            code = "import time; time.sleep(60)" if fault == "stalls" else ""
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            self.process = subprocess.Popen([sys.executable, "-S", "-c", code], **pipes)
            self._requests, self._replies = self.process.stdin, self.process.stdout
            started.append(self.process)

    cv2.imwrite(str(tmp_path / "a.png"), VALUES)
    monkeypatch.setattr(isolated, "Process", Failing)
    monkeypatch.setattr(isolated, "_PATIENCE", 0.01)
    with pytest.raises(NoProcessError, match=r"did not start: .*; the image may be sound"):
        read_image(tmp_path / "a.png")
    assert all(process.returncode is not None for process in started) and not idle()


def test_usual_images_are_decoded_here() -> None:
    for kind, size, is_costly in (
        ("PNG", 10_000, False), ("TIFF", 10_000, False), ("JPEG2000", 1000, False), ("JPEG2000", 3000, True),
    ):  # fmt: skip
        image = Image.new("L", (size, size))
        image.format, image.info["compression"] = kind, "raw"
        assert costs.is_costly_image(image) == is_costly, kind


def test_memory_is_counted_before_it_is_taken() -> None:
    costs.check_memory(100_000_000, 9, 100 << 20, costs.MAX_PIXELS)
    with pytest.raises(ValueError, match=r"takes 1258 MiB while it is decoded, and 1024 MiB .* data\.max_pixels=122"):
        costs.check_memory(100_000_000, 9, 400 << 20, costs.MAX_PIXELS)
    costs.check_memory(100_000_000, 9, 400 << 20, 123_000_000)


def test_a_lower_limit_of_the_system_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    memory, seconds = resource.RLIMIT_DATA, resource.RLIMIT_CPU
    most, given = {memory: 1 << 20, seconds: 2}, dict[int, tuple[int, int]]()
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (most[kind], most[kind]))
    monkeypatch.setattr(resource, "setrlimit", given.__setitem__)
    for time in (1000, 0):
        limit_memory(1 << 30)
        limit_time(time)
        assert (given[memory], given[seconds]) == ((1 << 20, 1 << 20), (2, 2))
    most[memory] = most[seconds] = resource.RLIM_INFINITY
    limit_memory(1 << 30)
    limit_time(1000)
    assert given[memory][0] > 1 << 30 and given[seconds][0] > 1000 and given[seconds][1] == resource.RLIM_INFINITY
