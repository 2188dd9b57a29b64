"""Pixels and points go to the same place: blob centroids against transformed keypoints; nothing visible is left out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.blobs import assert_exact, blob, centroid
from softpoint.data import geometry
from softpoint.data.geometry import boxes_after, transform, warp
from softpoint.functional.coordinates import image_to_grid

SIZE = (121, 150)  # odd and even; other sizes where the test is about sizes
CENTER = (74.5, 60.0)


def prove(
    draw: Callable[[np.random.Generator], np.ndarray],
    size: tuple[int, int],
    into: tuple[int, int],
    *,
    sigma: float = 4.0,
    dtype: type = np.uint8,
    trials: int = 60,
) -> None:
    """Centroids of blobs that stay inside both frames are where the matrices take their centers."""
    rng, errors = np.random.default_rng(0), []
    reach = 4 * sigma
    while len(errors) < trials:
        matrix = draw(rng)
        point = rng.uniform([reach, reach], [size[1] - 1 - reach, size[0] - 1 - reach])
        around = point + reach * np.array([[-1, -1], [-1, 1], [1, -1], [1, 1], [0, 0]])
        if (moved := transform(around, matrix)).min() >= 1 and (moved <= np.array(into)[::-1] - 2).all():
            errors.append(centroid(warp(blob(size, point, sigma, dtype), matrix, into)) - moved[-1])
    assert_exact(errors)


STEPS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "translate": lambda rng: geometry.translate(*rng.uniform(-9, 9, 2)),
    "rotate": lambda rng: geometry.rotate(rng.uniform(-180, 180), CENTER),
    "zoom": lambda rng: geometry.zoom(rng.uniform(0.55, 1.6), CENTER),
    "shear": lambda rng: geometry.shear(*rng.uniform(-15, 15, 2), CENTER),
    "mirror": lambda rng: geometry.mirror(SIZE[1]),
}


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("step", STEPS)
def test_each_step_moves_pixels_and_points_alike(step: str, dtype: type) -> None:
    prove(STEPS[step], SIZE, SIZE, dtype=dtype)


def bend(rng: np.random.Generator, most: float) -> np.ndarray:
    return geometry.perspective(SIZE, rng.uniform(-most, most, (4, 2)) * [SIZE[1], SIZE[0]])


def test_perspective_moves_pixels_and_points_alike() -> None:
    # A small blob: seen in perspective, the middle of a large one is not where its middle goes.
    prove(lambda rng: bend(rng, 0.05), SIZE, SIZE, sigma=1.5, trials=200)


@pytest.mark.parametrize(
    ("size", "into"),
    [
        ((120, 160), (64, 64)),  # shrink by 2.5, even
        ((121, 161), (63, 65)),  # shrink by 2.5, odd: blocks of 2 do not divide it
        ((323, 481), (96, 96)),  # shrink by 5.01
        ((320, 480), (96, 97)),  # shrink by 4.95
        ((300, 474), (64, 64)),  # shrink by 7.4
        ((96, 97), (97, 96)),  # nearly the same size
        ((90, 61), (256, 255)),  # enlarge
        ((128, 128), (128, 128)),
        # Hardly any rest after whole blocks, where rounding to gray levels would shift.
        ((193, 150), (96, 96)),
        ((289, 290), (96, 96)),
        ((257, 257), (128, 128)),
        ((515, 400), (128, 128)),
        ((257, 256), (256, 256)),
    ],
)
def test_letterbox_is_exact_at_every_scale(size: tuple[int, int], into: tuple[int, int]) -> None:
    matrix = geometry.letterbox_matrix(size, into)
    sigma = max(3.0, 3 / matrix[0, 0])
    for dtype in (np.float32, np.uint8):
        prove(lambda rng: matrix, size, into, sigma=sigma, dtype=dtype, trials=40)


def test_identity_and_whole_pixel_moves_copy_the_bytes() -> None:
    image = np.random.default_rng(0).integers(0, 256, (37, 41, 3), dtype=np.uint8)
    same = warp(image, np.eye(3), (37, 41))
    assert np.array_equal(same, image) and not np.shares_memory(same, image)
    assert np.array_equal(warp(image, geometry.mirror(41), (37, 41)), image[:, ::-1])
    boxed = warp(image, geometry.letterbox_matrix((37, 41), (41, 41)), (41, 41), border=7)
    assert np.array_equal(boxed[2:39], image) and (boxed[:2] == 7).all() and (boxed[39:] == 7).all()


@pytest.mark.parametrize("shape", [(9, 8), (9, 8, 1), (9, 8, 3), (9, 8, 4)])
@pytest.mark.parametrize("scale", [0.3, 1.4])
def test_every_number_of_channels_keeps_its_shape(shape: tuple[int, ...], scale: float) -> None:
    warped = warp(np.zeros(shape, np.uint8), geometry.resize_matrix(scale, scale), (5, 6))
    assert warped.shape == (5, 6, *shape[2:])


def test_letterbox_keeps_the_image_inside_and_centered() -> None:
    for height in range(1, 200, 3):
        for into in ((32, 32), (63, 100), (256, 192)):
            size = (height, height + 3)
            matrix = geometry.letterbox_matrix(size, into)
            edges = np.array([[image_to_grid(0.0, np.inf)] * 2, [size[1] - 0.5, size[0] - 0.5]])
            low, high = transform(edges, matrix) + 0.5
            room = np.array(into)[::-1]
            assert low.min() >= -1e-9 and (high <= room + 1e-9).all()
            assert np.abs(low - (room - high)).max() <= 1 + 1e-9


def test_resize_agrees_with_the_one_formula() -> None:
    points = np.array([[0.0, 0.0], [13.25, 7.5]])
    assert transform(points, geometry.resize_matrix(1 / 8, 1 / 8)) == pytest.approx(image_to_grid(points, 8))


def test_transform_keeps_nan_and_leading_dimensions() -> None:
    points = np.full((4, 3, 2), np.nan)
    points[0, 0] = (1, 2)
    moved = transform(points, geometry.perspective((10, 10), np.eye(4)[:, :2]))
    assert moved.shape == (4, 3, 2) and np.isfinite(moved[0, 0]).all() and np.isnan(moved).sum() == 22


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
    matrix = geometry.zoom(np.exp(rng.uniform(-2, 2)), center) @ geometry.letterbox_matrix(size, into)
    matrix = matrix @ geometry.translate(*rng.uniform(-150, 150, 2) * rng.integers(0, 2))
    if rng.random() < 0.5:
        matrix = geometry.rotate(rng.uniform(-180, 180), center) @ matrix
    if rng.random() < 0.3:
        matrix = geometry.perspective(into, rng.uniform(-0.24, 0.24, (4, 2)) * into[::-1]) @ matrix
    image, border = canvas(size, seed), int(77 * rng.integers(0, 2))
    error = np.abs(warp(image, matrix, into, border).astype(int) - whole(image, matrix, into, border))
    # Smaller coordinates are rounded less: a value in a thousand or so comes out one gray level apart.
    assert error.max() <= 1 and (error > 0).mean() < 0.05


def test_behind_the_horizon_nothing_is_left_out() -> None:
    tilted, image = np.array([[1.0, 0, 0], [0, 1, 0], [0, -0.02, 1]]), canvas((60, 60))
    assert np.array_equal(warp(image, tilted, (60, 60)), whole(image, tilted, (60, 60), 0))


@pytest.mark.parametrize("shift", [(500.0, 0.0), (0.0, -500.0), (1e9, 1e9)])
def test_outside_of_the_image_is_border(shift: tuple[float, float]) -> None:
    for scale in (0.2, 1.0, 3.0):
        matrix = geometry.translate(*shift) @ geometry.resize_matrix(scale, scale)
        assert (warp(canvas((50, 60)), matrix, (40, 40), border=7) == 7).all()


@pytest.mark.parametrize("blocks", [2, 3, 4, 5, 6, 8])
def test_blocks_are_means(blocks: int) -> None:
    image = canvas((6 * blocks, 7 * blocks))
    means = image.reshape(6, blocks, 7, blocks, 3).mean(axis=(1, 3))
    shrunk = warp(image, geometry.resize_matrix(1 / blocks, 1 / blocks), (6, 7))
    assert np.abs(shrunk - means).max() <= 1.5  # half a level each halving


def test_a_turned_box_holds_the_ellipse_that_filled_it():
    turn = np.array([[np.cos(0.5), -np.sin(0.5), 3], [np.sin(0.5), np.cos(0.5), 4], [0, 0, 1]])
    angles = np.linspace(0, 2 * np.pi, 1000)
    points = np.stack([6 * np.cos(angles), 2 * np.sin(angles)], 1)
    turned = points @ turn[:2, :2].T + turn[:2, 2]
    expected = [*turned.min(0), *turned.max(0)]
    np.testing.assert_allclose(boxes_after(np.array([[-6.0, -2, 6, 2]]), turn)[0], expected, rtol=0, atol=1e-3)


def test_a_turned_box_is_about_its_points_with_its_margins() -> None:
    """A thin rod that lies askew has a square box, which is a thin one after it was turned upright, and back."""
    rod = np.array([[[0.0, 0.0], [30.0, 30.0], [np.nan, np.nan]]])
    box = np.array([[-2.0, -2, 32, 32]])
    c = np.sqrt(0.5)
    upright = np.array([[c, -c, 7], [c, c, -5], [0, 0, 1]])
    turned = boxes_after(box, upright, rod)
    np.testing.assert_allclose(turned, [[7 - 2, -5 - 2, 7 + 2, -5 + 60 * c + 2]], atol=1e-6)
    np.testing.assert_allclose(boxes_after(turned, np.linalg.inv(upright), transform(rod, upright)), box, atol=1e-6)


@pytest.mark.parametrize("points", [[[4.0, 9.0], [1.0, -3.0]], [[np.nan, np.nan], [5.0, 5.0]], [[np.nan, np.nan]] * 2])
def test_a_box_that_is_moved_and_scaled_moves_alike(points: list[list[float]]) -> None:
    """Wherever its points are, outside of it too."""
    box, matrix = np.array([[0.0, 1, 8, 5]]), np.array([[2.0, 0, 3], [0, 2, -1], [0, 0, 1]])
    np.testing.assert_allclose(boxes_after(box, matrix, np.array([points])), [[3, 1, 19, 9]], atol=1e-6)
