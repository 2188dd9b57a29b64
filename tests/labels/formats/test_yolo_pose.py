"""YOLO's pose labels become pixels as in Ultralytics, also in a data set that was moved."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from helpers.labels import FUZZ, assert_refused, assert_valid_or_refused, damaged, written
from softpoint.labels.formats import read_labels, recognize

YAML = """path: /home/anna/datasets/pose
train: images/train
val: images/val
test:
kpt_shape: [3, 3]
flip_idx: [0, 2, 1]
names:
  0: mouse
  1: rat
"""
# Images are 100 wide and 50 high.
LINES = "0 0.5 0.5 0.2 0.4 0.25 0.5 2 0.1 0.2 1 0.9 0.9 0\n1 0.1 0.1 0 0.1 0 0 2 1 1 2 0 0 0\n"


def put(path: Path, text: str | bytes) -> Path:
    return written(path.parent, text, path.name)


def images(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (100, 50)).save(folder / name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set whose data.yaml comes from another machine."""
    images(tmp_path, "images/train/a.png", "images/train/night/b.png", "images/val/c.png")
    put(tmp_path / "labels/train/a.txt", LINES)
    put(tmp_path / "labels/val/c.txt", "\n")
    put(tmp_path / "data.yaml", YAML)
    return tmp_path


def test_fractions_become_pixels(folder: Path) -> None:
    labels = read_labels(folder)
    nan = [np.nan, np.nan]
    assert labels.source == str(folder / "data.yaml") and labels.folder == str(folder)
    assert labels.images == ("images/train/a.png",) * 2 + ("images/train/night/b.png", "images/val/c.png")
    wanted = [[[25, 25], [10, 10], nan], [[0, 0], [100, 50], nan], [nan] * 3, [nan] * 3]
    np.testing.assert_array_equal(labels.keypoints, wanted)
    np.testing.assert_array_equal(labels.visibility, [[2, 1, 0], [2, 2, 0], [0, 0, 0], [0, 0, 0]])
    # From 40 % to 60 % of 100 pixels is the 20 pixels 40 to 59, whose edges are 39.5 and 59.5.
    np.testing.assert_allclose(labels.boxes[0], (39.5, 14.5, 59.5, 34.5), atol=1e-12)
    assert np.isnan(labels.boxes[1:]).all()
    assert [subject.category for subject in labels.subjects] == ["mouse", "rat", "", ""]
    assert labels.places[:2] == ("labels/train/a.txt line 1", "labels/train/a.txt line 2")
    assert labels.places[2:] == ("image images/train/night/b.png", "image images/val/c.png")
    # The folder of a split is no group.
    assert labels.groups == ("", "", "night", "")
    assert labels.skeleton.names == ("keypoint_1", "keypoint_2", "keypoint_3")
    assert labels.skeleton.flip_pairs == (("keypoint_2", "keypoint_3"),)
    assert labels.categories == dict.fromkeys(("mouse", "rat"), labels.skeleton.names)


def test_the_box_of_a_whole_image_spans_its_edges(folder: Path) -> None:
    put(folder / "labels/train/a.txt", "0 .5 .5 1 1" + " 0 0 0" * 3)
    assert read_labels(folder).subjects[0].box == (-0.5, -0.5, 99.5, 49.5)


def test_the_folder_of_images_may_be_that_of_the_file(folder: Path) -> None:
    plain = read_labels(folder)
    labels = read_labels(put(folder / "data.yaml", YAML.replace("images/train\nval: images/val", ".\nval: ./")))
    assert {*labels.images} == {*plain.images} and labels.splits == {}


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (("path: /home/anna/datasets/pose\n", ""), "data.yaml"),
        (("path: /home/anna/datasets/pose", "path: ."), "data.yaml"),
        (("path: /home/anna/datasets/pose", "path: .."), "config/pose.yml"),
        (("images/train\nval: images/val", "[images/train, images/val]\nval: images/val"), "data.yaml"),
        (("images/train\nval: images/val", "../images/train\nval: ../images/val"), "data.yaml"),
        (("images/train\nval: images/val", "/other/pose/images/train\nval: images\\val"), "data.yaml"),
        (("images/train\nval: images/val", "train.txt\nval: lists/val.txt"), "data.yaml"),
        (("val:", "validation:"), "data.yaml"),
    ],
    ids=["none", "here", "above", "lists", "roboflow", "elsewhere", "text", "validation"],
)
def test_folders_of_images_are_found_however_they_are_named(folder: Path, change: tuple[str, str], place: str) -> None:
    plain = read_labels(folder)
    put(folder / "train.txt", "images/train/a.png\n./images/train/night/b.png\n")
    put(folder / "lists/val.txt", "/gone/images/val/c.png\n")
    (folder / "data.yaml").unlink()
    labels = read_labels(put(folder / place, YAML.replace(*change)))
    assert labels.images == plain.images and labels.groups == plain.groups
    assert Path(labels.folder) == folder


