"""A device cache gives the samples that workers give, from images that stay on the device."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from albumentations import CLAHE

from helpers.data import labeled_data, same
from helpers.training import write_labels
from softpoint.data import LabeledData
from softpoint.data.augment import Augment
from softpoint.data.device_cache import reach

GEOMETRY = Augment(flip=0.5, rotate=20, scale=(0.8, 1.25), translate=0.05)


def opened(folder: Path, device_cache: bool, augment: Augment | None = None, **more) -> LabeledData:
    if not (folder / "labels.csv").exists():
        write_labels(folder, missing=[(0, 1), (3, 2)])
    settings = {"size": (64, 48), "batch_size": 3, "seed": 3, "val": 0.25, "test": 0.25} | more
    return labeled_data(folder / "labels.csv", augment=augment, device_cache=device_cache, **settings)


def batches(data: LabeledData, split: str, epoch: int = 0) -> list[dict]:
    loader = data._loader(split, shuffled=split == "train")
    loader.sampler.set_epoch(epoch)
    return [data.render(batch, split) for batch in loader]


def pairs(folder: Path, split: str, augment: Augment | None = None, **more):
    plain, kept = (batches(opened(folder, on_device, augment, **more), split, 2) for on_device in (False, True))
    assert len(plain) == len(kept) > 0
    return zip(plain, kept, strict=True)


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("mode", ["image", "instance"])
def test_without_augmentation_every_byte_is_the_same(tmp_path: Path, split: str, mode: str) -> None:
    for plain, kept in pairs(tmp_path, split, mode=mode):
        assert same(plain, kept)
        assert plain["image"].stride() == kept["image"].stride()


@pytest.mark.parametrize("mode", ["image", "instance"])
def test_points_move_as_a_worker_moves_them_and_pixels_with_them(tmp_path: Path, mode: str) -> None:
    for plain, kept in pairs(tmp_path, "train", GEOMETRY, mode=mode):
        for key in ("keypoints", "visibility", "matrix", "index"):
            assert torch.equal(plain[key], kept[key]), key
        # The images are white noise below their discs, which a second resampling smooths; averages stay.
        smooth = [torch.nn.functional.avg_pool2d(batch["image"].float(), 8) for batch in (plain, kept)]
        assert (smooth[0] - smooth[1]).abs().mean() < 2.0
        shifted = smooth[0].roll(1, dims=3)
        assert (smooth[0] - smooth[1]).abs().mean() < 0.2 * (smooth[0] - shifted).abs().mean()


def test_a_sample_does_not_depend_on_its_batch(tmp_path: Path) -> None:
    augment = Augment(rotate=20, brightness=0.3, blur=1.0, noise=0.05, dropout=0.3)
    one, many = (batches(opened(tmp_path, True, augment, batch_size=size), "train") for size in (1, 6))
    of_one = {int(batch["index"][0]): batch["image"][0] for batch in one}
    for batch in many:
        for index, image in zip(batch["index"].tolist(), batch["image"], strict=True):
            assert torch.equal(image, of_one[index])


def test_canvases_reach_as_far_as_the_augmentation() -> None:
    """An output shows nothing beyond the reach, and no reach is much larger than needed."""
    for scale, rotate in itertools.product([(1.0, 1.0), (0.5, 1.0)], [0, 45]):
        factor = reach(Augment(scale=scale, rotate=rotate), (64, 64))
        most = (np.cos(np.radians(rotate)) + np.sin(np.radians(rotate))) / scale[0]
        assert 0.93 * most <= factor <= most + 1e-9


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (Augment(pixel=[CLAHE()]), r"the transforms of augment.pixel run on the CPU; set augment.pixel=\[\]"),
        (Augment(blur=10), r"cannot blur a size of 32 by augment.blur=10"),
    ],
)
def test_an_augmentation_that_a_device_cannot_do_is_refused(tmp_path: Path, augment: Augment, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        opened(tmp_path, True, augment, size=32)


def test_more_images_than_fit_are_refused_undecoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("softpoint.data.device_cache.free_memory", lambda: 10_000)
    with pytest.raises(ValueError, match=r"needs 0.0 GiB, and 0.0 GiB of memory are free; .*data.cache=disk"):
        opened(tmp_path, True)


def test_test_images_which_workers_make_take_no_memory_of_the_device(tmp_path: Path) -> None:
    data = opened(tmp_path, True)
    assert data.device_caches.keys() == {"train", "val"} and "warp" not in data.dataset("test")[0]
