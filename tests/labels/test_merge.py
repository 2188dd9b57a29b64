"""Several sets of labels are one: keypoints by name, images, groups and splits of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.labels import images, written
from softpoint.labels.label_sets import read_sets
from softpoint.labels.load import load_labels
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import Labels
from softpoint.labels.source import LabelSource
from softpoint.labels.split import Split, split_labels


def put(folder: Path, name: str, header: str, *rows: str) -> Path:
    """Write a CSV and its images, whose points are within 9 pixels."""
    path = written(folder, "\n".join([f"image,{header}", *rows]), name)
    images(path.parent, read([path]))
    return path


def read(paths: list[Path], **options: Any) -> Labels:
    return read_sets(paths, None, None, None, RowErrors("labels"), **options)


A = ("nose_x,nose_y,ear_x,ear_y", "a.png,1,2,3,4", "b.png,5,6,,")
B = ("ear_x,ear_y,nose_x,nose_y", "a.png,7,8,2,1")


def test_keypoints_are_matched_by_name_and_images_kept_apart(tmp_path: Path) -> None:
    paths = [put(tmp_path / "one", "x.csv", *A), put(tmp_path / "two", "x.csv", *B)]
    labels = load_labels(LabelSource(paths, cache_dir=tmp_path / "cache")).labels
    assert labels.skeleton.names == ("nose", "ear") and labels.images == ("one/a.png", "one/b.png", "two/a.png")
    expected = [[[1, 2], [3, 4]], [[5, 6], [np.nan] * 2], [[2, 1], [7, 8]]]
    np.testing.assert_array_equal(labels.keypoints, expected)
    assert labels.visibility.tolist() == [[2, 2], [2, 0], [2, 2]]
    assert labels.places == ("one/x.csv line 2", "one/x.csv line 3", "two/x.csv line 2")
    alone = load_labels(LabelSource(paths[0], cache_dir=tmp_path / "cache")).labels
    np.testing.assert_array_equal(labels.keypoints[:2], alone.keypoints)


def test_other_keypoints_are_listed_or_joined(tmp_path: Path) -> None:
    paths = [
        put(tmp_path / "one", "x.csv", *A),
        put(tmp_path / "two", "x.csv", "tail_x,tail_y,nose_x,nose_y", "a.png,7,8,2,1"),
    ]
    with pytest.raises(
        ValueError, match=r"different keypoints: ear only in .*one/x.csv; tail only in .*two/x.csv. Rename"
    ):
        read(paths)
    assert read(paths, keypoints=["nose"]).keypoints[:, 0].tolist() == [[1, 2], [5, 6], [2, 1]]
    joined = read(paths, skeleton="union")
    assert joined.skeleton.names == ("nose", "ear", "tail") and joined.visibility.tolist() == [
        [2, 2, 0],
        [2, 0, 0],
        [2, 0, 2],
    ]


def test_groups_of_one_name_are_two(tmp_path: Path) -> None:
    rows = [f"{group}/{i}.png,1,1,{group}" for group in "uv" for i in range(2)]
    paths = [put(tmp_path / name, "x.csv", "nose_x,nose_y,group", *rows) for name in ("one", "two")]
    labels = read([*paths, put(tmp_path / "flat", "y.csv", "nose_x,nose_y", "0.png,1,1", "1.png,1,1")])
    groups = dict(zip(labels.images, labels.groups, strict=True))
    assert groups["one/u/0.png"] == groups["one/u/1.png"] != groups["two/u/0.png"]
    assert len(set(labels.groups)) == 4 + 2  # the images of a flat folder are groups of their own


def test_frames_of_a_flat_folder_are_not_divided_and_the_run_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    rows = [f"frame_{i:03}.png,1,1" for i in range(12)]
    paths = [put(tmp_path / name, "x.csv", "nose_x,nose_y", *rows) for name in ("one", "two", "three")]
    labels = read(paths)
    assert set(labels.groups) == {"one", "two", "three"}
    rows_of = split_labels(labels, Split(), 0)
    held = {labels.groups[row] for row in rows_of["test"]}
    assert len(held) == 1 and not held & {labels.groups[row] for row in rows_of["train"]}
    assert f"the images of {paths[0]} are kept in one split: their names count frames of a video" in caplog.text


def test_splits_are_those_of_the_names(tmp_path: Path) -> None:
    header, rows = "nose_x,nose_y", ["0.png,1,1", "1.png,2,2"]
    paths = [put(tmp_path / name, "x.csv", header, *rows) for name in ("train", "valid", "test")]
    rows_of = split_labels(read(paths), Split(), 0)
    assert {name: found.tolist() for name, found in rows_of.items()} == {"train": [0, 1], "val": [2, 3], "test": [4, 5]}
    assert not read([paths[0], put(tmp_path / "other", "x.csv", header, *rows)]).splits


def test_a_set_without_a_split_is_trained_on_and_leaves_that_of_another(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without, the stated test images would be drawn into train."""
    caplog.set_level("INFO")
    text = json.dumps({"bboxes": [[0, 0, 5, 5]], "keypoints": [[[1, 1, 1]]]})
    for split in ("train", "valid", "test"):
        written(tmp_path / "stated", text, f"{split}/0.json")
        Image.new("L", (12, 10)).save(tmp_path / "stated" / split / "0.png")
    other = put(tmp_path / "more", "x.csv", "keypoint_1_x,keypoint_1_y", "0.png,1,1", "1.png,2,2")
    named = put(tmp_path / "test", "x.csv", "keypoint_1_x,keypoint_1_y", "0.png,1,1")
    labels = read([tmp_path / "stated", other, named])
    images = {name: {labels.images[row] for row in rows} for name, rows in split_labels(labels, Split(), 0).items()}
    assert images["train"] == {"stated/train/0.png", "more/0.png", "more/1.png"}
    assert images["test"] == {"stated/test/0.png", "test/0.png"} and images["val"] == {"stated/valid/0.png"}
    assert f"{tmp_path / 'stated'} its own, {other} states none, so train, {named} test" in caplog.text