def test_the_folder_of_images_may_be_given(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = put(tmp_path_factory.mktemp("elsewhere") / "data.yaml", YAML)
    with pytest.raises(ValueError, match=r"images/train, images/val was not found below .*; set data.images"):
        read_labels(path)
    assert read_labels(path, images=folder).images == read_labels(folder).images
    labels = read_labels(path, images=folder / "images")
    assert labels.folder == str(folder / "images") and labels.images[-1] == "val/c.png"
    np.testing.assert_array_equal(labels.keypoints, read_labels(folder).keypoints)


def test_keypoints_may_have_names_per_class(folder: Path) -> None:
    def read(*lines: str) -> tuple:
        put(folder / "data.yaml", YAML.replace("flip_idx: [0, 2, 1]", "\n".join(lines)))
        labels = read_labels(folder)
        return labels.skeleton.names, labels.skeleton.flip_pairs, labels.categories["rat"], labels.keypoints[1, :, 0]

    names, pairs, _, _ = read("kpt_names: {0: [nose, left_ear, right_ear]}")
    assert names == ("nose", "left_ear", "right_ear") and pairs == (("left_ear", "right_ear"),)
    assert read("kpt_names: [a, b, c]", "flip_idx: [0, 1, 2]")[:2] == (("a", "b", "c"), ())
    assert read("kpt_names: [a, left_b, right_b]", "flip_idx: []")[1] == ()
    names, pairs, parts, x = read("kpt_names: {0: [a, b, c], 1: [a, d, e]}", "flip_idx: [0, 2, 1]")
    assert names == ("a", "b", "c", "d", "e") and parts == ("a", "d", "e")
    assert pairs == (("b", "c"), ("d", "e"))
    np.testing.assert_array_equal(x, [0, np.nan, np.nan, 100, np.nan])


def test_without_flags_missing_points_are_unlabeled(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(folder / "data.yaml", YAML.replace("[3, 3]", "[3, 2]"))
    put(folder / "labels/train/a.txt", "0 .5 .5 .1 .1 0 0 -0.001 0.5 0 0.5")
    labels = read_labels(folder)
    np.testing.assert_array_equal(
        labels.keypoints[0], [[0, 0], [np.nan] * 2, [0, 25]]
    )  # one point may be in the corner
    assert "left out 1 keypoints without a flag that have a coordinate below 0" in caplog.text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 .5 .5 .1 .1 0 0 0", r"it has 8 numbers; kpt_shape \[3, 3\] requires 14"),
        ("2 .5 .5 .1 .1" + " 0 0 0" * 3, r"class 2 is not one of names: 0, 1"),
        ("0.5 .5 .5 .1 .1" + " 0 0 0" * 3, r"class 0.5 is not"),
        ("nan .5 .5 .1 .1" + " 0 0 0" * 3, r"class nan is not"),
        ("0 .5 .5 .1 x" + " 0 0 0" * 3, r"'x' is not a number"),
        ("0 .5 .5 .1 1_0" + " 0 0 0" * 3, r"'1_0' is not a number"),
        ("0 .5 .5 -.005 .1" + " 0 0 0" * 3, r"its box is -0.005 wide"),
        ("0 .5 50 .1 .1" + " 0 0 0" * 3, r"50 is not a fraction"),
        ("0 .5 .5 .1 .1 25 .5 2" + " 0 0 0" * 2, r"25 is not a fraction of the image's size"),
        ("0 .5 .5 .1 .1 nan .5 2" + " 0 0 0" * 2, r"nan is not a fraction"),
        ("0 .5 .5 .1 .1 -0.02 .5 1" + " 0 0 0" * 2, r"-0.02 is not a fraction"),
        ("0 .5 .5 .1 .1 .5 .5 3" + " 0 0 0" * 2, r"visibility 3 is not 0 \(unlabeled\)"),
        ("0 .5 .5 .1 .1 .5 .5 inf" + " 0 0 0" * 2, r"visibility inf is not"),
    ],
)
def test_errors_in_lines_are_named(folder: Path, line: str, message: str, caplog: pytest.LogCaptureFixture) -> None:
    put(folder / "labels/train/a.txt", LINES + line)
    with pytest.raises(ValueError, match=r" labels/train/a.txt line 3: .*" + message):
        read_labels(folder)
    assert len(read_labels(folder, on_error="skip")) == 4 and "left out 1" in caplog.text


