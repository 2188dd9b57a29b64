"""Augmentation moves pixels and points alike, is a pure function of its generator, and leaks nothing."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from statistics import NormalDist
from typing import Any

import cv2
import numpy as np
import pytest

from helpers.blobs import blob, centroid
from softpoint.data.augment import Augment, Color, Patch, apply_color, color_matrix, gamma_table
from softpoint.data.geometry import mirror

CONFIGS = Path(__file__).parents[2] / "configs" / "augment"
COLORS: dict[str, float] = {
    "brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.1, "gamma": 0.3,
    "blur": 1.5, "noise": 0.05, "dropout": 0.3,
}  # fmt: skip


def canvas(seed: int, size: tuple[int, int] = (64, 80)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", sorted(set(COLORS) - {"dropout"}))
@pytest.mark.parametrize("size", [(96, 96), (81, 75)])
def test_colors_leave_points_in_place(name: str, size: tuple[int, int]) -> None:
    point = np.array([size[1] * 0.42 + 0.3, size[0] * 0.53 + 0.6])
    augment = Augment(recolor_probability=1.0, **{name: COLORS[name]})
    image = blob(size, point, 5.0)
    results = [augment.recolor(np.random.default_rng(seed), image) for seed in range(40)]
    error = [centroid(result, background=image.max()) for result in results]  # a third of the blob's height
    assert np.abs(np.mean(error, axis=0) - point).max() <= 0.02


def test_numbers_of_zero_change_nothing() -> None:
    matrix, flipped = Augment().matrix(np.random.default_rng(0), (33, 64), can_flip=True)
    image = canvas(0)
    assert np.array_equal(matrix, np.eye(3)) and not flipped
    assert Augment().recolor(np.random.default_rng(0), image) is image


def test_mirror_needs_known_pairs() -> None:
    for can_flip, expected in ((True, mirror(9)), (False, np.eye(3))):
        matrix, flipped = Augment(flip=1.0).matrix(np.random.default_rng(0), (8, 9), can_flip)
        assert np.array_equal(matrix, expected) and flipped == can_flip


def test_steps_have_the_set_probabilities() -> None:
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


@pytest.mark.parametrize("name", COLORS)
def test_recolor_is_pure(name: str) -> None:
    augment = Augment(recolor_probability=1.0, **{name: COLORS[name]})
    first, second = canvas(1), canvas(2, (48, 48))
    alone = [augment.recolor(np.random.default_rng(seed), first) for seed in range(4)]
    for seed in (3, 1, 0, 2):  # another order, other images in between
        augment.recolor(np.random.default_rng(99), second)
        assert np.array_equal(augment.recolor(np.random.default_rng(seed), first), alone[seed])
    assert np.array_equal(first, canvas(1))
    assert any(not np.array_equal(result, alone[0]) for result in alone[1:])
    assert all(result.dtype == np.uint8 and result.shape == first.shape for result in alone)


def test_recolor_touches_no_global_generator() -> None:
    augment = Augment(recolor_probability=1.0, **COLORS)
    augment.recolor(np.random.default_rng(0), canvas(0))

    def draws() -> list[float]:
        return [random.random(), np.random.rand(), cv2.randu(np.zeros(1), 0, 1)[0]]  # noqa: NPY002

    def seed() -> None:
        random.seed(5), np.random.seed(5), cv2.setRNGSeed(5)  # noqa: NPY002

    seed()
    expected = draws()
    seed()
    changed = augment.recolor(np.random.default_rng(1), canvas(0))
    assert draws() == expected
    seed()
    random.random(), np.random.rand(), cv2.randu(np.zeros(1), 0, 1)  # noqa: NPY002
    assert np.array_equal(augment.recolor(np.random.default_rng(1), canvas(0)), changed)


ALL = Augment(**COLORS)
DRAWN = [ALL.draw_color(np.random.default_rng(seed)) for seed in range(2000)]
# The value of a step that is off, and the range where it is on.
RANGES: dict[str, tuple[float, float, float]] = {
    "brightness": (1, 0.7, 1.3), "contrast": (1, 0.7, 1.3), "saturation": (1, 0.7, 1.3), "hue": (0, -0.1, 0.1),
    "gamma": (1, 1 / 1.3, 1.3), "blur": (0, 0.15, 1.5), "noise": (0, 0, 0.05),
}  # fmt: skip


@pytest.mark.parametrize("name", RANGES)
def test_strengths_fill_their_range(name: str) -> None:
    off, low, high = RANGES[name]
    values = np.array([getattr(color, name) for color in DRAWN])
    on = values[values != off]
    assert len(on) / len(values) == pytest.approx(0.5, abs=0.05)
    assert low - 1e-9 <= on.min() < low + 0.02 * (high - low) and high - 0.02 * (high - low) < on.max() <= high + 1e-9
    middle = np.sqrt(low * high) if name == "gamma" else (low + high) / 2
    assert np.median(on) == pytest.approx(middle, abs=0.06 * (high - low))


def test_patches_are_one_to_four_and_inside() -> None:
    drawn = [color.patches for color in DRAWN]
    counts = np.bincount([len(patches) for patches in drawn], minlength=5) / len(drawn)
    assert counts == pytest.approx([0.5, 0.125, 0.125, 0.125, 0.125], abs=0.03)
    patches = [patch for of_one in drawn for patch in of_one]
    sides = np.array([(patch.width, patch.height) for patch in patches])
    assert 0.075 <= sides.min() < 0.08 and 0.29 < sides.max() <= 0.3
    assert np.mean([patch.color for patch in patches], axis=0) == pytest.approx([127.5] * 3, abs=6)
    for size in ((1, 1), (7, 33), (64, 48)):
        boxes = np.array([patch.box(size) for patch in patches])
        assert boxes.min() >= 0 and (boxes[:, 2:] <= size[::-1]).all() and (boxes[:, :2] < boxes[:, 2:]).all()
        if size == (64, 48):  # they reach every border
            assert boxes.min(axis=0)[:2].tolist() == [0, 0] and boxes.max(axis=0)[2:].tolist() == [48, 64]


def test_steps_are_drawn_independently() -> None:
    on = np.array([[getattr(color, name) != RANGES[name][0] for name in RANGES] for color in DRAWN], dtype=float)
    on = np.column_stack([on, [len(color.patches) > 0 for color in DRAWN]])
    assert np.abs(np.corrcoef(on.T) - np.eye(8)).max() < 0.08
    assert len({color.seed for color in DRAWN}) == len(DRAWN)


@pytest.mark.parametrize("name", COLORS)
def test_one_color_does_not_reshuffle_another(name: str) -> None:
    rng, other = np.random.default_rng(5), np.random.default_rng(5)
    alone = Augment(recolor_probability=1.0, **{name: COLORS[name]}).draw_color(rng)
    together = Augment(recolor_probability=1.0, **COLORS).draw_color(other)
    key = {"dropout": "patches"}.get(name, name)
    assert getattr(alone, key) == getattr(together, key) != getattr(Color(), key)
    assert rng.random() == other.random()


def test_brightness_and_contrast_in_closed_form() -> None:
    image = np.full((2, 2, 3), 40, np.uint8)
    image[0] = 120  # mean 80
    assert np.unique(apply_color(image, Color(brightness=1.25))).tolist() == [50, 150]
    assert np.unique(apply_color(image, Color(contrast=0.5))).tolist() == [60, 100]
    assert np.unique(apply_color(image, Color(brightness=1.25, contrast=1.5))).tolist() == [25, 175]
    assert np.unique(apply_color(image, Color(brightness=3))).tolist() == [120, 255]


def test_saturation_equals_that_of_albumentations() -> None:
    from albumentations.augmentations.pixel.functional import adjust_saturation_torchvision

    for factor in (0.0, 0.5, 1.7):
        result = apply_color(canvas(3), Color(saturation=factor)).astype(int)
        assert np.abs(result - adjust_saturation_torchvision(canvas(3), factor)).max() <= 1


def test_hue_turns_the_circle_and_keeps_brightness() -> None:
    luma = np.array([0.299, 0.587, 0.114])
    for turn in (-0.3, 0.07, 0.5):
        matrix = color_matrix(Color(hue=turn), 0.0)[:, :3]
        assert luma @ matrix == pytest.approx(luma, abs=1e-6)
        assert matrix.sum(axis=1) == pytest.approx(np.ones(3), abs=1e-6)  # grays stay
        assert color_matrix(Color(hue=-turn), 0.0)[:, :3] @ matrix == pytest.approx(np.eye(3), abs=1e-5)
    assert color_matrix(Color(hue=1.0), 0.0)[:, :3] == pytest.approx(np.eye(3), abs=1e-6)
    third = [color_matrix(Color(hue=step / 3), 0.0)[:, :3] @ [200, 100, 100] for step in range(3)]
    assert [int(color.argmax()) for color in third] == [0, 1, 2]  # red, green, blue
    yellower = apply_color(np.full((1, 1, 3), (200, 50, 50), np.uint8), Color(hue=0.05))[0, 0]
    assert yellower[1] > 50 > yellower[2]


def test_gamma_in_closed_form() -> None:
    levels = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    for gamma in (0.5, 1.0, 2.2):
        expected = np.rint(255 * (np.arange(256) / 255) ** gamma)
        assert np.array_equal(gamma_table(gamma), expected)
        assert np.array_equal(apply_color(levels, Color(gamma=gamma))[0, :, 1], expected)


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.5])
def test_blur_spreads_a_point_by_sigma(sigma: float) -> None:
    image = np.zeros((41, 41, 3), np.uint8)
    image[18:23, 17:24] = 250
    blurred = apply_color(image, Color(blur=sigma)).astype(float)[..., 0]
    y, x = np.mgrid[:41, :41] - np.array(20)
    variances = [(blurred * axis**2).sum() / blurred.sum() for axis in (x, y)]
    assert variances == pytest.approx([4 + sigma**2, 2 + sigma**2], rel=0.03)
    assert blurred.sum() == pytest.approx(image[..., 0].astype(float).sum(), rel=0.01)
    assert (apply_color(np.full((9, 7, 3), 200, np.uint8), Color(blur=sigma)) == 200).all()  # to the border


@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.5])
def test_noise_has_the_stated_spread(sigma: float) -> None:
    gray = np.full((150, 150, 3), 128, np.uint8)
    noise = apply_color(gray, Color(noise=sigma, seed=1)).astype(float) - 128
    if sigma < 0.2:  # beyond, black and white cut it off
        assert noise.std() == pytest.approx(255 * sigma, rel=0.02)
    assert abs(noise.mean()) < 4 * noise.std() / 150 / np.sqrt(3)
    assert ((noise == -128).mean() + (noise == 127).mean()) == pytest.approx(
        2 * NormalDist().cdf(-128 / (255 * sigma)), abs=0.02
    )
    for other in (noise[1:], noise[:, 1:], noise[..., 1:]):  # neighbors and channels are independent
        same = noise[tuple(slice(0, length) for length in other.shape)]
        assert abs(np.corrcoef(same.ravel(), other.ravel())[0, 1]) < 0.02
    again = apply_color(gray, Color(noise=sigma, seed=2)).astype(float) - 128
    assert abs(np.corrcoef(noise.ravel(), again.ravel())[0, 1]) < 0.02


def test_noise_is_added_and_clipped() -> None:
    noise = apply_color(np.full((40, 40, 3), 128, np.uint8), Color(noise=0.1, seed=7)).astype(int) - 128
    for level in (0, 30, 255):
        noisy = apply_color(np.full((40, 40, 3), level, np.uint8), Color(noise=0.1, seed=7))
        assert np.array_equal(noisy, (level + noise).clip(0, 255))


def test_patches_fill_their_boxes_and_nothing_else() -> None:
    image = canvas(0, (20, 30))
    patches = (Patch(0.0, 0.0, 0.1, 0.5, (1, 2, 3)), Patch(0.999, 0.999, 0.2, 0.2, (9, 8, 7)))
    hidden = apply_color(image, Color(patches=patches))
    assert (hidden[:10, :3] == [1, 2, 3]).all() and (hidden[16:, 24:] == [9, 8, 7]).all()
    assert (hidden != image).any(axis=2).sum() <= 10 * 3 + 4 * 6
    assert np.array_equal(image, canvas(0, (20, 30)))


def test_steps_follow_one_another() -> None:
    image, color = (canvas(4), Color(1.2, 0.8, 0.7, 0.05, 1.3, (Patch(0.2, 0.3, 0.2, 0.2, (9, 9, 9)),), 1.0, 0.05, 3))
    expected = image
    steps = (
        Color(1.2, 0.8, 0.7, 0.05), Color(gamma=1.3), Color(patches=color.patches), Color(blur=1.0),
        Color(noise=0.05, seed=3),
    )  # fmt: skip
    for step in steps:
        expected = apply_color(expected, step)
    assert np.array_equal(apply_color(image, color), expected)


def test_without_colors_albumentations_is_never_imported() -> None:
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


def test_an_open_flip_is_none_until_it_is_decided() -> None:
    augment, size = Augment(flip="auto"), (32, 32)
    flips = lambda: [augment.matrix(np.random.default_rng(seed), size, True)[1] for seed in range(40)]  # noqa: E731
    assert not any(flips())
    augment.decide_flip(True)
    assert augment.flip == 0.5 and flips() == [
        Augment(flip=0.5).matrix(np.random.default_rng(seed), size, True)[1] for seed in range(40)
    ]
    augment.decide_flip(False)
    assert not any(flips())
    given = Augment(flip=0.3)
    given.decide_flip(True)
    assert given.flip == 0.3
    with pytest.raises(ValueError, match=r"augment\.flip='always' is not a number from 0 to 1; 0 turns it off, and"):
        Augment(flip="always")