def test_an_image_out_of_its_own_folder_is_refused(tmp_path: Path) -> None:
    """The folder that holds both sets has it, or is the root of the disk."""
    good = put(tmp_path / "b", "y.csv", "nose_x,nose_y", "0.png,1,1", f"{tmp_path.resolve()}/b/1.png,1,1")
    for image in ("../secret.png", f"{tmp_path}/secret.png", "x/../../secret.png", r"p\q/../..\..\secret.png"):
        bad = written(tmp_path / "a", f"image,nose_x,nose_y\n{image},1,1\n0.png,1,1\n", "x.csv")
        with pytest.raises(
            ValueError, match=r"x.csv line 2: its image .*secret.png' lies outside data.images=.*a; write"
        ):
            read([bad, good])
    labels = read_sets([bad, good], None, None, None, RowErrors("both", "skip"))
    assert labels.images == ("a/0.png", "b/0.png", "b/1.png")


def test_frames_of_one_folder_in_two_files_are_one_group(tmp_path: Path) -> None:
    header = "image,nose_x,nose_y"
    texts = {"x": ["u/0.png", "v/0.png"], "y": ["u/1.png", f"{tmp_path.resolve()}/v/1.png"], "z": ["v/2.png"]}
    paths = [
        written(tmp_path, "\n".join([header, *(f"{row},1,1" for row in rows)]), f"{name}.csv")
        for name, rows in texts.items()
    ]
    labels = read(paths)
    assert labels.images == ("u/0.png", "v/0.png", "u/1.png", "v/1.png", "v/2.png")
    assert labels.groups == ("u", "v", "u", "v", "v")
    assert len(set(read([paths[2], written(tmp_path, f"{header}\nv/3.png,1,1", "w.csv")]).groups)) == 2


def test_unlabeled_keypoints_of_another_set_are_never_absent() -> None:
    with pytest.raises(ValueError, match=r"data.skeleton=union with data.unlabeled=absent would teach"):
        LabelSource(["a.csv", "b.csv"], skeleton="union", unlabeled="absent")


def test_an_image_of_two_sets_is_refused(tmp_path: Path) -> None:
    paths = [put(tmp_path, "x.csv", *A), put(tmp_path, "y.csv", *B)]
    with pytest.raises(ValueError, match=r"a.png is labeled in .*x.csv and in .*y.csv; remove it from one of them"):
        read(paths)
    with pytest.raises(ValueError, match=r"x.csv is named twice"):
        read([paths[0], paths[0]])
    with pytest.raises(ValueError, match=r"data.labels names 2 sets of labels and data.images 1 folders"):
        read_sets(paths, None, [tmp_path], None, RowErrors("labels"))


def test_each_set_has_a_folder_of_images_of_its_own(tmp_path: Path) -> None:
    paths = [put(tmp_path / "one", "x.csv", *A), put(tmp_path / "two", "y.csv", *B)]
    moved = [path.rename(tmp_path / path.name) for path in paths]
    labels = read_sets(moved, None, [path.parent for path in paths], None, RowErrors("labels"))
    assert all((Path(labels.folder) / image).is_file() for image in labels.images)


def test_the_folder_of_a_list_of_one_is_used(tmp_path: Path) -> None:
    path = put(tmp_path / "one", "x.csv", *A)
    moved = path.rename(tmp_path / path.name)
    loaded = load_labels(LabelSource([moved], [path.parent], cache_dir=tmp_path / "cache"))
    assert loaded.image_folder.folder == path.parent and len(loaded.labels) == 2


def test_rows_of_a_set_that_are_left_out_have_its_name_and_folder(tmp_path: Path) -> None:
    for name in ("a", "b"):
        written(tmp_path, "image,x_x,x_y\n1.png,1,2\n2.png,1\n", f"{name}/labels.csv")
    errors = RowErrors("both", "skip")
    labels = read_sets([tmp_path / name / "labels.csv" for name in ("a", "b")], None, None, None, errors)
    assert labels.places == ("a/labels.csv line 2", "b/labels.csv line 2")
    assert [(row.place, row.image) for row in errors.skipped] == [
        ("a/labels.csv line 3", "a/2.png"),
        ("b/labels.csv line 3", "b/2.png"),
    ]
