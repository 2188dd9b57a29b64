"""Crops show a subject's box in the middle of the input; their matrices are exact."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softpoint.data.crops import crop_matrix, input_matrix
from softpoint.data.geometry import letterbox_matrix, transform
from softpoint.labels.boxes import boxes_by_image, subject_boxes
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton

UNLABELED = np.full((2, 2), np.nan)
NOWHERE = np.zeros(2, int)


def subjects(*rows: tuple[np.ndarray, tuple[float, float, float, float] | None]) -> Labels:
    made = tuple(
        Subject(f"{i // 2}.png", f"line {i}", points, np.where(np.isfinite(points[:, 0]), 2, 0), box)
        for i, (points, box) in enumerate(rows)
    )
    return Labels("labels.csv", ".", Skeleton(("a", "b")), made)


@settings(max_examples=100, deadline=None)
@given(
    st.tuples(*[st.floats(-50, 500)] * 2),
    st.tuples(*[st.floats(1, 400)] * 2),
    st.tuples(*[st.integers(16, 300)] * 2),
    st.floats(1, 3),
)
def test_the_box_fits_touches_and_is_centered(
    corner: tuple[float, float], extent: tuple[float, float], into: tuple[int, int], padding: float
) -> None:
    low, high = np.array(corner), np.array(corner) + extent
    matrix = crop_matrix(np.array([*low, *high]), into, padding)
    a, b = transform(np.array([low, high]), matrix)
    frame = np.array(into[::-1])
    np.testing.assert_allclose((a + b) / 2, (frame - 1) / 2, atol=1e-6)  # center on center
    np.testing.assert_allclose(max((b - a) * padding / frame), 1, rtol=1e-9)  # one side fills the input
    np.testing.assert_allclose((b - a)[0] * extent[1], (b - a)[1] * extent[0], rtol=1e-6)  # aspect kept
    np.testing.assert_allclose(transform(transform(low, matrix), np.linalg.inv(matrix)), low, atol=1e-6)


def test_without_a_box_the_whole_image_is_shown() -> None:
    np.testing.assert_array_equal(input_matrix((30, 40), None, (64, 64), 1.5), letterbox_matrix((30, 40), (64, 64)))
    whole = np.array([-0.5, -0.5, 39.5, 29.5])
    np.testing.assert_allclose(input_matrix((30, 40), whole, (64, 64)), letterbox_matrix((30, 40), (64, 64)))


def test_boxes_come_from_the_labels_or_from_the_points() -> None:
    points = np.array([[10.0, 20.0], [30.0, 60.0]])
    labels = subjects((points, (0.0, 0.0, 9.0, 9.0)), (points, None))
    about = [9.5, 19.5, 30.5, 60.5]
    np.testing.assert_array_equal(subject_boxes(labels), [[0, 0, 9, 9], about])
    np.testing.assert_array_equal(subject_boxes(labels, "keypoints"), [about, about])
    np.testing.assert_array_equal(subject_boxes(labels, "labels"), [[0, 0, 9, 9], [np.nan] * 4])


def test_a_single_point_gets_a_box_of_the_median_side() -> None:
    points = np.array([[10.0, 20.0], [30.0, 60.0]])
    lone = np.array([[5.0, 6.0], [np.nan, np.nan]])
    boxes = subject_boxes(subjects((points, None), (lone, None)))
    np.testing.assert_allclose(boxes[1, 2:] - boxes[1, :2], 42, atol=1)
    np.testing.assert_allclose((boxes[1, 2:] + boxes[1, :2]) / 2, [5, 6])


def test_boxes_of_an_image_leave_out_subjects_without_one() -> None:
    points = np.array([[10.0, 20.0], [30.0, 60.0]])
    labels = subjects((points, None), (points + 1, None), (UNLABELED, None))
    boxes = boxes_by_image(labels)
    assert list(boxes) == ["0.png"] and boxes["0.png"].shape == (2, 4)


def test_mistakes() -> None:
    labels = subjects((UNLABELED, None))
    with pytest.raises(ValueError, match=r"data.boxes='label': did you mean 'labels'\?"):
        subject_boxes(labels, "label")
    with pytest.raises(ValueError, match="no subject has a box"):
        subject_boxes(labels)
