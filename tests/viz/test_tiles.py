"""Tiles show points where they are in the image, and cropped images keep their pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from softpoint.images.decode import read_image
from softpoint.labels.skeleton import Skeleton
from softpoint.viz import crop_around, draw_tile, palette, write_image

IMAGE = np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8)


@pytest.mark.parametrize("point", [(60.0, 40.0), (0.0, 0.0), (119.0, 79.0), (-30.0, 90.0), (1e9, -1e9)])
def test_a_crop_holds_its_points_and_the_pixels_of_the_image(point: tuple[float, float]) -> None:
    crop, (left, top) = crop_around(IMAGE, np.array([point]))
    inside = np.clip(point, (-60, -40), (180, 120))
    assert left <= inside[0] <= left + crop.shape[1] and top <= inside[1] <= top + crop.shape[0]
    for y, x in np.ndindex(crop.shape[:2]):
        row, column = y + int(top), x + int(left)
        within = 0 <= row < 80 and 0 <= column < 120
        assert (crop[y, x] == (IMAGE[row, column] if within else 128)).all()


def test_a_crop_around_points_inside_stays_inside() -> None:
    crop, origin = crop_around(IMAGE, np.array([[0.0, 3.0], [119.0, 60.0]]))
    assert crop.shape == IMAGE.shape and not origin.any()


def test_a_point_is_drawn_where_it_is_in_the_tile() -> None:
    tile = draw_tile(np.zeros((50, 100, 3), np.uint8), np.array([[[25.0, 10.0]]]), (200, 200), Skeleton(("nose",)))
    rows, columns = np.nonzero((tile == palette(1)[0]).all(-1))
    assert np.allclose([columns.mean(), rows.mean()], [2 * 25.5 - 0.5, 50 + 2 * 10.5 - 0.5], atol=0.3)


def test_a_written_image_keeps_its_colors(tmp_path: Path) -> None:
    write_image(tmp_path / "deep" / "x.png", IMAGE)
    assert np.array_equal(read_image(tmp_path / "deep" / "x.png"), IMAGE)
