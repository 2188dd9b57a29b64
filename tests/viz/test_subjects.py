"""Found subjects on their image: colors, and marks of what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.subjects import SIZE, SKELETON, found_at, points_at, scene_of
from softpoint.colors import palette
from softpoint.viz import draw_found

BLANK = np.full((*SIZE, 3), 90, np.uint8)
RED = [255, 45, 45]
NOTHING = found_at(np.empty((0, 2, 2)), [])


def colors_near(drawn: np.ndarray, point: tuple[float, float], reach: int = 3) -> list[list[int]]:
    x, y = (round(value) for value in point)
    return np.unique(drawn[y - reach : y + reach + 1, x - reach : x + reach + 1].reshape(-1, 3), axis=0).tolist()


def test_each_found_subject_has_its_own_color() -> None:
    points = points_at((100, 100), (250, 200))
    drawn = draw_found(BLANK, found_at(points, [0.9, 0.8]), scene_of(points[:0]), SKELETON)
    growth = drawn.shape[0] // SIZE[0]
    assert growth == 2 and (BLANK == 90).all()
    for color, own in zip(palette(2).tolist(), points, strict=True):
        for x, y in own:
            assert color in colors_near(drawn, (growth * x + 0.5, growth * y + 0.5))
    assert RED not in np.unique(drawn.reshape(-1, 3), axis=0).tolist()


def test_missed_and_wrong_subjects_are_red() -> None:
    points = points_at((100, 100), (250, 200))
    scene, size = scene_of(points), SIZE
    found = found_at(points_at((100, 100), (320, 60)), [0.9, 0.8])
    missed = np.array([False, True])
    drawn = draw_found(BLANK, found, scene, SKELETON, faults=["", "false"], missed=missed, size=size)
    assert RED in colors_near(drawn, (225, 200)) and RED in colors_near(drawn, (275, 200))  # edges of the missed box
    assert RED in colors_near(drawn, (320, 60))  # where the lines through the false box cross
    assert RED not in colors_near(drawn, (75, 100)) and RED not in colors_near(drawn, (250, 200))
    assert max(map(min, colors_near(drawn, (270 - 4, 200)))) > 200  # the white ring about a label


def test_it_fits_any_size_and_points_far_away() -> None:
    far = found_at(np.array([[[1e7, 5], [30, 30]]]), [0.5])
    for shape in [(20, 30, 3), (3000, 20, 1), (5, 900, 3)]:
        scene = scene_of(np.empty((0, 2, 2)), [[-50, -50, 4000, 4000]])
        drawn = draw_found(np.zeros(shape, np.uint8), far, scene, SKELETON, size=(120, 160))
        assert drawn.shape == (120, 160, 3)
    assert draw_found(BLANK, NOTHING, scene_of(np.empty((0, 2, 2))), SKELETON, size=SIZE) == pytest.approx(BLANK)
