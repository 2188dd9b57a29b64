"""LabelMe, CVAT's XML, OpenPose, RectLabel and Roboflow: the same points, and never those of another image."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.hostile_json import hostile
from helpers.labels import FUZZ, assert_valid_or_refused, damaged, written
from softpoint.labels.formats import read_labels, recognize
from softpoint.labels.missing import repeated_points

NAN = float("nan")


def shape(label: str, *points: tuple[Any, Any], kind: str = "point", group: Any = None, **more: Any) -> dict[str, Any]:
    return {"label": label, "points": [*points], "group_id": group, "shape_type": kind, **more}


def labelme(image: str, *shapes: dict[str, Any]) -> dict[str, Any]:
    return {"version": "5", "flags": {}, "shapes": [*shapes], "imagePath": image, "imageHeight": 20, "imageWidth": 30}


def put(folder: Path, name: str, content: Any = b"") -> Path:
    return written(folder, content if isinstance(content, bytes) else json.dumps(content), name)


def cvat(*images: str) -> str:
    return f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>{"".join(images)}</annotations>'


def cvat_image(name: str, content: str, number: int = 0) -> str:
    return f'<image id="{number}" name="{name}" width="30" height="20">{content}</image>'


def cvat_point(label: str, xy: str, **attributes: Any) -> str:
    more = "".join(f' {key}="{value}"' for key, value in attributes.items())
    return f'<points label="{label}" points="{xy}"{more}></points>'


def rectlabel(points: list[tuple[int, int, Any, Any]], images: tuple[str, ...] = ("a.png", "b.png")) -> dict[str, Any]:
    return {
        "images": [{"id": i, "file_name": image, "width": 30, "height": 20} for i, image in enumerate(images)],
        "annotations": [
            {"id": n, "image_id": image, "category_id": kind, "segmentation": [[x, y]], "bbox": [x, y, 1, 1]}
            for n, (image, kind, x, y) in enumerate(points)
        ],
        "categories": [{"id": 1, "name": "nose"}, {"id": 2, "name": "tail"}],
    }


def openpose(*people: list[Any], **more: Any) -> dict[str, Any]:
    return {"version": 1.3, "people": [{"pose_keypoints_2d": points, **more} for points in people]}


@pytest.mark.parametrize(
    ("case", "format"),
    [
        ("labelme", "labelme"),
        ("cvat_xml", "cvat_xml"),
        ("cvat_xml/annotations.xml", "cvat_xml"),
        ("openpose", "openpose"),
        ("rectlabel/coco.json", "coco_points"),
    ],
)
def test_real_files_have_the_points_of_their_coco(data_root: Path, case: str, format: str) -> None:
    labels, coco = (read_labels(data_root / "cases" / name) for name in (case, "coco_ids/from0.json"))
    assert recognize(data_root / "cases" / case) == format
    assert [Path(image).stem for image in labels.images] == [Path(image).stem for image in coco.images]
    np.testing.assert_array_equal(labels.keypoints, coco.keypoints)
    names = tuple(f"keypoint_{i}" for i in range(1, 5)) if format == "openpose" else coco.skeleton.names
    assert labels.skeleton.names == names
    assert all((Path(labels.folder) / image).is_file() for image in labels.images)


def test_roboflow_states_its_splits(data_root: Path) -> None:
    labels = read_labels(data_root / "cases/roboflow_coco")
    assert {(image.split("/")[0], labels.splits[image]) for image in labels.images} == {
        ("train", "train"), ("valid", "val"), ("test", "test"),
    }  # fmt: skip
    one = read_labels(data_root / "cases/roboflow_coco/valid/_annotations.coco.json")
    rows = [i for i, image in enumerate(labels.images) if image.startswith("valid/")]
    np.testing.assert_array_equal(labels.keypoints[rows], one.keypoints)


def test_roboflow_with_other_keypoints_in_one_split_is_refused(tmp_path: Path) -> None:
    for part, names in (("train", ["a", "b"]), ("valid", ["b", "a"])):
        kinds = [{"id": 1, "name": "x", "keypoints": names}]
        one = {"image_id": 1, "category_id": 1, "keypoints": [1, 1, 2, 3, 3, 2]}
        content = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [one], "categories": kinds}
        put(tmp_path, f"{part}/_annotations.coco.json", content)
    with pytest.raises(ValueError, match="have different categories or keypoints; export them again together"):
        read_labels(tmp_path)


def test_labelme_groups_are_subjects(tmp_path: Path) -> None:
    put(tmp_path, "sub/a.jpg")
    shapes = [
        shape("nose", (1, 2), group=1),
        shape("nose", (3, 4), group=2, flags={"occluded": True}),
        shape("mouse", (9, 9), (5, 5), kind="rectangle", group=2),
        shape("tail", (-1, -1), group=2),
        shape("edge", (1, 2), (3, 4), kind="line"),
    ]
    put(tmp_path, "sub/a.json", labelme("a.jpg", *shapes))
    put(tmp_path, "b.jpg")
    put(tmp_path, "b.json", labelme("..\\somewhere\\b.jpg"))
    labels = read_labels(tmp_path)
    assert labels.images == ("b.jpg", "sub/a.jpg", "sub/a.jpg") and labels.skeleton.names == ("nose", "tail")
    assert labels.visibility.tolist() == [[0, 0], [2, 0], [1, 0]]
    assert [s.box for s in labels.subjects] == [None, None, (4.5, 4.5, 8.5, 8.5)]
    assert labels.unused["shapes that are neither points nor rectangles"] == 1
    assert labels.unused["points at exactly (-1, -1), which mark missing ones (data.missing=none keeps them)"] == 1


SCALE = shape("scale_bar", (20, 18), (28, 19), kind="rectangle")
AROUND = shape("mouse", (1, 1), (9, 9), kind="rectangle")


@pytest.mark.parametrize(
    ("rectangles", "groups", "boxes", "unused"),
    [
        ([SCALE], (None, None), [None], 1),
        ([SCALE, AROUND], (None, None), [(0.5, 0.5, 8.5, 8.5)], 1),
        ([SCALE, AROUND], (1, 1), [(0.5, 0.5, 8.5, 8.5)], 1),
        ([AROUND, AROUND], (None, None), [None], 2),
        ([AROUND], (1, 2), [None, None], 1),
        ([AROUND], (None, 2), [None, None], 1),
        ([AROUND | {"group_id": 3}], (None, None), [None], 1),
        ([AROUND | {"group_id": 2}], (1, 2), [None, (0.5, 0.5, 8.5, 8.5)], 0),
        ([SCALE | {"group_id": 2}, AROUND | {"group_id": 2}], (1, 2), [None, None], 2),
    ],
)
def test_a_labelme_rectangle_is_a_box_only_of_its_own_subject(
    tmp_path: Path, rectangles: list, groups: tuple, boxes: list, unused: int
) -> None:
    put(tmp_path, "a.jpg")
    points = [shape("nose", (2, 2), group=groups[0]), shape("tail", (8, 8), group=groups[1])]
    put(tmp_path, "a.json", labelme("a.jpg", *points, *rectangles))
    labels = read_labels(tmp_path)
    assert [s.box for s in labels.subjects] == boxes
    assert [s.category for s in labels.subjects] == ["mouse" if box else "" for box in boxes]
    assert labels.unused["rectangles that are not the only one of a subject"] == unused


def test_labelme_keeps_no_image_in_memory(tmp_path: Path) -> None:
    for i in range(20):
        put(tmp_path, f"{i}.jpg")
        content = labelme(f"{i}.jpg", shape("nose", (1, i), mask="x" * 250_000)) | {"imageData": "x" * 250_000}
        put(tmp_path, f"{i}.json", content)
    tracemalloc.start()
    try:
        labels = read_labels(tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(labels) == 20 and peak < 5_000_000  # the files hold 10 MB, and one of them is read in 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (labelme("a.jpg", shape("nose", (1, 2))), "b.json: its imagePath is a.jpg, but b.jpg lies beside it"),
        (labelme("c.jpg", shape("nose", (1, 2))), "b.json: c.jpg was not found below"),
        (labelme("b.jpg", *[shape("nose", (1, 2))] * 2), "b.json: it has two points nose; give the points of each"),
        (labelme("b.jpg", shape("nose", (1, None))), "b.json: nose has x=1 and no y"),
        (labelme("b.jpg", shape("nose", (1, 2), (3, 4))), "b.json: point nose has 2 pairs"),
        (labelme("b.jpg", shape("", (1, 2))), "b.json: label is ''"),
    ],
)
def test_labelme_files_are_about_their_own_image(tmp_path: Path, content: dict, message: str) -> None:
    for name in "ab":
        put(tmp_path, f"{name}.jpg")
        put(tmp_path, f"{name}.json", labelme(f"{name}.jpg", shape("nose", (1, 2))))
    put(tmp_path, "b.json", content)
    with pytest.raises(ValueError, match=message):
        read_labels(tmp_path)


def test_two_labelme_files_of_one_image_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    for name in ("a", "a copy"):
        put(tmp_path, f"{name}.json", labelme("a.jpg", shape("nose", (1, 2))))
    with pytest.raises(ValueError, match=r"a.json: a.jpg is labeled in a copy.json too"):
        read_labels(tmp_path)


def test_cvat_skeletons_points_and_boxes(tmp_path: Path) -> None:
    for name in "abc":
        put(tmp_path, f"images/sub/{name}.png")
    nose, tail = cvat_point("nose", "1.5,2", occluded=1, outside=0), cvat_point("tail", "3,4", outside=1)
    box = '<box label="mouse" xtl="0" ytl="1" xbr="10" ybr="11" group_id="7"/><polygon points="1,2;3,4"/>'
    path = written(
        tmp_path,
        cvat(
            cvat_image("sub/a.png", f'<skeleton label="mouse" group_id="7">{nose}{tail}</skeleton>{box}'),
            cvat_image("sub/b.png", cvat_point("tail", "5,6") + cvat_point("nose", "0,0")),
            cvat_image("sub/c.png", cvat_point("nose", "-1,-1") + cvat_point("tail", "0,0")),
        ),
        "annotations.xml",
    )
    labels = read_labels(path)
    assert labels.folder == str(tmp_path / "images") and labels.images == ("sub/a.png", "sub/b.png", "sub/c.png")
    assert labels.visibility.tolist() == [[1, 0], [0, 2], [0, 0]]
    assert labels.subjects[0].box == (-0.5, 0.5, 9.5, 10.5) and labels.subjects[0].size == (20, 30)
    assert labels.unused["shapes that are neither skeletons nor points"] == 1


@pytest.mark.parametrize(
    ("subjects", "boxes", "found", "unused"),
    [
        ([7], [7], [True], 0),
        ([7, 8], [8], [False, True], 0),
        ([7], [9], [False], 1),
        ([7], [7, 7], [False], 2),
        ([7, 7], [7], [False, False], 1),
    ],
)
@pytest.mark.parametrize("kind", ["skeleton", "points"])
def test_a_cvat_box_is_that_of_one_subject(
    tmp_path: Path, kind: str, subjects: list, boxes: list, found: list, unused: int
) -> None:
    put(tmp_path, "a.png")
    if kind == "points":
        if len(subjects) > len(set(subjects)):
            pytest.skip("single points of one group are one subject")
        shapes = [cvat_point(label, "1,2", group_id=group) for group in subjects for label in ("nose", "tail")]
    else:
        point = cvat_point("nose", "1,2")
        shapes = [f'<skeleton label="mouse" group_id="{group}">{point}</skeleton>' for group in subjects]
    shapes += [f'<box label="mouse" xtl="0" ytl="1" xbr="10" ybr="11" group_id="{group}"/>' for group in boxes]
    labels = read_labels(written(tmp_path, cvat(cvat_image("a.png", "".join(shapes))), "annotations.xml"))
    assert [s.box is not None for s in labels.subjects] == found
    assert labels.unused["boxes whose group_id is not that of one box and one subject"] == unused


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (cvat('<track id="0"/>'), "holds tracks of a video"),
        (
            cvat(cvat_image("a.png", cvat_point("nose", "1;2"))),
            "image number 1: nose_1 is at '1', not at x,y; correct it$",
        ),
        (
            cvat(*[cvat_image("a.png", cvat_point("nose", "1,2"))] * 2),
            "image number 2: a.png is labeled in image number 1 too",
        ),
        (cvat(cvat_image("a.png", cvat_point("nose", "1,2") * 2)), "image number 1: it has two points nose"),
        ("<annotations><!DOCTYPE x [<!ENTITY a 'b'>]></annotations>", "it declares entities"),
        (cvat()[:-5], "cannot be read as XML"),
        (cvat(), "none of its 0 images has a point"),
    ],
)
def test_wrong_cvat_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    put(tmp_path, "a.png")
    with pytest.raises(ValueError, match=message):
        read_labels(written(tmp_path, text, "annotations.xml"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    text = "<!DOCTYPE a [<!ENTITY e 'nose'>]>" + cvat(cvat_image("a.png", cvat_point("nose", "1,2")))
    path = tmp_path / "annotations.xml"
    path.write_text(text, encoding)
    with pytest.raises(ValueError, match="it declares entities"):
        read_labels(path, format="cvat_xml")


def test_openpose_people_are_subjects(tmp_path: Path) -> None:
    put(tmp_path, "a.png"), put(tmp_path, "b.JPG")
    hands = {"hand_left_keypoints_2d": [1, 1, 0.5, 0, 0, 0]}
    put(tmp_path, "a_keypoints.json", openpose([1, 2, 0.9, 0, 0, 0], [5, 6, 0.1, 7, 8, 0.2], **hands))
    put(tmp_path, "b_keypoints.json", openpose([]))  # a face alone
    labels = read_labels(tmp_path)
    assert labels.unused["people without points of the body"] == 1
    assert labels.images == ("a.png", "a.png", "b.JPG") and labels.visibility.tolist() == [[2, 0], [2, 2], [0, 0]]
    assert labels.unused["points in hand_left_keypoints_2d"] == 2
    put(tmp_path, "b.png")
    with pytest.raises(ValueError, match=r"b_keypoints.json: b.JPG and b.png lie in .*; remove one"):
        read_labels(tmp_path)


def test_openpose_frames_are_those_of_a_video_near_the_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for n in (0, 12):
        put(tmp_path, f"json/clip_a_{n:012d}_keypoints.json", openpose([1, 2, 0.9]))
    written(tmp_path, b"", "videos/clip_a.mp4")
    labels = read_labels(tmp_path / "json")
    assert labels.images == ("clip_a.mp4/000000", "clip_a.mp4/000012") and labels.folder == str(tmp_path / "videos")
    assert "images are taken from" in caplog.text
    put(tmp_path, "json/clip_a_000000000000.png")  # beside its file, an image comes first
    with pytest.raises(
        ValueError, match=r"clip_a_000000000012_keypoints.json: no image clip_a_000000000012.\* lies in"
    ):
        read_labels(tmp_path / "json")


@pytest.mark.parametrize(("count", "pairs"), [(18, 8), (25, 11)])
def test_openpose_names_its_models(tmp_path: Path, count: int, pairs: int) -> None:
    put(tmp_path, "a.png")
    put(tmp_path, "a_keypoints.json", openpose([1, 2, 0.9] * count))
    skeleton = read_labels(tmp_path).skeleton
    assert len(skeleton) == count and len(skeleton.flip_pairs) == pairs and skeleton.can_mirror


def test_rectlabel_categories_are_keypoints(tmp_path: Path) -> None:
    path = put(tmp_path, "coco.json", rectlabel([(0, 2, 3, 4), (1, 1, 5, 6), (0, 1, -1, -1), (1, 2, NAN, NAN)]))
    labels = read_labels(path)
    assert labels.skeleton.names == ("nose", "tail") and labels.visibility.tolist() == [[0, 2], [2, 0]]
    texts = rectlabel([(0, 2, 3, 4), (1, 1, 5, 6)])
    for image in texts["images"]:
        image["id"] = str(image["id"])
    assert read_labels(put(tmp_path, "coco.json", texts)).visibility.tolist() == [[0, 2], [2, 0]]
    twice = rectlabel([(0, 1, 3, 4)])
    twice["images"][1]["id"] = "0"
    for content, message in (
        (rectlabel([(0, 1, 3, 4), (0, 1, 5, 6)]), "a.png has two points nose"),
        (rectlabel([(7, 1, 3, 4)]), "is the id of none; correct it, or"),
        (rectlabel([(0, 1, 3, 4)], ("a.png", "./a.png")), r"image number 2: ./a.png is labeled in image number 1 too"),
        (twice, "image number 2: b.png has the id of image number 1 too"),
    ):
        with pytest.raises(ValueError, match=message):
            read_labels(put(tmp_path, "coco.json", content))


@pytest.mark.parametrize("stated", [[], ["point"]])
def test_categories_of_one_keypoint_each_are_keypoints(tmp_path: Path, stated: list[str]) -> None:
    content = rectlabel([(0, 2, 3, 4), (1, 1, 5, 6), (0, 1, 7, 8), (1, 2, 0, 0)])
    for category in content["categories"]:
        category["keypoints"] = stated
    for entry, state in zip(content["annotations"], (2, 1, 2, 0), strict=True):
        entry |= {"keypoints": [*entry.pop("segmentation")[0], state], "num_keypoints": 1}
    for image in ("a.png", "b.png"):
        put(tmp_path, f"images/default/{image}")
    path = put(tmp_path, "annotations/person_keypoints_default.json", content)
    labels = read_labels(path)
    assert recognize(path) == "coco_points" and labels.folder == str(tmp_path / "images/default")
    assert labels.skeleton.names == ("nose", "tail") and labels.visibility.tolist() == [[2, 2], [1, 0]]
    np.testing.assert_array_equal(labels.keypoints[0], [[7, 8], [3, 4]])
    content["annotations"].append(content["annotations"][0] | {"id": 9})  # two subjects, each of one keypoint
    assert recognize(put(tmp_path, "annotations/person_keypoints_default.json", content)) == "coco"


def test_a_repeated_coordinate_is_found_in_labelme(tmp_path: Path) -> None:
    for i in range(6):
        put(tmp_path, f"{i}.jpg")
        put(tmp_path, f"{i}.json", labelme(f"{i}.jpg", shape("nose", (7, 7)), shape("tail", (i, i))))
    ((keypoint, point, rows),) = repeated_points(read_labels(tmp_path))
    assert (keypoint, point.tolist(), len(rows)) == (0, [7, 7], 6)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("hostile")
    for name in ("labelme", "openpose", "cvat_xml", "coco_points"):
        for image in "ab":
            put(root / name, f"{image}.jpg")
    put(root / "labelme", "b.json", labelme("b.jpg", shape("nose", (1, 2))))
    put(root / "openpose", "b_keypoints.json", openpose([1, 2, 0.9]))
    return lambda name: root / name


POINTS = [shape("nose", (1, 2), group=1), shape("mouse", (1, 2), (5, 6), kind="rectangle", group=1)]


@FUZZ
@given(hostile(labelme("a.jpg", *POINTS)) | st.binary(max_size=200))
def test_damaged_labelme_raises_only_value_errors(folders: Callable[[str], Path], content: bytes) -> None:
    put(folders("labelme"), "a.json", content)
    assert_valid_or_refused(folders("labelme"), "labelme")


@FUZZ
@given(hostile(openpose([1, 2, 0.9, 3, 4, 0], face_keypoints_2d=[1, 2, 3])) | st.binary(max_size=200))
def test_damaged_openpose_raises_only_value_errors(folders: Callable[[str], Path], content: bytes) -> None:
    put(folders("openpose"), "a_keypoints.json", content)
    assert_valid_or_refused(folders("openpose"), "openpose")


@FUZZ
@given(hostile(rectlabel([(0, 2, 3, 4), (1, 1, 5, 6)])) | st.binary(max_size=200))
def test_damaged_rectlabel_raises_only_value_errors(folders: Callable[[str], Path], content: bytes) -> None:
    assert_valid_or_refused(put(folders("coco_points"), "a.json", content), "coco_points")


XML = cvat(cvat_image("a.jpg", cvat_point("nose", "1,2") + cvat_point("tail", "3,4", occluded=1)))


@FUZZ
@given(damaged(XML.replace("><", ">\n<")))
def test_damaged_cvat_raises_only_value_errors(folders: Callable[[str], Path], content: bytes) -> None:
    assert_valid_or_refused(written(folders("cvat_xml"), content, "a.xml"), "cvat_xml")


def test_what_is_left_of_a_deleted_shape_is_counted(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    put(tmp_path, "a.json", labelme("a.png", shape("nose"), shape("ear", (3, 4))))
    track = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 0, 0], "keypoints": []}
    kinds = [{"id": 1, "name": "mouse", "keypoints": ["ear"]}]
    coco = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [track], "categories": kinds}
    coco["annotations"] += [track | {"keypoints": [3, 4, 2]}]
    result = {"original_width": 100, "original_height": 100, "type": "keypointlabels"}
    values: list[dict[str, Any]] = [{"keypointlabels": ["nose"]}, {"keypointlabels": ["ear"], "x": 3, "y": 4}]
    task = {"data": {"image": "a.png"}, "annotations": [{"result": [result | {"value": value} for value in values]}]}
    for path, content in (
        (tmp_path, "shapes without a point"),
        (put(tmp_path, "other/coco.json", coco), "annotations with neither points nor box"),
        (put(tmp_path, "other/tasks.json", [task]), "shapes without a position"),
    ):
        labels = read_labels(path, images=tmp_path)
        assert labels.skeleton.names == ("ear",) and labels.keypoints.tolist() == [[[3, 4]]]
        assert labels.unused[content] == 1
