"""Augmentation moves pixels and points alike, is a pure function of its generator, and leaks nothing."""

from __future__ import annotations

import pickle
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from softpoint.data.augment import Augment
from softpoint.data.geometry import letterbox_matrix, mirror, transform, warp

CONFIGS = Path(__file__).parents[2] / "configs" / "augment"
COLOURS: dict[str, float] = {
    "brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.1, "gamma": 0.3,
    "blur": 1.5, "noise": 0.05, "compression": 0.5, "dropout": 0.3,
}  # fmt: skip


def shipped(name: str) -> Augment:
    numbers: dict[str, Any] = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    assert numbers.pop("_target_") == "softpoint.data.augment.Augment"
    return Augment(**numbers)


def picture(seed: int, size: tuple[int, int] = (64, 80)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def blob(size: tuple[int, int], point: np.ndarray, sigma: float) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]]
    grey = 250 * np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / (2 * sigma**2))
    return np.repeat(grey.round().astype(np.uint8)[..., None], 3, axis=2)


def centroid(image: np.ndarray, background: float = 0.0) -> np.ndarray:
    weight = np.clip(image.astype(float).sum(axis=2) - background, 0, None)
    y, x = np.mgrid[: weight.shape[0], : weight.shape[1]]
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


@pytest.mark.parametrize("name", ["light", "strong"])
@pytest.mark.parametrize("size", [(240, 320), (317, 211), (640, 481)])
def test_shipped_augmentations_move_pixels_and_points_alike(name: str, size: tuple[int, int]) -> None:
    augment, into, found = shipped(name), (192, 192), []
    letterbox = letterbox_matrix(size, into)
    sigma = 2 / letterbox[0, 0]
    for seed in range(150):
        rng = np.random.default_rng(seed)
        matrix = augment.matrix(rng, into, can_flip=True)[0] @ letterbox
        point = rng.uniform(4 * sigma, np.array(size[::-1]) - 4 * sigma)
        moved = transform(point, matrix)
        if moved.min() > 16 and moved.max() < 192 - 17:
            found.append(centroid(warp(blob(size, point, sigma), matrix, into)) - moved)
    error = np.array(found)
    assert len(error) > 60
    assert np.linalg.norm(error, axis=1).mean() <= 0.02
    assert np.abs(error.mean(axis=0)).max() <= 0.005


@pytest.mark.parametrize("name", sorted(set(COLOURS) - {"noise", "dropout"}))
def test_colours_leave_points_in_place(name: str) -> None:
    augment = Augment(recolor_probability=1.0, **{name: COLOURS[name]})
    image = blob((96, 96), np.array([40.3, 51.6]), 5.0)
    results = [augment.recolor(np.random.default_rng(seed), image) for seed in range(20)]
    error = [centroid(result, background=result.max()) for result in results]  # a third of the blob's height
    assert np.abs(np.mean(error, axis=0) - [40.3, 51.6]).max() <= 0.02


def test_numbers_of_zero_change_nothing() -> None:
    matrix, flipped = Augment().matrix(np.random.default_rng(0), (33, 64), can_flip=True)
    image = picture(0)
    assert np.array_equal(matrix, np.eye(3)) and not flipped
    assert Augment().recolor(np.random.default_rng(0), image) is image


def test_mirror_needs_known_pairs() -> None:
    augment = Augment(flip=1.0)
    assert np.array_equal(augment.matrix(np.random.default_rng(0), (8, 9), can_flip=True)[0], mirror(9))
    assert augment.matrix(np.random.default_rng(0), (8, 9), can_flip=True)[1]
    assert np.array_equal(augment.matrix(np.random.default_rng(0), (8, 9), can_flip=False)[0], np.eye(3))
    assert not augment.matrix(np.random.default_rng(0), (8, 9), can_flip=False)[1]


def test_chances_are_what_they_say() -> None:
    augment = Augment(flip=0.3, rotate=10, probability=0.6)
    drawn = [augment.matrix(np.random.default_rng(seed), (64, 64), can_flip=True) for seed in range(2000)]
    assert np.mean([flipped for _, flipped in drawn]) == pytest.approx(0.3, abs=0.04)
    assert np.mean([matrix[1, 0] != 0 for matrix, _ in drawn]) == pytest.approx(0.6, abs=0.04)
    angles = np.degrees([np.arcsin(matrix[1, 0]) for matrix, _ in drawn])
    assert 9 < np.abs(angles).max() <= 10 and abs(angles.mean()) < 0.5


def test_one_setting_does_not_reshuffle_another() -> None:
    plain, more = Augment(rotate=20), Augment(rotate=20, flip=0.5, translate=0.1, scale=(0.9, 1.1))
    for seed in range(5):
        one, two = np.random.default_rng(seed), np.random.default_rng(seed)
        first = plain.matrix(one, (64, 64), can_flip=False)[0]
        second = more.matrix(two, (64, 64), can_flip=False)[0]
        assert np.arctan2(*first[[1, 0], 0]) == pytest.approx(np.arctan2(*second[[1, 0], 0]))
        assert one.random() == two.random()


