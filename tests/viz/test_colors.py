"""Keypoint colors differ from each other."""

from __future__ import annotations

import numpy as np

from softpoint.viz import palette


def test_colors_are_distinct_and_keep_their_place() -> None:
    colors = palette(128)
    assert colors.dtype == np.uint8
    assert len(np.unique(colors, axis=0)) == 128
    np.testing.assert_array_equal(palette(17), colors[:17])
    assert palette(0).shape == (0, 3)
    assert palette(300).shape == (300, 3)


def test_callers_cannot_spoil_the_palette() -> None:
    palette(3)[:] = 0
    assert palette(3).any(axis=1).all()
