"""A device changes a batch as a worker changes each image, from the same draws."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from softpoint.data import geometry
from softpoint.data.augment import Augment, Color, Patch, apply_color
from softpoint.data.device_augment import NOISE, color_numbers, recolor_batch, warp_batch

SIZE = (48, 64)
ALL = Augment(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.2, gamma=0.5, blur=3.0, noise=0.1, dropout=0.5)


def canvases(count: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Smooth colored images, uint8 (B, H, W, 3)."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.uniform(0, 255, (count, 3, 7, 9)).astype(np.float32))
    fine = torch.nn.functional.interpolate(coarse, size, mode="bicubic", align_corners=True).clamp(0, 255)
    return fine.permute(0, 2, 3, 1).round().to(torch.uint8).numpy()


def recolored(images: np.ndarray, colors: list[Color], augment: Augment = ALL) -> np.ndarray:
    numbers = torch.from_numpy(np.stack([color_numbers(color, images.shape[1:3]) for color in colors]))
    noise = torch.randn(NOISE, generator=torch.Generator().manual_seed(0))
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    return recolor_batch(batch, numbers, augment, noise).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize(
    ("colors", "gray_levels"),
    [
        ([Color()] * 3, 0),
        ([Color(brightness=1.3), Color(contrast=0.6), Color(brightness=0.8, contrast=1.4)], 1),
        ([Color(saturation=0.3), Color(hue=0.1), Color(saturation=1.4, hue=-0.15, brightness=0.9)], 1),
        ([Color(gamma=0.7), Color(gamma=1.4), Color()], 0),
        ([Color(blur=0.4), Color(blur=1.7), Color(blur=3.0)], 1),
        ([Color(patches=(Patch(0.1, 0.2, 0.3, 0.25, (9, 200, 77)), Patch(0.9, 0.9, 0.5, 0.5, (0, 0, 0)))), Color()], 0),
    ],
)
def test_every_step_does_what_it_does_to_one_image(colors: list[Color], gray_levels: int) -> None:
    images = canvases(len(colors))
    expected = np.stack([apply_color(image, color) for image, color in zip(images, colors, strict=True)])
    np.testing.assert_allclose(recolored(images, colors), expected.astype(float), atol=gray_levels)


def test_steps_run_in_the_same_order() -> None:
    rng = np.random.default_rng(3)
    quiet = Augment(
        brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, gamma=0.4, blur=2.0, dropout=0.3, recolor_probability=1.0
    )
    colors = [quiet.draw_color(rng) for _ in range(6)]
    images = canvases(6)
    expected = np.stack([apply_color(image, color) for image, color in zip(images, colors, strict=True)])
    # One gray level of a step may grow by gain of the steps after it.
    np.testing.assert_allclose(recolored(images, colors, quiet), expected.astype(float), atol=4)


def test_noise_has_the_sigma_drawn_and_a_pattern_of_its_own() -> None:
    gray = np.full((3, 128, 128, 3), 128, np.uint8)
    colors = [Color(noise=0.02, seed=1), Color(noise=0.08, seed=99999), Color(seed=5)]
    noise = recolored(gray, colors) - 128
    # Rounding to whole gray levels adds a twelfth to the variance.
    assert noise[0].std() == pytest.approx(np.hypot(0.02 * 255, 12**-0.5), rel=0.02)
    assert noise[1].std() == pytest.approx(np.hypot(0.08 * 255, 12**-0.5), rel=0.02)
    assert not noise[2].any() and abs(noise[:2].mean()) < 0.3
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.02


def test_a_warp_is_the_worker_s_to_a_gray_level() -> None:
    canvas = canvases(1, (60, 80))[0]
    center = (39.5, 29.5)
    matrices = [
        np.eye(3),
        geometry.mirror(80),
        geometry.rotate(20, center) @ geometry.zoom(1.2, center),
        geometry.translate(3.25, -7.5) @ geometry.shear(6, -4, center),
        geometry.perspective((60, 80), np.array([[4.0, 2], [-3, 1], [2, -2], [0, 3]])),
    ]
    inverse = torch.from_numpy(np.linalg.inv(matrices)).float()
    batch = torch.from_numpy(np.stack([canvas] * len(matrices)))
    warped = warp_batch(batch, inverse, (60, 80)).permute(0, 2, 3, 1).numpy()
    expected = np.stack([geometry.warp(canvas, matrix, (60, 80)) for matrix in matrices])
    np.testing.assert_array_equal(warped[:2], expected[:2])
    np.testing.assert_allclose(warped, expected.astype(float), atol=1)


def test_numbers_hold_every_field_of_a_color() -> None:
    """Changing any field changes the numbers that the device reads."""
    plain = color_numbers(Color(), SIZE)
    other = Color(1.1, 1.1, 1.1, 0.1, 1.1, (Patch(0, 0, 0.5, 0.5, (1, 2, 3)),), 1.0, 0.1, 7)
    for field in dataclasses.fields(Color):
        changed = dataclasses.replace(Color(), **{field.name: getattr(other, field.name)})
        assert not np.array_equal(color_numbers(changed, SIZE), plain), field.name
