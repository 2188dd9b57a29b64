"""Costly images are decoded in a process that is ended where they take too long."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from softpoint.images import costs, isolated
from softpoint.images.containers import Pages
from softpoint.images.decode import decode_image, decoded, read_image

VALUES = np.random.default_rng(0).integers(0, 1 << 12, (20, 30, 3)).astype(np.uint16)
pytestmark = pytest.mark.skipif(not hasattr(os, "setsid"), reason="signals are sent as on Unix")


@pytest.fixture
def anything_is_costly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(costs, "is_costly", lambda *_: True)
    monkeypatch.setattr(costs, "is_costly_image", lambda _: True)
    monkeypatch.setattr("softpoint.images.containers.is_costly_image", lambda _: True)
    yield
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
    here = [decoded(path, bits=12) for path in images]
    page = Pages(tmp_path / "b.tif", 10_000).read(0)
    with pytest.raises(ValueError, match="truncated") as error:
        read_image(tmp_path / "cut.jp2")

    request.getfixturevalue("anything_is_costly")
    for path, image in zip(images, here, strict=True):
        apart = decoded(path, bits=12)
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
