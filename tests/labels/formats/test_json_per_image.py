"""One JSON per image: every layout is read, and visibility depends on the whole set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.hostile_json import hostile
from helpers.labels import FUZZ, assert_valid_or_refused
from softpoint.labels.formats import json_per_image, read_labels, recognize

NAN = float("nan")
ONE: dict[str, Any] = {"bboxes": [[10, 20, 30, 40]], "keypoints": [[[12, 22, 1], [28.5, 38, 1]]]}
TWO: dict[str, Any] = {
    "bboxes": [[0, 0, 4, 5], [1, 2, 3, 4]],
    "keypoints": [[[1, 2, 1], [7, 7, 0]], [[3, 4, 1], [NAN, NAN, 0]]],
}
NONE: dict[str, Any] = {"bboxes": [], "keypoints": []}


def pair(folder: Path, name: str, content: Any, suffix: str = ".jpg", beside: bool = False) -> None:
    """Write a JSON file and its image, whose pixels are never read."""
    annotations, images = (folder, folder) if beside else (folder / "annotations", folder / "images")
    for path in (annotations, images):
        path.mkdir(parents=True, exist_ok=True)
    (annotations / f"{name}.json").write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    if suffix:
        (images / f"{name}{suffix}").write_bytes(b"")


def test_boxes_points_and_unlabeled_images_are_read(tmp_path: Path) -> None:
    pair(tmp_path, "a.x.1", ONE, ".JPEG")
    pair(tmp_path, "b", TWO)
    pair(tmp_path, "c", NONE)
    labels = read_labels(tmp_path)
    assert labels.skeleton.names == ("keypoint_1", "keypoint_2") and labels.folder == str(tmp_path)
    assert labels.images == ("images/a.x.1.JPEG", "images/b.jpg", "images/b.jpg", "images/c.jpg")
    places = ("a.x.1.json object 1", "b.json object 1", "b.json object 2", "c.json")
    assert labels.places == tuple(f"annotations/{place}" for place in places)
    points = [[[12, 22], [28.5, 38]], [[1, 2], [NAN, NAN]], [[3, 4], [NAN, NAN]], [[NAN, NAN]] * 2]
    np.testing.assert_array_equal(labels.keypoints, points)
    np.testing.assert_array_equal(labels.visibility, [[2, 2], [2, 0], [2, 0], [0, 0]])
    # Corner-counted edges 10 and 30 of a box over pixels 10 to 29.
    np.testing.assert_array_equal(labels.boxes[0], [9.5, 19.5, 29.5, 39.5])
    assert labels.subjects[3].box is None and all(subject.group is None for subject in labels.subjects)


def test_visibility_1_means_occluded_if_any_is_2(tmp_path: Path) -> None:
    pair(tmp_path, "a", ONE)
    pair(tmp_path, "b", {"bboxes": [[0, 0, 1, 1]], "keypoints": [[[1, 2, 2], [3, 4, 1]]]})
    np.testing.assert_array_equal(read_labels(tmp_path).visibility, [[1, 1], [2, 1]])


def test_boxes_are_optional(tmp_path: Path) -> None:
    pair(tmp_path, "a", {"keypoints": ONE["keypoints"]})
    assert read_labels(tmp_path, format="json_per_image").subjects[0].box is None


def test_every_layout_is_read(tmp_path: Path) -> None:
    for split in ("train", "test"):
        pair(tmp_path / "parent" / split, split, ONE)
        pair(tmp_path / "flat parent" / split, split, ONE, beside=True)
    pair(tmp_path / "flat", "a", ONE, beside=True)
    (tmp_path / "flat/._a.json").write_bytes(b"\0")
    for folder, images in {
        "parent": ("test/images/test.jpg", "train/images/train.jpg"),
        "parent/train": ("images/train.jpg",),
        "flat parent": ("test/test.jpg", "train/train.jpg"),
        "flat": ("a.jpg",),
    }.items():
        assert recognize(tmp_path / folder) == "json_per_image"
        assert read_labels(tmp_path / folder).images == images


def test_other_files_are_not_recognized(tmp_path: Path) -> None:
    assert not json_per_image.recognize(tmp_path, b"") and not json_per_image.recognize(tmp_path / "no", b"")
    pair(tmp_path, "labels", {"images": [], "annotations": [], "categories": [{"keypoints": ["a"]}]}, beside=True)
    assert not json_per_image.recognize(tmp_path, b"")
    assert not json_per_image.recognize(tmp_path / "labels.json", b"{")


def test_images_without_a_json_file_are_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pair(tmp_path, "a", ONE)
    for name in ("z.png", "y.jpg"):
        (tmp_path / "images" / name).write_bytes(b"")
    assert len(read_labels(tmp_path)) == 1
    assert "left out 2 images without a JSON file, first y.jpg" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"bboxes": [], "keypoints": [', "b.json: the file is incomplete: it ends at line 1 column 30"),
        (b'{"bboxes": []\n"keypoints": []}', "b.json: the file is not JSON at line 2 column 1: "),
        ([ONE], "b.json: the entry is .* must be an object"),
        ({"bboxes": []}, r"b.json: it has only .'bboxes'"),
        ({"bboxes": [], "keypoints": [[[1, 2, 1]]]}, "b.json: it has 0 bboxes but keypoints of 1 objects"),
        ({"bboxes": {}, "keypoints": []}, "b.json: bboxes is {}; it must be a list"),
        ({"bboxes": [[1, 2, 3, 4]], "keypoints": [[[1, 2]]]}, "object 1: keypoint 1 .x, y, visibility. holds 2"),
        ({"bboxes": [[1, 2, 3, 4]], "keypoints": [[[1, 2, 3]]]}, "object 1: keypoint 1 has visibility 3"),
        ({"bboxes": [[1, 2, 3, 4]], "keypoints": [[[1, NAN, 1]]]}, "object 1: keypoint 1 is labeled at x=1 y=nan"),
        ({"bboxes": [[1, 2, 3, 4]], "keypoints": [[]]}, "object 1: it has no keypoints"),
        ({"bboxes": [[3, 2, 1, 4]], "keypoints": [[[1, 2, 1]] * 2]}, r"object 1: bbox \[3, 2, 1, 4\] encloses no"),
        (
            {"bboxes": [[1, 2, 3, 4]], "keypoints": [[[1, 2, 1]] * 3]},
            "annotations/b.json object 1: it has 3 keypoints, but annotations/a.json object 1 and most others have 2",
        ),
    ],
)
def test_errors_name_file_object_and_value(tmp_path: Path, content: Any, message: str) -> None:
    pair(tmp_path, "a", ONE)
    pair(tmp_path, "b", content)
    pair(tmp_path, "c", ONE)
    with pytest.raises(ValueError, match=message) as error:
        read_labels(tmp_path)
    assert str(error.value).startswith(f"{tmp_path} annotations/b.json")
    assert read_labels(tmp_path, on_error="skip").images == ("images/a.jpg", "images/c.jpg")


def test_a_json_file_without_exactly_one_image_is_an_error(tmp_path: Path) -> None:
    pair(tmp_path, "a", ONE)
    pair(tmp_path, "b", ONE, suffix="")
    with pytest.raises(ValueError, match=r"b.json: no image b\.\* is in .*images"):
        read_labels(tmp_path)
    for suffix in (".png", ".jpg"):
        (tmp_path / f"images/b{suffix}").write_bytes(b"")
    with pytest.raises(ValueError, match=r"b.json: b.jpg and b.png both have its name"):
        read_labels(tmp_path)


def test_the_most_frequent_number_of_keypoints_is_right(tmp_path: Path) -> None:
    pair(tmp_path, "a", {"bboxes": [[0, 0, 1, 1]], "keypoints": [[[1, 2, 1]]]})
    for name in "bc":
        pair(tmp_path, name, ONE)
    assert read_labels(tmp_path, on_error="skip").images == ("images/b.jpg", "images/c.jpg")


def test_a_wrong_path_is_an_error(tmp_path: Path) -> None:
    pair(tmp_path, "a", NONE)
    with pytest.raises(ValueError, match="none of its JSON files has an object with keypoints"):
        read_labels(tmp_path)
    with pytest.raises(ValueError, match="is a file; name the folder"):
        read_labels(tmp_path / "annotations/a.json", format="json_per_image")


def test_real_files_agree_with_a_table_made_from_them(data_root: Path) -> None:
    folder = data_root / "keypoints/glue-tubes"
    assert recognize(folder) == "json_per_image"
    labels, table = read_labels(folder), read_labels(data_root / "keypoints/labels/glue-tubes-single.csv")
    assert (len(labels), len(set(labels.images)), (labels.visibility == 2).all()) == (226, 134, True)
    single = {image: i for i, image in enumerate(labels.images) if labels.images.count(image) == 1}
    assert set(single) == set(table.images)
    np.testing.assert_array_equal(labels.keypoints[[single[image] for image in table.images]], table.keypoints)
    edges = labels.boxes + 0.5
    np.testing.assert_array_equal(edges, np.round(edges))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    pair(folder, "b", ONE)
    return folder


@FUZZ
@given(hostile(TWO) | st.binary(max_size=200))
def test_a_damaged_file_raises_only_value_errors(folder: Path, content: bytes) -> None:
    pair(folder, "a", content)
    assert_valid_or_refused(folder, "json_per_image")
