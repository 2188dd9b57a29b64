"""Drawings of the parts of a prediction show their numbers."""

from __future__ import annotations

import numpy as np
import pytest

from softpoint.types import AttentionMaps
from softpoint.viz import blend_heatmap
from softpoint.viz.explain import attention_panel, confidence_parts, confidence_reason, heatmap_panels, weight_bars

PHOTO = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)


def filled(strip: np.ndarray) -> int:
    """The number of pixels in the color of a bar."""
    return int((strip == (0, 114, 178)).all(-1).sum())


@pytest.mark.parametrize("width", [200, 333])
def test_a_bar_is_as_long_as_its_weight(width: int) -> None:
    full = filled(weight_bars({"a": 1.0}, width))
    assert full == 8 * (width - 8)
    assert filled(weight_bars({"a": 0.25}, width)) == pytest.approx(full / 4, abs=8)
    assert filled(weight_bars({"a": 0.3, "b": 0.7}, width)) == pytest.approx(full, abs=8)
    assert filled(weight_bars({"a": 0.0}, width)) == 0


@pytest.mark.parametrize("num_keypoints", [1, 200])
def test_a_panel_per_heatmap(num_keypoints: int) -> None:
    names = [f"point {i}" for i in range(num_keypoints)]
    panels = [
        heatmap_panels(PHOTO, np.ones((k, 6, 8)), names[:k], np.full(k, 0.3), np.full((k, 2), 40.0), columns=1)
        for k in {1, num_keypoints}
    ]
    heights = [len(panel) - 8 for panel in panels]
    assert max(heights) == num_keypoints * min(heights)
    with pytest.raises(ValueError, match="2 heatmaps, 1 names"):
        heatmap_panels(PHOTO, np.ones((2, 6, 8)), names[:1], np.ones(1))


def test_the_mark_of_a_panel_is_on_its_cell() -> None:
    heatmap = np.zeros((1, 6, 8))
    heatmap[0, 2, 5] = 1
    with_point = heatmap_panels(PHOTO, heatmap, ["a"], np.ones(1), np.array([[54.5, 24.5]]))
    changed = (with_point != heatmap_panels(PHOTO, heatmap, ["a"], np.ones(1))).any(-1)
    rows, columns = np.nonzero(changed)
    title = len(with_point) - 180 - 16
    center = np.array([columns.mean() - 8, rows.mean() - 8 - title])
    np.testing.assert_allclose(center, [3 * 55 - 0.5, 3 * 25 - 0.5], atol=0.6)


def test_a_block_without_branches_is_a_mask_and_one_with_a_router_has_bars() -> None:
    mask = AttentionMaps.of_mask(np.eye(4))
    assert filled(attention_panel(PHOTO, {"head": mask})) == 0
    branched = AttentionMaps(np.eye(4), np.ones((2, 4, 4)), np.array([0.5, 0.5]), ("3 x 3", "7 x 7"))
    panel = attention_panel(PHOTO, {"stage2": mask, "head": branched})
    assert filled(panel) > 0
    with pytest.raises(ValueError, match="nothing to draw"):
        attention_panel(PHOTO, {})


def test_a_mask_that_is_nearly_the_same_everywhere_is_drawn_so() -> None:
    gray, ramp = np.full((60, 80, 3), 128, np.uint8), np.linspace(0, 1, 32).reshape(4, 8)
    flat, steep = (
        attention_panel(gray, {"head": AttentionMaps.of_mask(0.5 + size * ramp)})[100, 8:-8].std(0).sum()
        for size in (0.001, 0.1)
    )
    assert 0 < 3 * flat < steep


def test_the_top_of_a_blend_is_the_same_for_two_maps() -> None:
    half, whole = (blend_heatmap(PHOTO, np.full((3, 4), value), top=1.0) for value in (0.5, 1.0))
    assert (half != whole).any()
    np.testing.assert_array_equal(whole, blend_heatmap(PHOTO, np.ones((3, 4))))


def test_the_parts_name_the_smaller_factor() -> None:
    parts = {"in_image": [0.2, 1.0, 1.0], "within_radius": [0.9, 0.3, 0.99], "radius": [5.0] * 3}
    parts |= {"spread": [2.0] * 3, "expected_error": [1.0, 9.0, 0.5]}
    header, *rows = confidence_parts({name: np.array(part) for name, part in parts.items()}, ["a", "b", "c"])
    assert all(len(row) == len(header) for row in rows)
    assert [row[1] for row in rows] == ["0.18", "0.30", "0.99"]
    for row, word in zip(rows, ("not be in the image", "exceeds the radius", "sure"), strict=True):
        assert word in row[-1]
    assert confidence_reason(*[float("nan")] * 5) == "not predicted"
