"""An audit loses of a row what cannot be read, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.labels import written
from softpoint.labels.formats import read_labels
from softpoint.labels.row_errors import RowErrors

_COCO = {
    "images": [{"id": n, "file_name": f"{n}.png"} for n in (1, 2)],
    "annotations": [
        {"id": n, "image_id": n, "category_id": 1, "bbox": [0, 0, 9, 9], "keypoints": [1, 2, 2, 3.5, n, 2, 5, 6, 1]}
        for n in (1, 2)
    ],
    "categories": [{"id": 1, "name": "mouse", "keypoints": ["a", "b", "c"]}],
}
_YAML = "train: images\nval: images\nkpt_shape: [3, 3]\nnames: [mouse]\nkpt_names: {0: [a, b, c]}\n"

_DLC = "scorer,s,s,s,s\nbodyparts,a,a,b,b\ncoords,x,y,x,y\n1.png,1,2,3,4\n2.png,1,2,3.5,4\n"

# A file, its text, a part of it that stands for one coordinate of the keypoint b in 2.png, and what replaces it.
FILES: dict[str, tuple[str, str, str, str]] = {
    "wide.csv": ("image,a_x,a_y,b_x,b_y,c_x,c_y\n1.png,1,2,3,4,5,6\n2.png,1,2,3.5,4,5,6\n", "3.5", "3,5o", "b"),
    "long.csv": ("image,keypoint,x,y\n2.png,a,1,2\n2.png,b,3.5,4\n2.png,c,5,6\n", "3.5", "3.5px", "b"),
    "first.csv": ("image,keypoint,x,y\n2.png,b,3.5,4\n2.png,a,1,2\n2.png,c,5,6\n", "3.5", "3.5px", "b"),
    "dlc.csv": (_DLC, "3.5", "??", "b"),
    "half.csv": (_DLC, "3.5", "", "b"),
    "coco.json": (json.dumps(_COCO), "3.5, 2,", '"3.5", 2,', "b"),
    "state.json": (json.dumps(_COCO), "3.5, 2, 2", "3.5, 2, 7", "b"),
    "labels/2.txt": ("0 .5 .5 .5 .5 .1 .2 2 .35 .4 2 .5 .6 1\n", ".35", "3.5", "b"),
    "a.tps": ("LM=3\n1 2\n3.5 4\n5 6\nIMAGE=2.png\nID=1\n", "3.5 4", "3.5 4 4", "LM2"),
    "2.pts": ("version: 1\nn_points: 3\n{\n1 2\n3.5 4\n5 6\n}\n", "3.5 4", "3.5 nan", "keypoint_2"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_cell_costs_its_point_alone(tmp_path: Path, name: str) -> None:
    text, cell, bad, keypoint = FILES[name]
    bad = f'"{bad}"' if name == "wide.csv" else bad
    folder = name.endswith(("txt", "pts"))
    for image in ("1.png", "2.png", "images/2.png"):
        written(tmp_path, b"", image)
        Image.new("L", (12, 10)).save(tmp_path / image)
    if name.endswith("txt"):
        written(tmp_path, _YAML, "data.yaml")
    path = tmp_path if folder else tmp_path / name
    written(tmp_path, text, name)
    whole = read_labels(path)
    assert text.count(cell) == 1
    written(tmp_path, text.replace(cell, bad), name)
    with pytest.raises(ValueError, match=str(path)):
        read_labels(path)
    errors = RowErrors(str(path), silent=True)
    kept = read_labels(path, errors=errors)
    (error,) = errors.skipped
    (row,) = [i for i, image in enumerate(whole.images) if image == error.image]
    assert error.image.endswith("2.png") and error.part == keypoint and error.reason
    assert kept.images == whole.images and kept.skeleton == whole.skeleton
    k = whole.skeleton.index(keypoint)
    points, states = whole.keypoints.copy(), whole.visibility.copy()
    points[row, k], states[row, k] = np.nan, 0
    np.testing.assert_array_equal(kept.keypoints, points)
    np.testing.assert_array_equal(kept.visibility, states)
    np.testing.assert_array_equal(kept.boxes, whole.boxes)
    if name.endswith(("csv", "json")):  # with a second row
        trained = read_labels(path, on_error="skip").places
        assert [s.place for s in kept.subjects if s.row != error.place] == [*trained]


def test_what_is_no_point_costs_its_field_or_its_row(tmp_path: Path) -> None:
    header = "image,box_left,box_top,box_right,box_bottom,area,a_x,a_y"
    path = tmp_path / "labels.csv"
    path.write_text(f"{header}\n1.png,0,0,5,five,9,1,2\n2.png,5,0,1,9,many,3,4\n3.png,1,2\n,0,0,5,5,1,1,1\n")
    errors = RowErrors(str(path), silent=True)
    labels = read_labels(path, errors=errors)
    assert labels.images == ("1.png", "2.png") and labels.keypoints.ravel().tolist() == [1, 2, 3, 4]
    assert [s.box for s in labels.subjects] == [None, None]
    found = [(error.place, error.image, error.part) for error in errors.skipped]
    assert found == [
        ("line 2", "1.png", "box"),
        ("line 3", "2.png", "box"),
        ("line 3", "2.png", "area"),
        ("line 4", "3.png", ""),
        ("line 5", "", ""),
    ]


def test_what_a_value_must_be_is_no_way_out() -> None:
    errors = RowErrors("labels.csv")
    for line in range(4):
        with errors.row(f"line {line}"):
            if line > 2:
                raise ValueError("v is 7; it must be 0, 1 or 2")
    with pytest.raises(ValueError, match=r"v is 7; it must be 0, 1 or 2: correct it, or leave it out by"):
        errors.raise_or_warn()


def test_a_way_out_of_all_rows_is_said_once_and_no_row_counts_twice() -> None:
    errors = RowErrors("labels.csv")
    for step in ("parsed", "searched"):
        for line in (1, 2, 3):
            with errors.row(f"line {line}"):
                if step == "searched" and line > 1:
                    raise FileNotFoundError(f"{line}.png was not found; set data.images")
    with pytest.raises(ValueError, match="rows cannot be used") as error:
        errors.raise_or_warn()
    assert str(error.value).splitlines() == [
        "labels.csv: 2 rows cannot be used",
        "  line 2: 2.png was not found",
        "  line 3: 3.png was not found",
        "set data.images",  # and not to leave out two of three
    ]
