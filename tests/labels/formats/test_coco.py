"""COCO's keypoint JSON is read as documented, and survives writing and reading."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.hostile_json import hostile
from helpers.labels import FUZZ, assert_refused, assert_same, assert_valid_or_refused
from softpoint.labels.formats import coco, read_labels, recognize
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton

NAN = float("nan")
# Two animals that share a keypoint, a category without keypoints, a crowd, and an unlabeled image.
FARM: dict[str, Any] = {
    "info": {},
    "images": [
        {"id": 7, "file_name": "farm/a.png", "width": 64, "height": 48},
        {"id": "b", "file_name": "farm/b.png"},
        {"id": 9, "file_name": "c.png", "width": 20, "height": None, "group": "night"},
        {"id": 10, "file_name": "d.png", "width": 20, "height": 30},
    ],
    "annotations": [
        {"id": 1, "image_id": "b", "category_id": 2, "keypoints": [5, 6, 2, 1, 2, 0], "bbox": [0, 0, 10, 20]},
        {"id": 2, "image_id": 7, "category_id": 1, "keypoints": [1, 2, 2, 3.5, 4.25, 1, 0, 0, 0], "area": 12.5},
        {"id": 3, "image_id": 7, "category_id": 1, "bbox": [1.5, 2, 3, 4], "iscrowd": 1, "keypoints": [1, 1, 2] * 3},
        {"id": 4, "image_id": 7, "category_id": 2, "bbox": [1, 2, 3, 4], "name": "Bella", "group": "cam1"},
        {"id": 5, "image_id": 10, "category_id": 3, "bbox": [1, 2, 3, 4]},
        {"id": 6, "image_id": 7, "category_id": 2, "keypoints": [0, 0, 0, 3, 3, 0], "num_keypoints": 0},
    ],
    "categories": [
        {"id": 1, "name": "horse", "keypoints": ["nose", "left_ear", "right_ear"], "skeleton": [[1, 2], [1, 3]]},
        {"id": 3, "name": "cart"},
        {"id": 2, "name": "cow", "keypoints": ["tail", "nose"], "skeleton": [[2, 1]]},
    ],
}


def written(folder: Path, content: Any, name: str = "labels.json") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def changed(*keys: Any, to: Any) -> dict[str, Any]:
    """Return the farm with one value changed."""
    farm = copy.deepcopy(FARM)
    *path, last = keys
    node = farm
    for key in path:
        node = node[key]
    node[last] = to
    return farm


def sizes(labels: Labels) -> np.ndarray:
    return np.array([subject.size for subject in labels.subjects]).reshape(-1, 2)


def test_all_fields_of_a_file_are_read(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, FARM))
    assert labels.skeleton == Skeleton(
        ("nose", "left_ear", "right_ear", "tail"),
        (("left_ear", "right_ear"),),
        (("nose", "left_ear"), ("nose", "right_ear"), ("nose", "tail")),
    )
    assert labels.categories == {"horse": ("nose", "left_ear", "right_ear"), "cow": ("tail", "nose")}
    assert labels.folder == str(tmp_path)
    assert [(s.image, s.place, s.category) for s in labels.subjects] == [
        ("farm/a.png", "annotation 2", "horse"),
        ("farm/a.png", "annotation 3", "horse"),
        ("farm/a.png", "annotation 4", "cow"),
        ("farm/b.png", "annotation 1", "cow"),
        ("c.png", "image 9", ""),
        ("d.png", "image 10", ""),
    ]
    horse, crowd, bella, cow, nothing, cart = labels.subjects
    np.testing.assert_array_equal(horse.keypoints, [[1, 2], [3.5, 4.25], [NAN, NAN], [NAN, NAN]])
    assert horse.visibility.tolist() == [2, 1, 0, 0] and horse.box is None and horse.area == 12.5
    assert horse.size == (48, 64) and nothing.size == (0, 0)
    assert crowd.crowd and crowd.box == (1.0, 1.5, 4.0, 5.5) and not crowd.visibility.any()
    assert (bella.name, bella.group, horse.group, nothing.group) == ("Bella", "cam1", None, "night")
    np.testing.assert_array_equal(cow.keypoints, [[NAN] * 2, [NAN] * 2, [NAN] * 2, [5, 6]])
    assert cow.box == (-0.5, -0.5, 9.5, 19.5) and np.isnan(cow.area)
    assert cart.box is None and not cart.visibility.any()


def test_a_subject_without_group_has_that_of_its_image(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, changed("images", 0, "group", to=3)))
    assert [subject.group for subject in labels.subjects[:4]] == ["3", "3", "cam1", None]


def test_content_without_use_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert read_labels(written(tmp_path, FARM)).unused == {
        "annotations of categories without keypoints": 1,
        "points with coordinates but visibility 0": 2,
        "annotations with neither points nor box": 1,
    }
    assert "left out 2 points with coordinates but visibility 0" in caplog.text


def test_what_an_annotator_deleted_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    farm = changed("images", 0, "deleted", to=True)  # with its four annotations
    farm["annotations"][0]["deleted"] = False
    farm["annotations"].append(farm["annotations"][0] | {"id": 7, "deleted": True})
    labels = read_labels(written(tmp_path, farm))
    assert labels.images == ("farm/b.png", "c.png", "d.png") and labels.places[0] == "annotation 1"
    assert "left out 1 deleted images, 5 deleted annotations" in caplog.text


def people(points: list[int], *names: str, **more: Any) -> dict[str, Any]:
    """Return a file of one person, whose category has these names."""
    kind = {"id": 1, "name": "person"} | ({"keypoints": [*names]} if names else {})
    person = {"id": 1, "image_id": 1, "category_id": 1, "keypoints": points} | more
    images = [{"id": 1, "file_name": "a.png"}]
    return {"images": images, "annotations": [person], "categories": [kind, {"id": 2, "name": "car"}]}


def test_images_are_found_in_the_folders_of_cvat(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tmp_path /= "export/of/cvat"  # far from the images of other tests
    (tmp_path / "annotations").mkdir(parents=True)
    (tmp_path / "images/default").mkdir(parents=True)
    path = written(tmp_path / "annotations", people([1, 2, 2, 3, 4, 1], "nose", "tail"))
    assert read_labels(path).folder == str(path.parent)  # where they are nowhere, for the message
    (tmp_path / "images/default/a.png").touch()
    assert read_labels(path).folder == str(tmp_path / "images/default")
    assert f"images are taken from {tmp_path / 'images/default'}; if they are others, set data.images" in caplog.text
    (tmp_path / "annotations/a.png").touch()
    assert read_labels(path).folder == str(path.parent)


def test_keypoints_without_names_are_numbered(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, people([1, 2, 2, 3, 4, 1])))
    assert labels.skeleton.names == ("keypoint_1", "keypoint_2") and labels.visibility.tolist() == [[2, 1]]
    assert len(read_labels(written(tmp_path, people([1, 2, 2] * 68))).skeleton.flip_pairs) == 29


@pytest.mark.parametrize(("flag", "state"), [(1, 2), (2, 2)])
def test_whole_body_has_its_133_points(tmp_path: Path, flag: int, state: int) -> None:
    names = [f"point_{i}" for i in range(17)]
    feet, face, hand = ([*range(n)] for n in (6, 68, 21))
    lists = {
        "foot_kpts": [value for i in feet for value in (i, 1, flag)],
        "face_kpts": [value for i in face for value in (i, 2, flag)],
        "righthand_kpts": [value for i in hand for value in (i, 3, 0 if i else flag)],
    }
    labels = read_labels(written(tmp_path, people([7, 8, 1] * 17, *names, **lists)))
    (subject,) = labels.subjects
    assert len(labels.skeleton) == 133 and labels.skeleton.names[17] == "left_big_toe"
    assert subject.visibility.tolist() == [1] * 17 + [state] * (6 + 68) + [0] * 21 + [state] + [0] * 20
    face_1 = labels.skeleton.index("face-1")
    assert subject.keypoints[face_1].tolist() == [1, 2] and face_1 == 17 + 6 + 1
    pairs = {frozenset(pair) for pair in labels.skeleton.flip_pairs}
    assert len(pairs) == 3 + 29 + 21  # feet, face, hands; the names of the body show none here
    assert {frozenset(p) for p in (("face-0", "face-16"), ("left_thumb1", "right_thumb1"))} <= pairs
    with pytest.raises(ValueError, match="annotation 1: keypoints holds 396 values; it must be a list of 399 numbers"):
        read_labels(written(tmp_path, people([7, 8, 1] * 17, *names, **lists | {"face_kpts": lists["face_kpts"][3:]})))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed("annotations", 1, "keypoints", 2, to=3), "annotation 2: nose has visibility 3"),
        (changed("annotations", 1, "keypoints", to=[1, 2, 2]), "annotation 2: keypoints holds 3 values; .* 9 num"),
        (changed("annotations", 1, "keypoints", 0, to="1"), "annotation 2: keypoints holds '1'"),
        (changed("annotations", 1, "keypoints", 0, to=True), "annotation 2: keypoints holds True"),
        (changed("annotations", 1, "keypoints", 3, to=NAN), "annotation 2: left_ear is labeled at x=nan y=4.25"),
        (changed("annotations", 1, "keypoints", 3, to=10**400), "annotation 2: left_ear is labeled at x=inf"),
        (changed("annotations", 1, "area", to=-1), "annotation 2: area is -1"),
        (changed("annotations", 2, "iscrowd", to=2), "annotation 3: iscrowd is 2"),
        (changed("annotations", 0, "bbox", 3, to=-4), "annotation 1: bbox .* encloses no area"),
        (changed("annotations", 0, "bbox", to=[1, 2, 3]), "annotation 1: bbox holds 3 values"),
        (changed("annotations", 0, "image_id", to=77), "annotation 1: image_id 77 is the id of no image"),
        (changed("annotations", 0, "image_id", to=[7]), "annotation 1: image_id is .7.; it must be an int"),
        (changed("annotations", 0, "category_id", to=4), "annotation 1: category_id 4 is the id of no category"),
        (changed("annotations", 1, "id", to=1), "annotation 1: an earlier annotation has the same id"),
        (changed("annotations", 1, to=5), "annotation number 2: the entry is 5; it must be an object"),
        (changed("images", 1, "id", to=7), "image 7: an earlier image has the same id"),
        (changed("images", 0, "width", to=-64), "image 7: width is -64"),
        (changed("images", 0, "file_name", to=""), "image 7: file_name is ''"),
        (changed("images", 0, "file_name", to="a\0.png"), "image 7: file_name 'a.x00.png' has characters"),
        (changed("categories", 0, "keypoints", 1, to="nose"), "category 1: keypoint 'nose' repeats"),
        (changed("categories", 0, "keypoints", to=["x"] * 5000), "category 1: it has 5000 keypoints"),
        (changed("categories", 2, "name", to="horse"), "category 2: an earlier category is named 'horse' too"),
        (changed("categories", to=FARM["categories"][1:2]), "none of its 1 categories has keypoints"),
        (changed("images", to={}), "images is {}; it must be a list"),
        ({"images": [], "annotations": []}, "it has no categories"),
    ],
)
def test_errors_name_file_entry_and_value(tmp_path: Path, content: Any, message: str) -> None:
    assert_refused(written(tmp_path, content), message)


def test_numbers_are_names_of_keypoints_and_an_audit_says_why_there_are_none(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, changed("categories", 0, "keypoints", 1, to=7)))
    assert "7" in labels.skeleton.names
    one = changed("categories", to=[{"id": 1, "name": "mouse", "keypoints": ["a", "a"]}])
    with pytest.raises(ValueError, match=r"has keypoints\n  category 1: keypoint 'a' repeats; rename one of the two$"):
        read_labels(written(tmp_path, one), errors=RowErrors("x", silent=True))


def test_an_image_with_only_invalid_annotations_is_not_unlabeled(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, changed("annotations", 0, "keypoints", 2, to=9)), on_error="skip")
    assert [s.place for s in labels.subjects] == ["annotation 2", "annotation 3", "annotation 4", "image 9", "image 10"]


def test_images_that_share_an_id_are_both_skipped(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, changed("images", 1, "id", to=7)), on_error="skip")
    assert labels.images == ("c.png", "d.png")


def test_two_entries_of_one_file_name_are_refused_or_both_skipped(tmp_path: Path) -> None:
    path = written(tmp_path, changed("images", 3, "file_name", to="farm\\.\\b.png"))
    assert_refused(path, r"image 10: image 'b' has the file_name farm/./b.png too")
    labels = read_labels(path, on_error="skip")
    assert [s.place for s in labels.subjects] == ["annotation 2", "annotation 3", "annotation 4", "image 9"]


@pytest.mark.parametrize("edges", [[[0, 1], [1, 2]], [[1, 4]], [[1, 2, 3]], [["nose", "tail"]], [None], [[True, [1]]]])
def test_edges_that_join_no_keypoints_are_left_out(tmp_path: Path, edges: list[Any]) -> None:
    labels = read_labels(written(tmp_path, changed("categories", 0, "skeleton", to=edges)))
    assert labels.skeleton.edges == (("nose", "tail"),) and labels.unused == {
        "edges of categories, which do not all join keypoints counted from 1 (set data.edges)": len(edges)
    } | {key: count for key, count in labels.unused.items() if "edges" not in key}


def test_an_id_is_a_number_or_its_text(tmp_path: Path) -> None:
    content: dict[str, Any] = {
        "images": [{"id": "7", "file_name": "a.png"}, {"id": "07", "file_name": "b.png"}],
        "annotations": [{"image_id": image, "category_id": "1", "keypoints": [1, 2, 2]} for image in (7, "07")],
        "categories": [{"id": 1, "name": "x", "keypoints": ["nose"]}],
    }
    assert (read_labels(written(tmp_path, content)).visibility == 2).all()
    content["images"][1]["id"] = 7
    assert_refused(written(tmp_path, content), "image 7: an earlier image has the same id")


@pytest.mark.parametrize("place", ["/home/anna/set/", "C:\\Users\\anna\\set\\", "https://bucket.example.com/set/"])
def test_images_of_another_machine_are_searched(tmp_path: Path, place: str) -> None:
    farm = copy.deepcopy(FARM)
    for image in farm["images"]:
        (tmp_path / "images" / image["file_name"]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / image["file_name"]).touch()
        image["file_name"] = place + image["file_name"]
    labels = read_labels(written(tmp_path, farm))
    assert labels.folder == str(tmp_path / "images") and labels.images[0] == "farm/a.png"
    (tmp_path / "images/c.png").unlink()
    assert_refused(tmp_path / "labels.json", r"image 9: .*c.png was not found below .*images; set data.images")


@pytest.mark.parametrize(
    ("place", "announced"),
    [("images/a.jpg", True), ("frames/a.jpg", False), ("labels/a.jpg", False), ("labels/own/a.jpg", False)],
)
def test_a_folder_beside_that_fits_by_file_names_alone_is_announced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, place: str, announced: bool
) -> None:
    content = {
        "images": [{"id": 1, "file_name": "C:\\data\\frames\\a.jpg"}],
        "annotations": [{"image_id": 1, "category_id": 1, "keypoints": [1, 2, 2]}],
        "categories": [{"id": 1, "name": "x", "keypoints": ["nose"]}],
    }
    for file in (tmp_path / place, tmp_path / "labels/labels.json"):
        file.parent.mkdir(exist_ok=True, parents=True)
        file.touch()
    labels = read_labels(written(tmp_path / "labels", content))
    assert (Path(labels.folder) / labels.images[0]).resolve() == (tmp_path / place).resolve()
    message = rf"images are taken from {tmp_path / 'images'}, which has files named as in C:\data\frames\a.jpg"
    assert (message in caplog.text) == announced


@pytest.mark.parametrize("box", [[0, 0, 0, 20], [3, 4, 5, 0], [0, 0, 0, 0]])
def test_a_box_without_area_is_no_box(tmp_path: Path, box: list[int]) -> None:
    labels = read_labels(written(tmp_path, changed("annotations", 0, "bbox", to=box)))
    assert labels.subjects[3].place == "annotation 1" and labels.subjects[3].box is None


def test_points_without_coordinates_are_unlabeled(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, changed("annotations", 1, "keypoints", slice(3, 5), to=[None, NAN])))
    assert labels.visibility[0].tolist() == [2, 0, 0, 0] and np.isnan(labels.keypoints[0, 1]).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"images": [\n  {"file_name": 1, "id" 1}]}', "the file is not JSON at line 2 column 25: "),
        (b'{"images": [], "annotations": [], "images": []}', "the key 'images' repeats in the object"),
        (b'{"images": [], "annotations": [' + b"9" * 5000 + b"]}", "cannot be read as JSON: Exceeds the limit"),
        (b'{"images": [], "annotations": ' + b"[" * 100_000, "the file nests lists or objects too deeply"),
        (b'{"images": [], "annotations": ["\xff"]}', "the file is not UTF-8 .* at byte 32"),
    ],
)
def test_the_place_of_a_syntax_error_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    assert_refused(written(tmp_path, content), message)


def test_a_truncated_file_is_recognized_and_its_end_named(tmp_path: Path) -> None:
    text = json.dumps(FARM, indent=1)
    half = text[: text.index('"keypoints"')].rstrip()
    line, column = half.count("\n") + 1, len(half) - half.rindex("\n")
    with pytest.raises(ValueError, match=f"the file is incomplete: it ends at line {line} column {column} "):
        read_labels(written(tmp_path, half.encode()))


def test_lists_beyond_the_first_64_kib_are_recognized(tmp_path: Path) -> None:
    padding = {"info": "x" * (1 << 16)}
    assert recognize(written(tmp_path, padding | FARM)) == "coco"
    assert not coco.recognize(written(tmp_path, padding), b"{")
    assert not coco.recognize(tmp_path, b"") and not coco.recognize(tmp_path / "no", b'{"a"')
    assert not coco.recognize(Path(), b'[{"file_name": "a", "annotations": []}]')


def test_a_round_trip_loses_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    farm = copy.deepcopy(FARM)
    farm["images"] = [image | {"width": 64, "height": 48} for image in farm["images"]]
    del farm["annotations"][4:], farm["annotations"][2]["keypoints"]
    farm["annotations"][0]["keypoints"][3:] = [0, 0, 0]
    farm["annotations"] = [{"area": 3.1, "bbox": [1 / 3, 2.7, 1e-3, 40]} | entry for entry in farm["annotations"]]
    labels = read_labels(written(tmp_path, farm))
    coco.write(labels, tmp_path / "new/again.json", sizes(labels))
    again = read_labels(tmp_path / "new/again.json")
    assert_same(again, labels)
    assert again.categories == labels.categories
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["again.json"]
    assert not caplog.records


def test_missing_boxes_and_areas_are_computed_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    points = np.array([[[3.0, 4.0], [6.5, 4.0]], [[1.0, 2.0], [NAN, NAN]], [[NAN, NAN], [NAN, NAN]]])
    seen = np.where(np.isfinite(points[..., 0]), 2, 0)
    subjects = [Subject(f"{i}.png", "", *one) for i, one in enumerate(zip(points, seen, strict=True))]
    skeleton = Skeleton(("a", "b"), flip_pairs=(("a", "b"),), edges=(("b", "a"),))
    coco.write(Labels("x", "", skeleton, tuple(subjects)), tmp_path / "x.json", np.full((3, 2), 10))
    content = json.loads((tmp_path / "x.json").read_text())
    assert [entry["bbox"] for entry in content["annotations"]] == [[3, 4, 4.5, 1], [1, 2, 1, 1]]
    assert [entry["area"] for entry in content["annotations"]] == [4.5, 1]
    assert [entry["num_keypoints"] for entry in content["annotations"]] == [2, 1]
    assert content["annotations"][1]["keypoints"] == [1, 2, 2, 0, 0, 0]
    (category,) = content["categories"]
    assert category["name"] == coco.DEFAULT_CATEGORY and category["skeleton"] == [[2, 1]]
    assert len(content["images"]) == 3
    (record,) = caplog.records
    for part in ("2 subjects without a box", "2 subjects without an area", "1 flip pairs"):
        assert part in record.getMessage()
    again = read_labels(tmp_path / "x.json")
    np.testing.assert_array_equal(again.keypoints, points)


def test_selected_keypoints_keep_their_coordinates(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, FARM)).with_keypoints(["tail", "right_ear", "nose"])
    coco.write(labels, tmp_path / "x.json", np.full((len(labels), 2), 50))
    again = read_labels(tmp_path / "x.json")
    assert set(again.skeleton.names) == {"tail", "right_ear", "nose"}
    order = [again.skeleton.index(name) for name in labels.skeleton.names]
    labeled = labels.visibility.any(axis=1)
    np.testing.assert_array_equal(again.keypoints[again.visibility.any(axis=1)][:, order], labels.keypoints[labeled])


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, FARM))
    endless = dataclasses.replace(labels.subjects[0], area=float("inf"))
    with pytest.raises(ValueError, match="JSON compliant"):
        coco.write(dataclasses.replace(labels, subjects=(endless,)), tmp_path / "labels.json", np.full((1, 2), 9))
    assert_same(read_labels(tmp_path / "labels.json"), labels)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_real_file_survives_a_round_trip(data_root: Path, tmp_path: Path) -> None:
    labels = read_labels(data_root / "keypoints/coco-sample/test_coco.json")
    assert (len(labels), len(set(labels.images)), len(labels.skeleton)) == (14, 4, 17)
    coco.write(labels, tmp_path / "x.json", sizes(labels))
    assert_same(read_labels(tmp_path / "x.json"), labels)
    before = json.loads(Path(labels.source).read_text())
    after = json.loads((tmp_path / "x.json").read_text())
    # Independent of our reader: both files hold the same numbers.
    for key in ("keypoints", "num_keypoints", "area", "iscrowd"):
        assert [entry[key] for entry in after["annotations"]] == [entry[key] for entry in before["annotations"]]
    boxes = [[entry["bbox"] for entry in content["annotations"]] for content in (after, before)]
    np.testing.assert_allclose(boxes[0], boxes[1], rtol=0, atol=1e-9)
    assert after["categories"][0]["skeleton"] == before["categories"][0]["skeleton"]


def test_pycocotools_accepts_a_written_file(data_root: Path, tmp_path: Path) -> None:
    tools = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    labels = read_labels(data_root / "keypoints/coco-sample/test_coco.json")
    coco.write(labels, tmp_path / "x.json", sizes(labels))
    truth = tools.COCO(str(tmp_path / "x.json"))
    entries = truth.loadAnns(truth.getAnnIds())
    keys = ("image_id", "category_id", "keypoints")
    results = [{key: entry[key] for key in keys} | {"score": 1.0} for entry in entries if entry["num_keypoints"]]
    scores = evaluation.COCOeval(truth, truth.loadRes(results), "keypoints")
    for step in (scores.evaluate, scores.accumulate, scores.summarize):
        step()
    assert scores.stats[0] == pytest.approx(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@FUZZ
@given(hostile(FARM) | st.builds(bytes.__add__, st.sampled_from([b"", b"{"]), st.binary(max_size=200)))
def test_a_damaged_file_raises_only_value_errors(folder: Path, content: bytes) -> None:
    path = written(folder, content)
    assert_valid_or_refused(path, "coco")
    try:
        labels = read_labels(path, "coco", "skip")
    except ValueError:
        return
    if np.abs(np.nan_to_num(labels.keypoints)).max(initial=0) > 1e300:  # the box of such points has no finite width
        return
    coco.write(labels, folder / "again.json", sizes(labels))
    again = coco.read(folder / "again.json", RowErrors("again.json"))
    assert sorted(map(repr, again.keypoints.tolist())) == sorted(map(repr, labels.keypoints.tolist()))
