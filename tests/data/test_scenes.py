"""Whole images with the subjects to find in them: what is a target, what is ignored, and that a seed decides all."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from softpoint.data.augment import Augment
from softpoint.data.dataset import Draw, KeypointDataset
from softpoint.data.loaders import collate
from softpoint.data.scene_samples import SceneSamples, WithScenes, check_anchor, close_note, finding_size
from softpoint.data.scenes import LabeledScenes
from softpoint.data.sources import LabeledImages
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton

SIZE = (60, 80)


class Painted:
    """A reader whose image shows a white dot of 3 x 3 pixels at the center of each box."""

    channel_count = 3

    def read(self, name):
        image = np.zeros((*SIZE, 3), np.uint8)
        for x, y in ((20, 15), (60, 45)):
            image[y - 1 : y + 2, x - 1 : x + 2] = 255
        return image


def subject(image, center=None, **fields):
    box = None if center is None else (center[0] - 8.0, center[1] - 4.0, center[0] + 8.0, center[1] + 4.0)
    points = np.full((2, 2), np.nan) if center is None else np.array([[center[0] - 5.0, center[1]], [np.nan, np.nan]])
    visibility = np.where(np.isnan(points[:, 0]), 0, 2)
    return Subject(image, image, points, visibility, box, **fields)


LABELS = Labels(
    "labels", "", Skeleton(("head", "tail")),
    [subject("a", (20.0, 15.0)), subject("a", (60.0, 45.0)), subject("b"), subject("c", (20.0, 15.0), crowd=False)],
)  # fmt: skip
BOXES = LABELS.boxes
SIZES = np.array([SIZE] * len(LABELS))


def scenes(**options):
    return LabeledScenes(LABELS, SIZES, Painted(), BOXES, **options)


def samples(anchor="box", augment=None, size=SIZE):
    return SceneSamples(scenes(), size, anchor, (7,), augment)


def test_subjects_of_an_image_are_together_and_an_image_without_any_is_one_too():
    source = scenes()
    assert [len(source.describe_scene(i).boxes) for i in range(len(source))] == [2, 0, 1]


def test_a_crowd_is_no_subject_but_a_region():
    labels = LABELS.changed(crowd=np.array([False, True, False, False]))
    boxes = np.where(labels.crowds[:, None], np.nan, BOXES)
    scene = LabeledScenes(labels, SIZES, Painted(), boxes).describe_scene(0)
    assert len(scene.boxes) == 1 and scene.crowds.tolist() == [BOXES[1].tolist()]


def test_anchors_are_centers_of_boxes_or_keypoints_and_never_means_of_visible_points():
    assert samples()[0]["anchors"].tolist() == [[20, 15], [60, 45]]
    assert samples("head")[0]["anchors"].tolist() == [[15, 15], [55, 45]]
    unlabeled = samples("tail")[0]
    assert not len(unlabeled["anchors"]) and unlabeled["ignored"].shape == (2, 4)


def test_the_anchor_is_that_of_the_mirrored_keypoint_where_pairs_change_places():
    skeleton = Skeleton(("left", "right"), flip_pairs=(("left", "right"),))
    points = np.array([[[15.0, 15.0], [25.0, 15.0]], [[55.0, 45.0], [65.0, 45.0]]])
    subjects = [Subject("a", "a", own, np.array([2, 2]), tuple(box)) for own, box in zip(points, BOXES, strict=False)]
    labels = Labels("labels", "", skeleton, subjects)
    source = LabeledScenes(labels, SIZES[:2], Painted(), BOXES[:2])
    mirrored = SceneSamples(source, SIZE, "left", (7,), Augment(flip=1.0))[0]
    assert mirrored["anchors"].tolist() == [[54, 15], [14, 45]]


@pytest.mark.parametrize("seed", range(4))
def test_anchors_stay_on_what_they_mark(seed):
    """The centroid of a painted dot is the anchor after any augmentation, in an input of another shape."""
    augment = Augment(flip=0.5, rotate=20, scale=(0.8, 1.2), translate=0.05)
    sample = SceneSamples(scenes(), (96, 96), "box", (seed,), augment)[0]
    for x, y in sample["anchors"].tolist():
        rows, columns = np.mgrid[:96, :96]
        near = np.hypot(rows - y, columns - x) < 8
        mass = sample["image"][..., 0].numpy() * near
        centroid = (mass * columns).sum() / mass.sum(), (mass * rows).sum() / mass.sum()
        assert np.hypot(centroid[0] - x, centroid[1] - y) < 0.05


def test_a_subject_that_left_the_image_is_no_target():
    away = Augment(translate=1.0)
    for turn in range(20):
        sample = samples(augment=away).sample(turn, 0)
        inside = (sample["anchors"] >= -0.5) & (sample["anchors"] <= torch.tensor([79.5, 59.5]))
        assert inside.all() and len(sample["anchors"]) + len(sample["ignored"]) == 2


def crops():
    rows = np.flatnonzero(np.isfinite(BOXES).all(1))
    return LabeledImages(LABELS.select(rows), SIZES[rows], Painted(), BOXES[rows])


def test_which_image_comes_with_a_crop_is_decided_by_the_draw_and_all_are_shown_in_turn():
    def dataset():
        return WithScenes(
            KeypointDataset(crops(), (32, 32), (7,), Augment(rotate=10)), samples(augment=Augment(rotate=9))
        )

    one, other = dataset(), dataset()
    draws = [Draw(epoch, index) for epoch in range(2) for index in range(len(one))]
    for draw in reversed(draws):
        for name, value in other[draw]["scene"].items():
            assert torch.equal(value, one[draw]["scene"][name])
    counts = [len(one[draw]["scene"]["anchors"]) + len(one[draw]["scene"]["ignored"]) for draw in draws]
    assert sorted(counts[:3]) == sorted(counts[3:]) == [0, 1, 2]


def test_a_batch_fills_up_with_nan():
    dataset = WithScenes(KeypointDataset(crops(), (32, 32), (7,)), samples())
    scene = collate([dataset[i] for i in range(3)])["scene"]
    assert scene["image"].shape == (3, 3, *SIZE) and scene["anchors"].shape == (3, 2, 2)
    assert (~scene["anchors"].isnan().any(-1)).sum(1).sort()[0].tolist() == [0, 1, 2]


def test_the_center_of_a_crop_is_that_of_its_box_whatever_the_augmentation():
    still, moving = (KeypointDataset(crops(), (32, 48), (7,), augment) for augment in (None, Augment(translate=0.2)))
    assert_close(still[0]["center"], torch.tensor([23.5, 15.5]))
    sample = moving[0]
    back = sample["matrix"].double() @ torch.tensor([*sample["center"].tolist(), 1.0]).double()
    assert_close(back[:2], torch.tensor([20.0, 15.0]).double(), rtol=0, atol=1e-4)


def test_the_input_shows_the_usual_subject_with_40_pixels():
    sizes, boxes = np.array([[600, 800]]), np.array([[0.0, 0, 128, 60]] * 10)
    assert finding_size(sizes, boxes) == (192, 256)
    assert finding_size(sizes, boxes / 64) != finding_size(sizes, boxes)  # smaller ones need more pixels
    assert np.prod(finding_size(sizes, boxes / 64)) <= 600 * 800 * 1.1
    assert finding_size(sizes, boxes, 10_000) == (96, 128)


def test_an_unknown_anchor_is_named():
    with pytest.raises(ValueError, match=r"data.anchor=heda: did you mean 'head'"):
        check_anchor("heda", ["head", "tail"])


def test_subjects_too_close_to_be_told_apart_are_named_with_the_way_out():
    """Two of three are 50 px from each other, which is 5 px in a tenth of the size."""
    note = close_note(scenes(), (6, 8))
    assert note.startswith("67 % of the subjects") and "data.finding_pixels=123 " in note
    assert close_note(scenes(), (10, 14)) == ""