@pytest.mark.parametrize("name", COLOURS)
def test_recolor_is_pure(name: str) -> None:
    augment = Augment(recolor_probability=1.0, **{name: COLOURS[name]})
    first, second = picture(1), picture(2, (48, 48))
    alone = [augment.recolor(np.random.default_rng(seed), first) for seed in range(4)]
    for seed in (3, 1, 0, 2):  # another order, other images in between
        augment.recolor(np.random.default_rng(99), second)
        assert np.array_equal(augment.recolor(np.random.default_rng(seed), first), alone[seed])
    assert np.array_equal(first, picture(1))
    assert any(not np.array_equal(result, alone[0]) for result in alone[1:])
    assert all(result.dtype == np.uint8 and result.shape == first.shape for result in alone)


def test_recolor_touches_no_global_generator() -> None:
    augment = Augment(recolor_probability=1.0, **COLOURS)
    augment.recolor(np.random.default_rng(0), picture(0))

    def draws() -> list[float]:
        return [random.random(), np.random.rand(), cv2.randu(np.zeros(1), 0, 1)[0]]  # noqa: NPY002

    def seed() -> None:
        random.seed(5), np.random.seed(5), cv2.setRNGSeed(5)  # noqa: NPY002

    seed()
    expected = draws()
    seed()
    changed = augment.recolor(np.random.default_rng(1), picture(0))
    assert draws() == expected
    seed()
    random.random(), np.random.rand(), cv2.randu(np.zeros(1), 0, 1)  # noqa: NPY002
    assert np.array_equal(augment.recolor(np.random.default_rng(1), picture(0)), changed)


def test_steps_are_drawn_independently() -> None:
    """One seed for all transforms, as the library has it, would apply all of them or none."""
    flat = np.full((32, 32, 3), (120, 90, 60), np.uint8)
    augment = Augment(gamma=1.0, dropout=0.2)
    results = [augment.recolor(np.random.default_rng(seed), flat) for seed in range(400)]
    middles = [np.median(result, axis=(0, 1)) for result in results]
    covered = np.array([(result != middle).any() for result, middle in zip(results, middles, strict=True)])
    brighter = np.array([(middle != flat[0, 0]).any() for middle in middles])
    assert (covered & ~brighter).mean() > 0.15
    assert (~covered & brighter).mean() > 0.15


def test_noise_has_the_stated_spread() -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    augment = Augment(noise=0.1, recolor_probability=1.0)
    noisy = [augment.recolor(np.random.default_rng(seed), grey).astype(float) - 128 for seed in range(300)]
    spread = np.array([image.std() for image in noisy])
    assert spread.max() == pytest.approx(25.5, abs=1) and spread.mean() == pytest.approx(12.75, abs=1)
    assert abs(np.mean(noisy)) < 0.05


def test_pickles_before_and_after_use() -> None:
    augment, image = Augment(recolor_probability=1.0, **COLOURS), picture(3)
    fresh = pickle.loads(pickle.dumps(augment))
    used = augment.recolor(np.random.default_rng(7), image)
    again = pickle.loads(pickle.dumps(augment))
    for copy in (fresh, again):
        assert np.array_equal(copy.recolor(np.random.default_rng(7), image), used)


@pytest.mark.parametrize("name", ["none", "light", "strong"])
def test_shipped_numbers_are_in_range_and_differ(name: str) -> None:
    augment = shipped(name)
    matrix, _ = augment.matrix(np.random.default_rng(0), (64, 64), can_flip=True)
    assert np.array_equal(matrix, np.eye(3)) == (name == "none")


def test_without_colours_albumentations_is_never_imported() -> None:
    code = (
        "import sys, numpy as np; from softpoint.data.augment import Augment\n"
        "augment = Augment(rotate=20, noise=0.1); rng = np.random.default_rng(0)\n"
        "augment.matrix(rng, (9, 9), False); augment.recolor(rng, np.zeros((9, 9, 3), np.uint8))\n"
        "assert 'albumentations' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"rotate": -5}, "augment.rotate=-5 is not a number from 0 to 180; 0 turns it off"),
        ({"flip": 1.5}, "augment.flip=1.5"),
        ({"brightness": float("nan")}, "augment.brightness=nan"),
        ({"noise": "much"}, "augment.noise='much'"),
        ({"blur": True}, "augment.blur=True"),
        ({"scale": (1.2, 0.8)}, "augment.scale=.1.2, 0.8. is not a smallest and a largest factor"),
        ({"scale": 0.8}, "augment.scale=0.8"),
        ({"scale": [0, 1]}, "augment.scale=.0, 1."),
        ({"scale": "ab"}, "augment.scale='ab'"),
    ],
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Augment(**wrong)
