"""Boxes found in images: each subject once, and which labeled one it is."""

import numpy as np

from softpoint.inference.finding import Finds, distinct_finds, in_regions, matched_finds
from softpoint.inference.subjects import distinct_poses

BOX = np.array([10.0, 10.0, 30.0, 30.0])


def moved(dx):
    """The box, so far to the right."""
    return BOX + np.array([dx, 0, dx, 0])


def finds(boxes, expected):
    return Finds(np.array(boxes, float), np.array(expected, float), np.array(expected, float))


def test_of_two_boxes_about_the_same_the_likelier_is_kept():
    kept = distinct_finds(finds([BOX, BOX + 1, BOX + 40], [0.5, 0.9, 0.2]))
    assert kept.expected.tolist() == [0.9, 0.2] and np.array_equal(kept.boxes[0], BOX + 1)


def test_neighbors_that_overlap_are_both_kept():
    assert len(distinct_finds(finds([BOX, moved(8)], [0.9, 0.8])).boxes) == 2


def test_what_stands_for_nothing_is_left_out():
    assert len(distinct_finds(finds([BOX], [1e-6])).boxes) == 0
    assert len(distinct_finds(finds(np.empty((0, 4)), [])).boxes) == 0


def test_each_labeled_box_is_found_once_and_the_first_find_has_it():
    truth = np.stack([BOX, BOX + 15])
    assert matched_finds(np.stack([BOX + 1, BOX, BOX + 16]), truth).tolist() == [0, -1, 1]
    assert matched_finds(np.stack([BOX]), np.empty((0, 4))).tolist() == [-1]
    assert matched_finds(np.empty((0, 4)), truth).tolist() == []


def test_a_box_that_overlaps_by_less_than_half_is_no_find():
    assert matched_finds(np.stack([moved(10)]), np.stack([BOX])).tolist() == [-1]


def test_regions_hold_boxes_by_their_centers():
    assert in_regions(np.stack([BOX, BOX + 20]), np.array([[0.0, 0, 25, 25]])).tolist() == [True, False]
    assert in_regions(np.stack([BOX]), np.empty((0, 4))).tolist() == [False]


def test_a_pose_that_two_boxes_gave_is_kept_once_and_that_of_a_neighbor_too():
    pose = np.array([[12.0, 12.0], [28.0, 28.0]])
    predictions = [{"keypoints": pose}, {"keypoints": pose + 1}, {"keypoints": pose + np.array([16, 0])}]
    assert distinct_poses(predictions, np.stack([BOX, BOX, moved(16)])) == [0, 2]
