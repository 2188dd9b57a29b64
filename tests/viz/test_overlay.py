"""Keypoints are drawn at their coordinates at any enlargement, and nothing else is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from softpoint.functional.coordinates import image_to_grid
from softpoint.labels.skeleton import Skeleton
from softpoint.viz import draw_keypoints, draw_subjects, palette

NAN = float("nan")
BLACK = np.zeros((48, 64, 3), np.uint8)


def drawn_at(image: np.ndarray, background: np.ndarray = BLACK, upscale: int = 1) -> np.ndarray:
    """Centroid (x, y), in pixels of the small image, of what differs from the background."""
    change = np.abs(image.astype(float) - background.repeat(upscale, 0).repeat(upscale, 1)).sum(axis=-1)
    rows, columns = np.mgrid[: change.shape[0], : change.shape[1]]
    center = np.array([(change * columns).sum(), (change * rows).sum()]) / change.sum()
    return image_to_grid(center, upscale)


PLACES = [(20.0, 20.0), (31.5, 22.25), (25.3, 19.8), (40.93, 17.06)]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("upscale", [1, 2, 5])
@pytest.mark.parametrize("confidence", [0.9, 0.1])
def test_a_prediction_is_drawn_at_its_subpixel_place(
    place: tuple[float, float], upscale: int, confidence: float
) -> None:
    image = draw_keypoints(BLACK, np.array([place]), confidence=np.array([confidence]), upscale=upscale)
    np.testing.assert_allclose(drawn_at(image, upscale=upscale), place, atol=0.1)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("upscale", [1, 3])
def test_a_label_is_drawn_at_its_subpixel_place(place: tuple[float, float], upscale: int) -> None:
    unseen = np.array([[NAN, NAN]])
    image = draw_keypoints(BLACK, unseen, truth=np.array([place]), upscale=upscale)
    np.testing.assert_allclose(drawn_at(image, upscale=upscale), place, atol=0.1)


def test_an_enlarged_pixel_is_the_square_around_its_center() -> None:
    image = BLACK.copy()
    image[10, 20] = 255
    canvas = draw_keypoints(image, np.empty((0, 2)), upscale=6)
    assert canvas.shape == (48 * 6, 64 * 6, 3)
    assert (canvas[60:66, 120:126] == 255).all()
    assert canvas.sum() == 36 * 3 * 255
    np.testing.assert_allclose(drawn_at(canvas, upscale=6), (20, 10))


@pytest.mark.parametrize(("size", "factor"), [((64, 64), 14), ((120, 160), 5), ((480, 640), 1), ((1080, 1920), 1)])
def test_small_images_grow_by_a_whole_number(size: tuple[int, int], factor: int) -> None:
    image = draw_keypoints(np.zeros((*size, 3), np.uint8), np.array([[5.0, 5.0]]))
    assert image.shape == (size[0] * factor, size[1] * factor, 3)
    assert image.dtype == np.uint8


@pytest.mark.parametrize("x", [NAN, np.inf, -np.inf, 1e300])
def test_points_that_are_not_finite_or_far_away_leave_no_trace(x: float) -> None:
    points = np.array([[x, 20.0]])
    nothing: dict[str, Any] = {"covariance": np.full((1, 2, 2), NAN), "upscale": 1}
    assert not draw_keypoints(BLACK, points, truth=points, **nothing).any()
    if not np.isfinite(x):
        assert not draw_keypoints(BLACK, points, names=True, **nothing).any()


def test_unlabeled_truth_is_not_drawn() -> None:
    here, truth = np.array([[20.0, 20.0]]), np.array([[40.0, 30.0]])
    alone = draw_keypoints(BLACK, here)
    np.testing.assert_array_equal(draw_keypoints(BLACK, here, truth=np.full((1, 2), NAN)), alone)
    assert (draw_keypoints(BLACK, here, truth=truth) != alone).any()


def test_everything_at_once_leaves_the_inputs_alone() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
    arrays: dict[str, Any] = {
        "keypoints": rng.uniform(5, 40, (3, 2)).astype(np.float32),
        "confidence": np.array([0.9, 0.2, NAN], np.float32),
        "truth": np.array([[10, 10], [NAN, NAN], [30, 30]], np.float32),
        "covariance": np.array([np.eye(2), np.zeros((2, 2)), np.full((2, 2), NAN)], np.float32),
    }
    kept = image.copy(), {name: array.copy() for name, array in arrays.items()}
    skeleton = Skeleton(("nose", "ear", "tail"), edges=(("nose", "ear"), ("ear", "tail")))
    canvas = draw_keypoints(image, skeleton=skeleton, names=True, upscale=1, **arrays)
    assert canvas.shape == image.shape
    assert (canvas != image).any()
    np.testing.assert_array_equal(image, kept[0])
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, kept[1][name])


def test_the_ellipse_has_the_covariance_it_is_given() -> None:
    """A uniform ellipse of two standard deviations has the covariance."""
    covariance = np.array([[1800.0, 675.0], [675.0, 1125.0]])
    image, center = np.zeros((301, 401, 3), np.uint8), np.array([[200.3, 150.6]])
    canvas = draw_keypoints(image, center, covariance=covariance[None], upscale=1)
    assert not canvas[150, 215:260].any()  # an outline
    outline = canvas.max(axis=-1) > 128  # without its dark rim
    filled = np.maximum.accumulate(outline, 1) & np.maximum.accumulate(outline[:, ::-1], 1)[:, ::-1]
    rows, columns = np.nonzero(filled)
    points = np.stack([columns, rows])
    np.testing.assert_allclose(points.mean(axis=1), center[0], atol=0.1)
    np.testing.assert_allclose(np.cov(points), covariance, rtol=0.05)


def test_the_ellipses_of_all_subjects_are_below_the_names_and_points_of_all() -> None:
    image, skeleton = np.zeros((300, 400, 3), np.uint8), Skeleton(("nose",))
    predictions = {
        "keypoints": np.array([[[100.0, 150.0]], [[180.0, 150.0]]]),
        "confidence": np.ones((2, 1)),
        "covariance": np.array([np.eye(2), 1600 * np.eye(2)])[:, None],  # the second reaches the first point
    }
    plain = draw_subjects(image, predictions, skeleton, names=True, upscale=2)
    drawn = draw_subjects(image, predictions, skeleton, names=True, ellipses=True, upscale=2)
    assert drawn.shape == (600, 800, 3) and (drawn != plain).any()
    np.testing.assert_array_equal(drawn[299:303, 199:203], plain[299:303, 199:203])


def test_an_edge_joins_finite_ends_only() -> None:
    skeleton = Skeleton(("a", "b"), edges=(("a", "b"),))
    joined = draw_keypoints(BLACK, np.array([[10.0, 20.0], [50.0, 20.0]]), skeleton=skeleton, upscale=1)
    np.testing.assert_allclose(joined[20, 20], palette(2)[0], atol=25)
    np.testing.assert_allclose(joined[20, 40], palette(2)[1], atol=25)
    alone = draw_keypoints(BLACK, np.array([[10.0, 20.0], [NAN, 20.0]]), skeleton=skeleton, upscale=1)
    assert not alone[:, 20:].any()


def test_a_label_without_a_prediction_is_named_where_it_is() -> None:
    half_lost, truth = np.array([[NAN, 40.0]]), np.array([[30.0, 20.0]])
    image = draw_keypoints(BLACK, half_lost, truth=truth, names=True, upscale=1)
    rows = np.flatnonzero(image.any(axis=(1, 2)))
    assert 10 <= rows.min() < rows.max() <= 30


def test_names_stay_inside_and_do_not_overlap() -> None:
    image = np.full((300, 300, 3), 200, np.uint8)
    corners = np.array([[2.0, 2.0], [297.0, 2.0], [2.0, 297.0], [297.0, 297.0]])
    skeleton = Skeleton(("upper_left", "upper_right", "lower_left", "lower_right"))
    canvas = draw_keypoints(image, corners, skeleton=skeleton, names=True, upscale=1)
    boxes = (canvas == 50).all(axis=-1)
    for quarter in (boxes[:150, :150], boxes[:150, 150:], boxes[150:, :150], boxes[150:, 150:]):
        assert quarter.sum() > 200
    assert not boxes[40:260].any()


def test_shapes_that_disagree_are_quoted() -> None:
    points = np.zeros((2, 2))
    with pytest.raises(ValueError, match=r"truth has shape \(3, 2\) but 2 keypoints need \(2, 2\)"):
        draw_keypoints(BLACK, points, truth=np.zeros((3, 2)))
    with pytest.raises(ValueError, match="the skeleton names 1 keypoints but 2 are given"):
        draw_keypoints(BLACK, points, skeleton=Skeleton(("nose",)))
    with pytest.raises(ValueError, match=r"got \(48, 64, 3\) of float64"):
        draw_keypoints(BLACK / 255, points)
    with pytest.raises(ValueError, match="whole number of at least 1, got 0"):
        draw_keypoints(BLACK, points, upscale=0)


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


def test_a_name_that_no_file_can_hold_is_drawn() -> None:
    skeleton = Skeleton(("\ud800", "\x1b[0m"))  # half of a surrogate pair crashed OpenCV
    image = draw_keypoints(np.zeros((64, 64, 3), np.uint8), np.full((2, 2), 30.0), skeleton=skeleton, names=True)
    assert image.any()
