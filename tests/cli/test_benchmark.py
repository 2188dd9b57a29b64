"""The benchmark compares pipelines that do the same work, and prints what it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from softpoint.cli.augmentation_baselines import augmenters, decoders
from softpoint.cli.benchmark import rates_in_turns, worded
from softpoint.cli.dataloader_benchmark import draw_images, spread
from softpoint.data.augment import Augment
from softpoint.images.decode import read_image

TINY = (
    "rounds=1", "calls=1", "sizes=[32]", "batch_size=2", "backbone.width=8", "decoder.channels=8",
    "data.kinds=[[.png,70,50]]", "data.training=[.png,70,50]", "data.count=2", "data.train=20", "data.size=32",
    "data.batch_size=4", "data.workers=[0]", "data.rounds=1", "data.calls=1", "exports.image=[40,50]",
    "exports.size=[32,32]", "exports.calls=1",
    "exports.precisions=[int8]",
)  # fmt: skip


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return draw_images(tmp_path / "drawn", ".png", (50, 70), 3)


def test_a_word_says_what() -> None:
    assert worded(["data", "rounds=1"]) == ["what=data", "rounds=1"]
    for words in ([], ["rounds=1"], ["--help"], ["~data.size"]):
        assert worded(words) == words


def test_work_is_done_in_turns() -> None:
    done: list[tuple[str, int]] = []
    work: dict[str, Callable[[int], Any]] = {name: lambda i, name=name: done.append((name, i)) for name in "ab"}
    rates = rates_in_turns(work, rounds=2, calls=2)
    assert done == [(name, i) for turn in range(3) for name in "ab" for i in (2 * turn, 2 * turn + 1)]
    assert {name: len(values) for name, values in rates.items()} == {"a": 2, "b": 2}  # the first round warms up


def test_spread_is_median_and_ends() -> None:
    assert spread([3.0, 1.0, 8.0]) == ("3", "1 to 8")


def test_decoders_give_the_same_pixels(paths: list[Path]) -> None:
    for name, decode in decoders(paths).items():
        pixels = decode(4)
        pixels = pixels.permute(1, 2, 0).numpy() if isinstance(pixels, torch.Tensor) else pixels
        assert np.array_equal(pixels, read_image(paths[1])), name


@pytest.mark.parametrize("size", [96, 48, 16])  # enlarged, shrunk, shrunk by more than two
def test_plain_opencv_does_the_same_work(paths: list[Path], size: int) -> None:
    images = [read_image(path) for path in paths]
    augment = Augment(rotate=20, scale=(0.9, 1.1), translate=0.1, brightness=0.3, contrast=0.3, blur=1.0)
    points = np.array([[10.0, 20.0], [60.5, 3.0]])
    work = augmenters(images, points, size, augment)
    for i in range(6):
        ours, (plain, moved) = work["softpoint"](i), work["plain OpenCV"](i)
        assert ours["keypoints"].numpy() == pytest.approx(moved, abs=1e-3)
        assert np.median(np.abs(ours["image"].numpy().astype(int) - plain)) <= 2


def test_every_pipeline_makes_an_input(paths: list[Path]) -> None:
    images, points = [read_image(path) for path in paths], np.array([[10.0, 20.0], [30.0, 30.0]])
    work = augmenters(images, points, 32, Augment(rotate=10, brightness=0.2, contrast=0.2, blur=1.0, noise=0.05))
    assert work["softpoint"](0)["image"].shape == (32, 32, 3)
    assert work["torchvision"](0)[0].shape == (3, 32, 32) and work["torchvision"](0)[1].shape == (2, 2)
    assert work["albumentations"](0)["image"].shape == (32, 32, 3)
    with pytest.raises(ValueError, match=r"no other pipeline here has augment.hue; benchmark augment=light"):
        augmenters(images, points, 32, Augment(hue=0.1))


def test_data_prints_stages_and_shares(start: Callable) -> None:
    ending = start("benchmark", "what=data", *TINY)
    assert ending.code == 0, ending.err
    for words in (
        "decode",
        "augment",
        "collate",
        "plain OpenCV",
        "% of the speed",
        "none",
        "ram",
        "disk",
        "device_cache",
    ):
        assert words in ending.out, words


def test_users_images_are_timed(start: Callable, paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("softpoint.cli.dataloader_benchmark.shares", lambda *_: iter(()))
    ending = start("benchmark", "what=data", *TINY, f"data.images={paths[0].parent}")
    assert ending.code == 0 and "decode drawn" in ending.out


def test_networks_are_timed_without_a_word(start: Callable) -> None:
    ending = start("benchmark", *TINY)
    assert ending.code == 0, ending.err
    assert "paint" in ending.out and "cbam_spatial" in ending.out


@pytest.mark.usefixtures("unchecked")
def test_exports_are_timed_beside_torch(start: Callable) -> None:
    pytest.importorskip("onnxscript", reason='needs the extra: pip install -e ".[export]"')
    ending = start("benchmark", "what=exports", *TINY)
    assert ending.code == 0, ending.err
    for words in ("small, 50x40", "torch", "int8"):
        assert words in ending.out, words


def test_another_word_is_answered(start: Callable) -> None:
    ending = start("benchmark", "what=dta", *TINY)
    assert ending.code == 1 and "what='dta': did you mean 'data'?" in ending.err
