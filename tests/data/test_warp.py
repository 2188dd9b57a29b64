"""The warp reads only the visible part of an image, and rounding shifts nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.blobs import assert_exact, blob, centroid
from softpoint.data import geometry
from softpoint.data.geometry import letterbox_matrix, resize_matrix, rotate, translate, warp, zoom


def canvas(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def whole(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int], border: int) -> np.ndarray:
    """The warp of an image of which nothing is left out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(geometry, "_visible_part", lambda image, *_: (image, np.eye(3)))
        return warp(image, matrix, size, border)


sides = st.tuples(st.integers(3, 200), st.integers(3, 200))


@settings(max_examples=200, deadline=None)
@given(sides, st.tuples(st.integers(3, 80), st.integers(3, 80)), st.integers(0, 10**6))
def test_parts_left_out_are_not_visible(size: tuple[int, int], into: tuple[int, int], seed: int) -> None:
    rng, center = np.random.default_rng(seed), (into[1] / 2, into[0] / 2)
    matrix = zoom(np.exp(rng.uniform(-2, 2)), center) @ letterbox_matrix(size, into)
    matrix = matrix @ translate(*rng.uniform(-150, 150, 2) * rng.integers(0, 2))
    if rng.random() < 0.5:
        matrix = rotate(rng.uniform(-180, 180), center) @ matrix
    if rng.random() < 0.3:
        matrix = geometry.perspective(into, rng.uniform(-0.24, 0.24, (4, 2)) * into[::-1]) @ matrix
    image, border = canvas(size, seed), int(77 * rng.integers(0, 2))
    error = np.abs(warp(image, matrix, into, border).astype(int) - whole(image, matrix, into, border))
    # Smaller coordinates are rounded less: a value in a thousand or so comes out one gray level apart.
    assert error.max() <= 1 and (error > 0).mean() < 0.05


def test_a_small_crop_reads_a_small_part() -> None:
    matrix = resize_matrix(0.4, 0.4) @ translate(-600, -300)
    part, moved = geometry._visible_part(canvas((1080, 1920)), matrix, (100, 100), (2, 2))
    assert part.size < 0.05 * 1080 * 1920 * 3
    assert np.array_equal(moved[:2, 2], moved[:2, 2] // 2 * 2)  # whole blocks


def test_behind_the_horizon_nothing_is_left_out() -> None:
    tilted = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0.02, 1]])
    part, moved = geometry._visible_part(canvas((60, 60)), tilted, (60, 60), (1, 1))
    assert part.shape == (60, 60, 3) and np.array_equal(moved, np.eye(3))


@pytest.mark.parametrize("shift", [(500.0, 0.0), (0.0, -500.0), (1e9, 1e9)])
def test_outside_of_the_image_is_border(shift: tuple[float, float]) -> None:
    for scale in (0.2, 1.0, 3.0):
        moved = warp(canvas((50, 60)), translate(*shift) @ resize_matrix(scale, scale), (40, 40), border=7)
        assert (moved == 7).all()


@pytest.mark.parametrize("blocks", [2, 3, 4, 5, 6, 8])
def test_blocks_are_means(blocks: int) -> None:
    image = canvas((6 * blocks, 7 * blocks))
    means = image.reshape(6, blocks, 7, blocks, 3).mean(axis=(1, 3))
    shrunk = warp(image, resize_matrix(1 / blocks, 1 / blocks), (6, 7))
    assert np.abs(shrunk - means).max() <= 1.5  # half a level each halving


@pytest.mark.parametrize(
    ("size", "into"),
    [
        ((323, 481), (96, 96)),  # 5.0104 to one: hardly any rest after blocks of 5
        ((193, 150), (96, 96)),  # 2.0104
        ((289, 290), (96, 96)),  # 3.0208
        ((385, 300), (128, 128)),  # 3.0078
        ((257, 257), (128, 128)),  # 2.0078
        ((515, 400), (128, 128)),  # 4.0234
        ((257, 256), (256, 256)),  # 1.0039
    ],
)
def test_rounding_shifts_nothing(size: tuple[int, int], into: tuple[int, int]) -> None:
    rng, matrix, errors = np.random.default_rng(0), letterbox_matrix(size, into), []
    sigma = 3 / matrix[0, 0]
    for _ in range(40):
        point = rng.uniform(4 * sigma, np.array(size[::-1]) - 1 - 4 * sigma)
        warped = warp(blob(size, point, sigma)[..., :1], matrix, into)
        errors.append(centroid(warped) - geometry.transform(point, matrix))
    assert_exact(errors)
