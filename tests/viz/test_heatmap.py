"""Heatmaps are colored by their own maximum and lie where they belong on the image."""

from __future__ import annotations

import numpy as np
import pytest

from softpoint.functional.coordinates import grid_to_image
from softpoint.viz import blend_heatmap, colorize, heatmap_row

PHOTO = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)


def test_colorize_depends_on_the_shape_and_not_the_mass() -> None:
    heatmap = np.random.default_rng(0).random((6, 8))
    colors = colorize(heatmap)
    assert colors.shape == (6, 8, 3)
    assert colors.dtype == np.uint8
    np.testing.assert_array_equal(colors, colorize((1e-6 * heatmap).astype(np.float32)))
    brightness = colors.astype(float) @ [0.299, 0.587, 0.114]
    assert brightness.argmax() == heatmap.argmax()


@pytest.mark.parametrize("nothing", [0.0, np.nan, -1.0])
def test_an_empty_heatmap_is_black_and_leaves_the_image_in_gray(nothing: float) -> None:
    heatmap = np.full((6, 8), nothing)
    assert colorize(heatmap).max() <= 4
    blended = blend_heatmap(PHOTO, heatmap)
    assert (blended == blended[..., :1]).all()


@pytest.mark.parametrize("stride", [2, 8])
def test_the_blend_shows_a_cell_where_grid_to_image_puts_it(stride: int) -> None:
    image, heatmap = np.zeros((96, 128, 3), np.uint8), np.zeros((96 // stride, 128 // stride))
    heatmap[4, 5] = 0.01
    light = blend_heatmap(image, heatmap).astype(float).sum(axis=-1)
    rows, columns = np.mgrid[:96, :128]
    center = np.array([(light * columns).sum(), (light * rows).sum()]) / light.sum()
    np.testing.assert_allclose(center, grid_to_image(np.array([5.0, 4.0]), stride), atol=0.02)


def test_a_row_holds_nine_and_then_wraps() -> None:
    heatmaps = np.random.default_rng(0).random((11, 12, 16))
    before = PHOTO.copy(), heatmaps.copy()
    one = heatmap_row(PHOTO, heatmaps[:1], ["a"])
    nine = heatmap_row(PHOTO, heatmaps[:9], [str(i) for i in range(9)])
    eleven = heatmap_row(PHOTO, heatmaps, [str(i) for i in range(11)])
    assert nine.shape[0] == one.shape[0] < eleven.shape[0]
    assert nine.shape[1] == eleven.shape[1] > 8 * (one.shape[1] - 16)
    assert eleven.dtype == np.uint8
    np.testing.assert_array_equal(PHOTO, before[0])
    np.testing.assert_array_equal(heatmaps, before[1])


def test_names_must_match_the_maps() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 6, 8\) but 1 names"):
        heatmap_row(PHOTO, np.ones((2, 6, 8)), ["nose"])
