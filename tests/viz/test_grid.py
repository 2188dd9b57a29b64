"""Tiles keep their proportions, order and points, and their titles stay inside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from softpoint.images.decode import read_image
from softpoint.labels.skeleton import Skeleton
from softpoint.viz import contact_sheet, crop_around, draw_tile, legend, palette, write_image

IMAGE = np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8)


def plain(height: int, width: int, gray: int) -> np.ndarray:
    return np.full((height, width, 3), gray, np.uint8)


def test_tiles_stand_row_by_row() -> None:
    sheet = contact_sheet([plain(100, 200, 10 * i) for i in range(5)], columns=2)
    assert sheet.shape == (3 * 108 + 8, 2 * 208 + 8, 3)
    assert sheet.dtype == np.uint8
    centers = [[int(sheet[58 + 108 * row, 108 + 208 * column, 0]) for column in (0, 1)] for row in (0, 1, 2)]
    assert centers == [[0, 10], [20, 30], [40, 255]]
    assert (sheet[:8] == 255).all()


def test_other_proportions_are_letterboxed_and_centered() -> None:
    sheet = contact_sheet([plain(100, 200, 0), plain(50, 20, 0)], columns=2)
    tile = sheet[8:-8, 216:-8, 0]
    assert tile.shape == (100, 200)
    assert (tile[:, 80:120] == 0).all()
    assert (tile == 0).sum() == 100 * 40


def test_titles_add_a_line_and_leave_the_images() -> None:
    images = [plain(64, 64, 90), plain(64, 64, 120)]
    bare, titled = contact_sheet(images), contact_sheet(images, titles=["nose", "a title " * 40])
    line = titled.shape[0] - bare.shape[0]
    assert line >= 12
    assert bare.shape[1] == titled.shape[1] >= 2 * 160
    np.testing.assert_array_equal(titled[8 + line :], bare[8:])
    ink = titled[8 : 8 + line].min(axis=(0, 2)) < 128
    width = bare.shape[1] // 2
    assert ink[:width].any()
    assert ink[width:].any()
    assert not ink[-8:].any()


def test_bad_requests_are_quoted() -> None:
    with pytest.raises(ValueError, match="got 0 images, columns=4"):
        contact_sheet([])
    with pytest.raises(ValueError, match="1 images but 2 titles"):
        contact_sheet([plain(9, 9, 0)], titles=["a", "b"])


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


@pytest.mark.parametrize("width", [200, 400, 1700])
def test_a_legend_shows_each_color_once_and_ends_lines_before_the_edge(width: int) -> None:
    strip = legend([f"point_{i}" for i in range(17)], width)
    assert strip.shape[1] == width and (strip[:, -4:] == 255).all() and (strip[-4:] == 255).all()
    for color in palette(17):
        rows, columns = np.nonzero((strip == color).all(-1))
        assert len(rows) > 40 and np.ptp(rows) < 12 and np.ptp(columns) < 12


def test_a_written_image_keeps_its_colors(tmp_path: Path) -> None:
    write_image(tmp_path / "deep" / "x.png", IMAGE)
    assert np.array_equal(read_image(tmp_path / "deep" / "x.png"), IMAGE)