def test_unlabeled_coordinates_may_be_anything(folder: Path) -> None:
    put(folder / "labels/train/a.txt", "0 .5 .5 .1 .1 nan 9 0 -1 -1 0 1.005 .5 2")
    np.testing.assert_allclose(read_labels(folder).keypoints[0], [[np.nan] * 2, [np.nan] * 2, [100.5, 25]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[3, 3]", "[3, 4]"), r"kpt_shape \[3, 4\] must be"),
        (("[3, 3]", "[1000000000, 3]"), r"kpt_shape \[1000000000, 3\] must be"),
        (("[3, 3]", "[true, 3]"), r"kpt_shape \[True, 3\]"),
        (("[3, 3]", "3"), r"kpt_shape 3 must be"),
        (("[0, 2, 1]", "[1, 2, 0]"), r"flip_idx \[1, 2, 0\] must exchange pairs"),
        (("[0, 2, 1]", "[0, 1]"), r"flip_idx \[0, 1\] must exchange pairs of the keypoints 0 to 2"),
        (("[0, 2, 1]", "[0, a, 1]"), r"must be a list of 3 numbers"),
        (("  1: rat", "  1: mouse"), r"repeats a class"),
        (("  1: rat", "  1: [rat]"), r"names: \['rat'\] is not a name"),
        (("  1: rat", "  x: rat"), r"must list the classes"),
        (("names:", "nothing:"), r"names None must list the classes"),
        (("flip_idx", "kpt_names: [a, b]\nflip_idx"), r"must be a list of 3 names"),
        (("flip_idx", "kpt_names: [a, b, a]\nflip_idx"), r"repeats a name"),
        (("flip_idx", "kpt_names: {0: [a, b, c], 5: [a, b, c]}\nflip_idx"), r"no names for class rat"),
        (("train: images/train\nval: images/val", ""), r"has none of train, val and test"),
        (("images/train", "{a: b}"), r"train: .* is not the path"),
        (("path: /home/anna/datasets/pose", "path: [a]"), r"path \['a'\] is not the path"),
        (("path:", "\tpath:"), r"cannot be read as YAML"),
        (("path: /", "path: !!python/object/apply:os.getcwd []\nx: /"), r"cannot be read as YAML"),
        ((YAML, "- kpt_shape"), r"is not a mapping"),
        ((YAML, "kpt_shape: " + "[" * 5000), r"cannot be read as YAML"),
    ],
)
def test_errors_in_data_yaml_are_named(folder: Path, change: tuple[str, str], message: str) -> None:
    put(folder / "data.yaml", YAML.replace(*change))
    assert_refused(folder / "data.yaml", message, "yolo_pose")


def test_a_number_of_classes_replaces_names(folder: Path) -> None:
    put(folder / "data.yaml", YAML.partition("names:")[0] + "nc: 2\n")
    assert [subject.category for subject in read_labels(folder).subjects] == ["class_0", "class_1", "", ""]


