"""The promise of the whole pipeline: the points of a sample are where its pixels are.

A blob is painted at a known place of an image; the data set returns an image, whose centroid is measured, and a
keypoint. Their mean distance is at most 0.02 px, and their mean difference along either axis, a shift that all samples
share, at most 0.005 px.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from helpers.blobs import assert_exact, blob, centroid
from softpoint.data.augment import Augment
from softpoint.data.dataset import Draw, KeypointDataset
from softpoint.data.device_cache import DeviceCache
from softpoint.data.sources import Record
from softpoint.labels.skeleton import Skeleton

SINGLE: dict[str, dict[str, Any]] = {
    "nothing": {},
    "flip": {"flip": 1.0},
    "rotate": {"rotate": 180},
    "scale": {"scale": (0.6, 1.6)},
    "translate": {"translate": 0.1},
    "shear": {"shear": 15},
    "perspective": {"perspective": 0.03},
    "blur": {"blur": 2.0, "recolor_probability": 1.0},
    "brightness": {"brightness": 0.4, "recolor_probability": 1.0},
    "everything": {"flip": 0.5, "rotate": 45, "scale": (0.7, 1.4), "translate": 0.05, "shear": 8, "perspective": 0.02,
                   "blur": 1.5, "brightness": 0.2},
}  # fmt: skip

# Images and inputs (height, width), odd and even, shrunk, enlarged and as they are.
SIZES = [
    ((480, 640), (256, 256)),
    ((243, 331), (128, 160)),
    ((97, 131), (256, 193)),
    ((128, 128), (128, 128)),
    ((1080, 1920), (224, 320)),
]


class Blobs:
    """Images (H, W) with one round blob in their middle part each, whose center is the keypoint."""

    skeleton = Skeleton(("left", "right"), (("left", "right"),))

    def __init__(self, size: tuple[int, int], sigma: float, count: int, crop: bool = False) -> None:
        self.size, self.sigma, self.count, self.crop = size, sigma, count, crop

    def __len__(self) -> int:
        return self.count

    def describe(self, index: int) -> Record:
        height, width = self.size
        rng = np.random.default_rng(index)
        point = rng.uniform([0.4 * width, 0.4 * height], [0.6 * width, 0.6 * height])
        reach = rng.uniform(18, 24, 2) * self.sigma
        middle = point + rng.uniform(-0.3, 0.3, 2) * self.sigma
        box = np.concatenate([middle - reach, middle + reach]) if self.crop else None
        return Record(np.empty((0, 0, 3)), self.size, np.stack([point, point]), np.array([2, 2]), 1.0, "", box)

    def load(self, epoch: int, index: int) -> Record:
        record = self.describe(index)
        return record._replace(image=blob(self.size, record.keypoints[0], self.sigma))


def prove(errors: list[np.ndarray]) -> None:
    # Of a mean over n samples that scatter by s, s / sqrt(n) is chance.
    chance = 3 * np.std(errors, axis=0) / np.sqrt(len(errors))
    assert_exact(errors, chance)
    assert chance.max() < 0.005  # the samples are enough to prove it


def prove_samples(dataset: KeypointDataset) -> None:
    samples = [dataset[Draw(1, index)] for index in range(len(dataset))]
    prove([centroid(sample["image"].numpy()) - sample["keypoints"][0].numpy() for sample in samples])


def blobs(size: tuple[int, int], into: tuple[int, int], count: int, crop: bool = False) -> Blobs:
    """Blobs of two to three pixels in the input: perspective truly moves the centroid of a wide one."""
    scale = min(into[0] / size[0], into[1] / size[1])
    return Blobs(size, 3.0 if crop else 2.5 / min(scale, 1.0), count, crop)


@pytest.mark.parametrize("change", SINGLE)
@pytest.mark.parametrize(("size", "into"), SIZES[:4])
def test_pixels_and_points_go_to_the_same_place(size: tuple[int, int], into: tuple[int, int], change: str) -> None:
    prove_samples(KeypointDataset(blobs(size, into, 80), into, (0,), Augment(**SINGLE[change])))


@pytest.mark.parametrize(("size", "into"), SIZES)
def test_crops(size: tuple[int, int], into: tuple[int, int]) -> None:
    augment = Augment(rotate=20, scale=(0.8, 1.2))
    prove_samples(KeypointDataset(blobs(size, into, 60, crop=True), into, (0,), augment, padding=1.25))


@pytest.mark.parametrize("crop", [False, True])
def test_batches_changed_on_their_device(crop: bool) -> None:
    size, into, augment = (243, 331), (128, 160), Augment(**SINGLE["everything"])
    source = blobs(size, into, 80, crop)
    resident = DeviceCache(source, into, augment, 1.25)
    dataset = KeypointDataset(source, into, (0,), augment, 1.25, resident.matrices)
    errors = []
    for index in range(len(source)):
        sample = dataset[Draw(1, index)]
        batch = {"warp": sample["warp"][None], "color": sample["color"][None], "index": torch.tensor([index])}
        image = resident.render(batch)["image"][0].permute(1, 2, 0).numpy()
        errors.append(centroid(image) - sample["keypoints"][0].numpy())
    prove(errors)
