"""Boxes for predictions: the same from labels and from every form of a detector's file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from helpers.hostile_json import hostile
from helpers.labels import FUZZ, images, labels_of, written
from softpoint.labels.box_files import read_boxes

NAMES = ("nose", "left_ear", "right_ear", "tail")
IMAGES = [{"id": 7, "file_name": "./v/a.png"}, {"id": 8, "file_name": "b.png"}]
KINDS = [{"id": 1, "name": "mouse"}, {"id": 2, "name": "rat"}]
BOXES = [
    {"image_id": 7, "category_id": 1, "bbox": [0, 0, 4, 5], "score": 0.9},
    {"image_id": 7, "category_id": 2, "bbox": [1, 1, 4, 5]},
    {"image_id": 8, "category_id": 1, "bbox": [2, 2, 0, 0]},
]


def of(folder: Path, content: Any, **options: Any) -> dict[str, list]:
    text = content if isinstance(content, str) else json.dumps(content)
    path = written(folder, text, "boxes.csv" if isinstance(content, str) else "boxes.json")
    return {image: boxes.tolist() for image, boxes in read_boxes(path, NAMES, **options).items()}


@pytest.mark.parametrize("name", ["boxes.csv", "boxes_detections.json", "boxes_instances.json"])
def test_real_boxes_of_a_detector_are_those_of_labels(data_root: Path, name: str) -> None:
    folder = data_root / "cases/missing"
    wanted = read_boxes(folder / "boxes_withnames.json", NAMES)
    found = read_boxes(folder / name, NAMES, image_file=folder / "boxes_withnames.json")
    assert found.keys() == wanted.keys() and len(wanted) == 20
    # A table counts from the centers of pixels, COCO from the corner of the image.
    shift = 0.5 if name == "boxes.csv" else 0.0
    np.testing.assert_allclose([found[image] - shift for image in wanted], [*wanted.values()])


def test_categories_are_those_of_the_training(tmp_path: Path) -> None:
    coco = {"images": IMAGES, "annotations": BOXES, "categories": KINDS}
    mouse, rat = [-0.5, -0.5, 3.5, 4.5], [0.5, 0.5, 4.5, 5.5]
    file = written(tmp_path, json.dumps(coco), "images.json")
    paths = [{**box, "image_id": "v/a.png"} for box in BOXES[:2]]
    for content in (coco, BOXES, paths):
        assert of(tmp_path, content, image_file=file) == {"v/a.png": [mouse, rat]}
        assert of(tmp_path, content, image_file=file, categories=["rat", "cat"]) == {"v/a.png": [rat]}
        with pytest.raises(ValueError, match=r"has boxes of mouse, rat, but the model was trained on person;"):
            of(tmp_path, content, image_file=file, categories=["person"])
    with pytest.raises(ValueError, match=r"has boxes of category_id 1, category_id 2, but the model was"):
        of(tmp_path, paths, categories=["rat"])
    labels = coco | {"categories": [kind | {"keypoints": ["nose"]} for kind in KINDS]}
    assert of(tmp_path, labels, categories=["rat"]) == {"v/a.png": [rat]}
    with pytest.raises(ValueError, match=r"has boxes of mouse, rat, but the model was trained on person;"):
        of(tmp_path, labels, categories=["person"])
    header = "image,category,box_left,box_top,box_right,box_bottom\n"
    assert of(tmp_path, f"{header}a.png,rat,1,2,3,4\na.png,mouse,0,0,1,1\n", categories=["rat"]) == {
        "a.png": [[1, 2, 3, 4]]
    }
    text = "image,name,class,confidence,x1,y1,x2,y2\na.png,mouse,0,.9,1.5,2.5,3.5,4.5\n"  # Ultralytics
    assert of(tmp_path, text, categories=["mouse"]) == {"a.png": [[1, 2, 3, 4]]}


def test_a_table_of_points_has_boxes_of_subjects(tmp_path: Path) -> None:
    points = ["a.png,nose,1,2", "a.png,tail,30,40"]
    boxes = of(tmp_path, "\n".join(["image,keypoint,x,y", *points]))
    sized = [f"{line},640,480" for line in points]  # of the image
    assert of(tmp_path, "\n".join(["image,keypoint,x,y,width,height", *sized])) == boxes
    assert len(boxes["a.png"]) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BOXES, r"(?s)image_id 7 is the id of no image known here.*\npredict with source= the COCO file"),
        ([{"image_id": "a.png", "bbox": [0, 0, 1]}], r"box 1: bbox holds 3 values"),
        ([{"image_id": "a.png"}], r"box 1: it has image_id, and no bbox; give it x, y, width and height"),
        ([{"image_id": "77", "bbox": [0, 0, 1, 1]}], "box 1: image_id 77 is the id of no image known here"),
        (
            {"images": [*IMAGES, {"id": "7", "file_name": "c.png"}], "annotations": []},
            "a.png and c.png have one id, 7;",
        ),
        ([], "has no box of an image"),
        ("image,box_left,box_top,box_right,box_bottom\na.png,3,1,2,2\n", "line 2: box has left 3"),
        ("image,box_left,box_top,box_right,box_bottom\n", "has no box of an image"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        of(tmp_path, content)


def test_what_is_not_used_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    crowd, lost = BOXES[0] | {"iscrowd": 1}, BOXES[0] | {"image_id": "v/lost.png"}
    coco = {"images": IMAGES, "annotations": [*BOXES, crowd, lost], "categories": KINDS}
    found = of(tmp_path, coco, categories=["mouse"])
    assert {image: len(boxes) for image, boxes in found.items()} == {"v/a.png": 1, "v/lost.png": 1}
    for text in (
        "3 scores",
        "1 crowds",
        "1 boxes without area",
        "1 boxes of other categories",
        "1 boxes of images that",
    ):
        assert text in caplog.text
    caplog.clear()
    text = [{"image_id": "7", "bbox": [0, 0, 4, 5]}]
    file = written(tmp_path, json.dumps(coco), "images.json")
    assert [*of(tmp_path, text, image_file=file)] == ["v/a.png"] and not caplog.text
    header = "image,crowd,box_left,box_top,box_right,box_bottom\n"
    assert [*of(tmp_path, f"{header}a.png,1,0,0,1,1\nb.png,0,0,0,1,1\n", categories=["rat"])] == ["b.png"]
    assert "1 crowds" in caplog.text and "it states none, so that every box counts" in caplog.text


CORNERS = [[1, 2, 11, 7], [3, 4, 13, 9]]
SUMMARY = [
    {"name": "mouse", "class": 0, "confidence": 0.9, "box": dict(zip(("x1", "y1", "x2", "y2"), c, strict=True))}
    for c in CORNERS
]


@pytest.mark.parametrize(
    "content",
    [
        {"v/a.png": {"boxes": CORNERS, "labels": [1, 1], "scores": [0.9, 0.8]}},
        [{"file_name": "v/a.png", "boxes": CORNERS}],
        [{"image": "v/a", "boxes": CORNERS[:1]}, {"image_id": "v/a.png", "bbox": [3, 4, 10, 5], "score": 1}],
        [{"image_id": "a", "file_name": "v/a.png", "category_id": 0, "bbox": [x, y, 10, 5]} for x, y, *_ in CORNERS],
        {"v/a.png": SUMMARY},
        "filename,width,height,class,xmin,ymin,xmax,ymax\nv/a.png,30,20,mouse,1,2,11,7\nv/a.png,30,20,mouse,3,4,13,9",
        "image,x,y,w,h\nv/a.png,1,2,10,5\nv\\a.png,3,4,10,5",
        "image;x1;y1;x2;y2\nv/a.png;1;2;11;7\nv/a.png;3;4;13;9",
        "x_min,y_min,x_max,y_max,image\n1,2,11,7,v/a.png\n3,4,13,9,v/a.png",
    ],
)
def test_every_form_counts_from_the_corner(tmp_path: Path, content: Any) -> None:
    written(tmp_path, b"", "v/a.png")
    expected = (np.array(CORNERS) - 0.5).tolist()
    assert of(tmp_path, content, images=tmp_path) == {"v/a.png": expected}


def test_text_files_of_yolo(tmp_path: Path) -> None:
    images(tmp_path / "v", labels_of(["a.png", "b.png"]), (20, 40))
    lines = [f"0 {(x + X) / 80} {(y + Y) / 40} {(X - x) / 40} {(Y - y) / 20} 0.9" for x, y, X, Y in CORNERS]
    written(tmp_path, "\n".join(lines), "runs/labels/a.txt")
    found = read_boxes(tmp_path / "runs", NAMES, images=tmp_path / "v")
    np.testing.assert_allclose(found["a.png"], np.array(CORNERS) - 0.5, atol=1e-9)
    written(tmp_path, "0 1 1", "runs/labels/b.txt")
    with pytest.raises(ValueError, match=r"b.txt: line 1 has 3 numbers; a box has class, x, y, width, height"):
        read_boxes(tmp_path / "runs", NAMES, images=tmp_path / "v")


@FUZZ
@given(
    hostile({"v/a.png": SUMMARY})
    | hostile([{"file_name": "a.png", "boxes": CORNERS}])
    | hostile({"images": IMAGES, "annotations": BOXES, "categories": KINDS})
    | hostile(BOXES)
)
def test_a_damaged_file_raises_only_value_errors(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = written(tmp_path_factory.getbasetemp(), content, "hostile.json")
    try:
        boxes = read_boxes(path, NAMES)
    except ValueError as error:
        assert str(path) in str(error)
    else:
        assert all(box.shape[1] == 4 and np.isfinite(box).all() for box in boxes.values())