def test_missing_folders_images_and_labels(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(folder / "data.yaml", YAML.replace("test:", "test: images/later"))
    assert len(read_labels(folder)) == 4 and "the test images images/later were not found" in caplog.text
    put(folder / "list.txt", "images/train/a.png\nimages/train/gone.png\n")
    put(folder / "data.yaml", YAML.replace("images/train", "list.txt"))
    with pytest.raises(ValueError, match=r"list.txt line 2: images/train/gone.png was not found"):
        read_labels(folder)
    for file in folder.glob("labels/*/*.txt"):
        file.unlink()
    put(folder / "data.yaml", YAML)
    with pytest.raises(ValueError, match=r"none of its 3 images has a label file such as .*labels"):
        read_labels(folder)


def test_no_image_gets_the_labels_of_another(folder: Path) -> None:
    images(folder, "images/train/a.jpg")
    with pytest.raises(ValueError, match=r"train/a.txt: images/train/a.jpg and images/train/a.png both have its name"):
        read_labels(folder)
    assert read_labels(folder, on_error="skip").images == ("images/train/night/b.png", "images/val/c.png")
    put(folder / "data.yaml", YAML.replace("images/train", "/x/day1/val").replace("images/val", "/x/day2/val"))
    with pytest.raises(ValueError, match=r"/x/day1/val and /x/day2/val both end in val, the only such file below"):
        read_labels(folder, images=folder / "images")


def test_a_damaged_image_or_label_file_is_an_error_of_its_row(folder: Path) -> None:
    (folder / "images/train/a.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"labels/train/a.txt: .*a\.png"):
        read_labels(folder)
    (folder / "labels/val/c.txt").write_bytes(b"\xff\xfe")
    assert read_labels(folder, on_error="skip").images == ("images/train/night/b.png",)


def test_sizes_are_those_of_upright_images(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (50, 100)).save(folder / "images/train/a.png", exif=exif)
    subject = read_labels(folder).subjects[0]
    assert subject.size == (50, 100) and subject.keypoints[0].tolist() == [25, 25]


def test_a_folder_and_its_data_yaml_are_recognized(folder: Path) -> None:
    assert recognize(folder) == recognize(folder / "data.yaml") == "yolo_pose"
    put(folder / "data.yaml", "names: [a]")
    with pytest.raises(ValueError, match="no known label format"):
        recognize(folder)


@pytest.fixture(scope="module")
def folder_of_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damaged")
    images(folder, "images/train/a.png", "images/val/c.png")
    return folder


@FUZZ
@given(st.just(YAML.encode()) | damaged(YAML) | st.binary(max_size=99), damaged(LINES) | st.binary(max_size=99))
def test_damaged_files_raise_only_value_errors(folder_of_images: Path, yaml: bytes, lines: bytes) -> None:
    put(folder_of_images / "labels/train/a.txt", lines)
    assert_valid_or_refused(put(folder_of_images / "data.yaml", yaml), "yolo_pose")


def test_mappings_that_multiply_by_merging_are_refused_at_once(folder: Path) -> None:
    merges = [f"m{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 9)}]}}" for i in range(1, 10)]
    put(folder / "data.yaml", "\n".join(["m0: &m0 {a: 1}", *merges, YAML]))
    with pytest.raises(ValueError, match="a mapping has more than 20000 entries"):
        read_labels(folder)
    put(folder / "data.yaml", "\n".join(["m0: &m0 {a: 1}", *merges[:2], YAML]))
    assert len(read_labels(folder))


def test_multiplying_aliases_give_short_messages(folder: Path) -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60)]
    for key in ("kpt_shape", "names", "kpt_names", "flip_idx", "train", "path"):
        kept = [line for line in YAML.splitlines() if not line.startswith((key, "  ") if key == "names" else key)]
        put(folder / "data.yaml", "\n".join([*lines, *kept, f"{key}: *a59", "x: kpt_shape"]))
        with pytest.raises(ValueError, match=key) as caught:
            read_labels(folder)
        assert len(str(caught.value)) < 500


def test_paths_cannot_leave_the_folder(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    outside = folder / "inner"
    entries = "../images/train\nval: ../../../../../etc"
    put(outside / "data.yaml", YAML.replace("images/train\nval: images/val", entries))
    with caplog.at_level(logging.WARNING), pytest.raises(ValueError, match="was not found below"):
        read_labels(outside)
