"""The schema of labels, and selection from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton, infer_flip_pairs
from softpoint.paths import normalize_path

NAN = (np.nan, np.nan)


def subject(image: str, *points: tuple[float, float], **fields) -> Subject:
    keypoints = np.array(points, np.float64)
    return Subject(image, f"row of {image}", keypoints, np.where(np.isnan(keypoints[:, 0]), 0, 2), **fields)


@pytest.fixture
def labels() -> Labels:
    skeleton = Skeleton(("nose", "left_ear", "right_ear"), (("left_ear", "right_ear"),), (("nose", "left_ear"),))
    subjects = (
        subject("v/a.png", (1, 2), (3, 4), NAN, category="mouse", box=(0, 0, 9, 9)),
        subject("v\\b.png", NAN, NAN, NAN, category="rat"),
        subject("w/c.png", (5, 6), NAN, NAN, category="rat", group="monday"),
    )
    return Labels("a.csv", ".", skeleton, subjects, {"mouse": skeleton.names, "rat": ("nose",)})


def test_fields_of_all_subjects_are_stacked(labels: Labels) -> None:
    assert len(labels) == 3 and labels.keypoints.shape == (3, 3, 2) and labels.keypoints.dtype == np.float64
    assert labels.visibility.tolist() == [[2, 2, 0], [0, 0, 0], [2, 0, 0]] and labels.visibility.dtype == np.int8
    assert labels.groups == ("v", "v", "monday") and labels.places[2] == "row of w/c.png"
    np.testing.assert_array_equal(labels.boxes, [[0, 0, 9, 9], [np.nan] * 4, [np.nan] * 4])


def test_selected_subjects_keep_their_order_and_shapes(labels: Labels) -> None:
    two, none = labels.select(np.array([2, 0])), labels.select([])
    assert two.images == ("w/c.png", "v/a.png") and two.groups == ("monday", "v")
    assert two.visibility.tolist() == [[2, 0, 0], [2, 2, 0]]
    assert none.keypoints.shape == (0, 3, 2) and none.visibility.shape == (0, 3) and none.boxes.shape == (0, 4)


def test_keypoints_are_selected_in_order(labels: Labels) -> None:
    ears = labels.with_keypoints(["right_ear", "left_ear"])
    assert ears.skeleton == Skeleton(("right_ear", "left_ear"), (("left_ear", "right_ear"),))
    assert ears.keypoints[0, 1].tolist() == [3, 4] and ears.visibility[0].tolist() == [0, 2]
    assert ears.categories == {"mouse": ("left_ear", "right_ear"), "rat": ()}
    assert labels.with_keypoints(["right_ear"]).skeleton.flip_pairs == ()
    with pytest.raises(ValueError, match=r"data.keypoints: no keypoint is named 'rightear'; did you mean 'right_ear'"):
        labels.with_keypoints(["rightear"])


def test_categories_are_selected_with_their_keypoints(labels: Labels) -> None:
    rats = labels.with_categories(["rat"])
    assert rats.images == ("v\\b.png", "w/c.png") and rats.skeleton.names == ("nose",)
    assert labels.with_categories(["rat", "mouse"]).skeleton == labels.skeleton
    with pytest.raises(ValueError, match=r"data.categories: no category is named 'cat' in a.csv; did you mean 'rat'"):
        labels.with_categories(["cat"])


def test_images_of_other_categories_show_nothing_where_all_images_are_kept(labels: Labels) -> None:
    rats, mice = (labels.with_categories([name], keep_images=True) for name in ("rat", "mouse"))
    assert rats.images == mice.images == labels.images and rats.places == labels.places
    assert rats.blank.tolist() == [True, True, False] and mice.blank.tolist() == [False, True, True]
    assert rats.columns.texts("category")[0] == "" and np.isnan(rats.boxes[0]).all() and labels.count == 2
    assert labels.blank.tolist() == [False, True, False] and rats.groups == labels.groups
    both = replace(labels, subjects=[*labels.subjects, replace(labels.subjects[0], category="rat")])
    assert both.with_categories(["rat"], keep_images=True).blank.tolist() == [True, False, False]


def test_a_point_is_labeled_where_it_has_coordinates(labels: Labels) -> None:
    wrong = Subject("a.png", "line 1", np.zeros((3, 2)), np.array([2, 0, 2]))
    with pytest.raises(AssertionError):
        Labels("a.csv", ".", labels.skeleton, (wrong,))


@pytest.mark.parametrize("spelling", ["v/a.png", "./v//a.png", "v\\a.png", " v/x/../a.png "])
def test_spellings_of_a_path_are_one(spelling: str) -> None:
    assert normalize_path(spelling) == "v/a.png"


@pytest.mark.parametrize(
    ("spelling", "one"),
    [
        ("m.tif/3", "m.tif/000003"), ("v/m.mp4/0000003", "v/m.mp4/000003"), ("a.slp/video0/12", "a.slp/video0/000012"),
        ("m.tif/1234567", "m.tif/1234567"), ("a/3", "a/3"), ("m.tif/3.png", "m.tif/3.png"), ("day.1/3", "day.1/3"),
    ],
)  # fmt: skip
def test_spellings_of_a_page_number_are_one(spelling: str, one: str) -> None:
    assert normalize_path(spelling) == one


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("LEye", "REye"), ("eyeL", "eyeR"), ("kneeL", "kneeR"), ("paw1LH", "paw1RH"), ("l_eye", "r_eye"),
        ("eye_l", "eye_r"), ("LeftEye", "RightEye"), ("left-eye", "right-eye"), ("Left Eye", "Right Eye"),
        ("leftear", "rightear"), ("EAR_LEFT", "EAR_RIGHT"), ("LM1", "RM1"), ("L1", "R1"), ("FL", "FR"),
        ("foreLPaw", "foreRPaw"), ("left_L1", "right_L1"), ("left_L1", "right_R1"), ("ear.L", "ear.R"),
        ("LA", "RA"), ("LFP", "RFP"), ("Lsho", "Rsho"), ("lpaw", "rpaw"), ("LEYE", "REYE"), ("Nearknee", "Offknee"),
        ("near_fore", "off_fore"), ("fore_near", "fore_off"),
    ],
)  # fmt: skip
def test_names_that_differ_in_their_side_are_a_pair(left: str, right: str) -> None:
    assert infer_flip_pairs(["nose", right, left]) == ((left, right),)
    assert infer_flip_pairs([left, "nose"]) == infer_flip_pairs([right]) == ()


@pytest.mark.parametrize(
    ("one", "other"),
    [("tail", "tair"), ("ball", "barr"), ("lear", "rear"), ("TAIL", "TAIR"), ("leg", "reg"), ("eyel", "eyer"),
     ("BL", "BR"), ("paw1LH", "paw4RH"), ("left_eye", "Right_eye"), ("LM1", "RM2"), ("lock", "rock")],
)  # fmt: skip
def test_names_that_differ_otherwise_are_none(one: str, other: str) -> None:
    assert infer_flip_pairs([one, other]) == ()


@pytest.mark.parametrize(
    ("names", "partnerless"),
    [
        ("earleft1 earright1 earleft2", "earleft2"),
        ("lt_ear rt_ear lt_eye", "lt_eye"),
        ("nose left_ear right_ear tail", ""),
        ("nose left_ear right_ear left_hip", "left_hip"),
        ("left_ear right_ear hipRight", "hipRight"),
        ("left_ear right_ear l_hip hip_R", "l_hip hip_R"),
        ("left_ear right_ear bright upright cleft L1 L2 rump", ""),  # no sides, nor a vertebra's letter
        ("earleft earright hipleft", "hipleft"),
        ("earL earR kneeL L1", "kneeL L1"),  # letters are sides where a pair has them
        ("lpaw rpaw lhip rump", "lhip"),
        ("near_knee off_knee near_hock", "near_hock"),
        ("left_eye right_eye lpectoral rpectoral ltail rtail tail", ""),
        ("LeftEye RightEye lHip", "lHip"),
        ("left_eye right_eye eyel eyer lace", "eyel eyer"),
    ],
)
def test_a_side_without_a_partner_prevents_mirroring(names: str, partnerless: str) -> None:
    skeleton = Skeleton(tuple(names.split()), infer_flip_pairs(names.split()))
    assert skeleton.partnerless == tuple(partnerless.split()) and skeleton.can_mirror == (not partnerless)
    assert ("No image is mirrored" in skeleton.mirroring) == bool(partnerless)
    assert skeleton.mirroring.startswith(f"flip pairs: {' and '.join(skeleton.flip_pairs[0])}")


def test_pairs_that_leave_an_obvious_one_out_prevent_mirroring() -> None:
    names = ("lear", "rear", "left_eye", "right_eye", "nose")
    assert Skeleton(names, (("left_eye", "right_eye"),)).partnerless == ("lear", "rear")
    assert Skeleton(names, (("left_eye", "right_eye"), ("lear", "rear"))).can_mirror
    assert not Skeleton(names).can_mirror


def test_no_keypoint_is_in_two_pairs() -> None:
    names = ["left_L1", "right_L1", "left_R1", "right_R1", "L_left", "R_left", "R_right", "L_right"]
    pairs = infer_flip_pairs(names)
    assert sorted(name for pair in pairs for name in pair) == sorted(names)
    Skeleton(tuple(names), pairs)
