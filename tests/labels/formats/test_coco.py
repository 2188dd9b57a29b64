"""COCO's keypoint JSON says what its documentation says, comes back as it was written, and trusts nobody."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.hostile_json import hostile
from softpoint.labels.formats import coco, read_labels, recognize
from softpoint.labels.formats.parsing import coco_schema
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton

NAN = float("nan")
# Two animals that share a keypoint, things without keypoints, a crowd, and an image of nothing.
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
    """The farm with one value changed."""
    farm = copy.deepcopy(FARM)
    *path, last = keys
    node = farm
    for key in path:
        node = node[key]
    node[last] = to
    return farm


def told(labels: Labels) -> list[tuple]:
    """Everything that labels say but where they say it, in a form that compares NaN with NaN."""
    rows = []
    for subject in labels.subjects:
        values = dataclasses.asdict(subject) | {"place": ""}
        values |= {"keypoints": subject.keypoints.tolist(), "visibility": subject.visibility.tolist()}
        rows.append(repr(sorted(values.items())))
    return [repr(labels.skeleton), repr(labels.categories), *rows]


def sizes(labels: Labels) -> np.ndarray:
    return np.array([subject.size for subject in labels.subjects]).reshape(-1, 2)


def test_reads_what_the_file_says(tmp_path: Path) -> None:
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


def test_a_subject_has_the_group_of_its_image_unless_it_has_its_own(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, changed("images", 0, "group", to=3)))
    assert [subject.group for subject in labels.subjects[:4]] == ["3", "3", "cam1", None]


def test_says_how_many_annotations_have_no_keypoints(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    read_labels(written(tmp_path, FARM))
    assert "passed over 1 annotations of categories without keypoints" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed("annotations", 1, "keypoints", 2, to=3), "annotation 2: nose has visibility 3"),
        (changed("annotations", 1, "keypoints", to=[1, 2, 2]), "annotation 2: its keypoints holds 3 values; .* 9 num"),
        (changed("annotations", 1, "keypoints", 0, to="1"), "annotation 2: its keypoints holds '1'"),
        (changed("annotations", 1, "keypoints", 0, to=True), "annotation 2: its keypoints holds True"),
        (changed("annotations", 1, "keypoints", 3, to=NAN), "annotation 2: left_ear is labeled at x=nan y=4.25"),
        (changed("annotations", 1, "keypoints", 3, to=10**400), "annotation 2: left_ear is labeled at x=inf"),
        (changed("annotations", 1, "area", to=-1), "annotation 2: its area is -1"),
        (changed("annotations", 2, "iscrowd", to=2), "annotation 3: its iscrowd is 2"),
        (changed("annotations", 0, "bbox", 2, to=0), r"annotation 1: its bbox \[0, 0, 0, 20\] encloses no area"),
        (changed("annotations", 0, "bbox", 3, to=-4), "annotation 1: its bbox .* encloses no area"),
        (changed("annotations", 0, "bbox", to=[1, 2, 3]), "annotation 1: its bbox holds 3 values"),
        (changed("annotations", 0, "image_id", to=77), "annotation 1: its image_id 77 is the id of no image"),
        (changed("annotations", 0, "image_id", to=[7]), "annotation 1: its image_id is .7.; it must be an int"),
        (changed("annotations", 0, "category_id", to=4), "annotation 1: its category_id 4 is the id of no category"),
        (changed("annotations", 1, "id", to=1), "annotation 1: an earlier annotation has the same id"),
        (changed("annotations", 1, to=5), "annotation number 2: it is 5; it must be an object"),
        (changed("images", 1, "id", to=7), "image 7: an earlier image has the same id"),
        (changed("images", 0, "width", to=-64), "image 7: its width is -64"),
        (changed("images", 0, "file_name", to=""), "image 7: its file_name is ''"),
        (changed("images", 0, "file_name", to="a\0.png"), "image 7: its file_name 'a.x00.png' has characters"),
        (
            changed("categories", 0, "skeleton", to=[[0, 1]]),
            "category 1: its skeleton joins keypoint 0, but COCO counts",
        ),
        (changed("categories", 0, "skeleton", to=[[1, 4]]), "category 1: its skeleton joins keypoint 4"),
        (changed("categories", 0, "skeleton", to=[[1, 2, 3]]), "category 1: its skeleton's edge holds 3 values"),
        (changed("categories", 0, "keypoints", 1, to="nose"), "category 1: its keypoint 'nose' stands twice"),
        (changed("categories", 0, "keypoints", to=["x"] * 5000), "category 1: it has 5000 keypoints"),
        (changed("categories", 2, "name", to="horse"), "category 2: an earlier category is named 'horse' too"),
        (changed("categories", to=FARM["categories"][1:2]), "none of its 1 categories has keypoints"),
        (changed("images", to={}), "its images is {}; it must be a list"),
        ({"images": [], "annotations": []}, "it has no categories"),
    ],
)
def test_names_what_is_wrong(tmp_path: Path, content: Any, message: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(ValueError, match=message) as error:
        read_labels(path)
    assert str(path) in str(error.value)


def test_skips_one_annotation_and_takes_its_image_for_none_of_nothing(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, changed("annotations", 0, "keypoints", 2, to=9)), on_error="skip")
    assert [s.place for s in labels.subjects] == ["annotation 2", "annotation 3", "annotation 4", "image 9", "image 10"]


def test_skips_both_images_that_share_an_id(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, changed("images", 1, "id", to=7)), on_error="skip")
    assert labels.images == ("c.png", "d.png")


def test_two_entries_about_one_image_are_one_image(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, changed("images", 3, "file_name", to="farm\\.\\b.png")))
    assert labels.images.count("farm/b.png") == 1 and len(labels) == 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"images": [\n  {"file_name": 1, "id" 1}]}', "it is not JSON at line 2 column 25: "),
        (b'{"images": [], "annotations": [], "images": []}', "the key 'images' stands twice in one object"),
        (b'{"images": [], "annotations": [' + b"9" * 5000 + b"]}", "it cannot be read as JSON: Exceeds the limit"),
        (b'{"images": [], "annotations": ' + b"[" * 100_000, "it nests lists or objects too deeply"),
        (b'{"images": [], "annotations": ["\xff"]}', "it is not UTF-8 text .* at byte 32"),
    ],
)
def test_says_where_a_file_is_not_json(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_labels(written(tmp_path, content))


def test_a_file_cut_in_half_is_recognized_and_located(tmp_path: Path) -> None:
    text = json.dumps(FARM, indent=1)
    half = text[: text.index('"keypoints"')].rstrip()
    line, column = half.count("\n") + 1, len(half) - half.rindex("\n")
    with pytest.raises(ValueError, match=f"it is not whole: it breaks off at line {line} column {column} "):
        read_labels(written(tmp_path, half.encode()))


def test_recognizes_lists_beyond_the_head(tmp_path: Path) -> None:
    padding = {"info": "x" * (1 << 16)}
    assert recognize(written(tmp_path, padding | FARM)) == "coco"
    assert not coco.recognize(written(tmp_path, padding), b"{")
    assert not coco.recognize(tmp_path, b"") and not coco.recognize(tmp_path / "no", b'{"a"')
    assert not coco.recognize(Path(), b'[{"file_name": "a", "annotations": []}]')


def test_writes_what_it_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    farm = copy.deepcopy(FARM)
    farm["images"] = [image | {"width": 64, "height": 48} for image in farm["images"]]
    del farm["annotations"][4], farm["annotations"][2]["keypoints"]
    farm["annotations"] = [{"area": 3.1, "bbox": [1 / 3, 2.7, 1e-3, 40]} | entry for entry in farm["annotations"]]
    labels = read_labels(written(tmp_path, farm))
    coco.write(labels, tmp_path / "new/again.json", sizes(labels))
    assert told(read_labels(tmp_path / "new/again.json")) == told(labels)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["again.json"]
    assert not caplog.records


def test_what_coco_demands_is_made_up_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
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
    assert content["categories"][0]["name"] == coco.NAMELESS and content["categories"][0]["skeleton"] == [[2, 1]]
    assert len(content["images"]) == 3
    (record,) = caplog.records
    for part in ("2 subjects without a box", "2 subjects without an area", "1 flip pairs"):
        assert part in record.getMessage()
    again = read_labels(tmp_path / "x.json")
    np.testing.assert_array_equal(again.keypoints, points)


def test_keypoints_chosen_from_a_file_keep_their_order(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, FARM)).with_keypoints(["tail", "right_ear", "nose"])
    coco.write(labels, tmp_path / "x.json", np.full((len(labels), 2), 50))
    again = read_labels(tmp_path / "x.json")
    assert set(again.skeleton.names) == {"tail", "right_ear", "nose"}
    order = [again.skeleton.index(name) for name in labels.skeleton.names]
    labeled = labels.visibility.any(axis=1)
    np.testing.assert_array_equal(again.keypoints[again.visibility.any(axis=1)][:, order], labels.keypoints[labeled])


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, FARM))
    endless = dataclasses.replace(labels.subjects[0], area=float("inf"))
    with pytest.raises(ValueError, match="JSON compliant"):
        coco.write(dataclasses.replace(labels, subjects=(endless,)), tmp_path / "labels.json", np.full((1, 2), 9))
    assert told(read_labels(tmp_path / "labels.json")) == told(labels)
    assert len(list(tmp_path.iterdir())) == 1


@given(st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=2), st.lists(st.floats(1e-3, 1e4), min_size=2, max_size=2))
def test_boxes_survive_writing(start: list[float], extent: list[float]) -> None:
    edges = coco_schema._edges([*start, *extent])
    assert coco_schema._edges(coco._bbox(edges)) == edges


def test_the_sample_comes_back_in_every_field(data_root: Path, tmp_path: Path) -> None:
    labels = read_labels(data_root / "keypoints/coco-sample/test_coco.json")
    assert (len(labels), len(set(labels.images)), len(labels.skeleton)) == (14, 4, 17)
    coco.write(labels, tmp_path / "x.json", sizes(labels))
    assert told(read_labels(tmp_path / "x.json")) == told(labels)
    before = json.loads(Path(labels.source).read_text())
    after = json.loads((tmp_path / "x.json").read_text())
    # Independent of our reader: the same numbers stand in both files.
    for key in ("keypoints", "num_keypoints", "area", "iscrowd"):
        assert [entry[key] for entry in after["annotations"]] == [entry[key] for entry in before["annotations"]]
    boxes = [[entry["bbox"] for entry in content["annotations"]] for content in (after, before)]
    np.testing.assert_allclose(boxes[0], boxes[1], rtol=0, atol=1e-9)
    assert after["categories"][0]["skeleton"] == before["categories"][0]["skeleton"]


def test_cocos_own_tools_accept_what_is_written(data_root: Path, tmp_path: Path) -> None:
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


def survives(path: Path, skip: bool) -> None:
    """Labels that can be written and read again, or an error of ours."""
    try:
        problems = RowErrors(str(path), "skip" if skip else "error")
        labels = coco.read(path, problems)
        problems.raise_or_warn()
    except ValueError as error:
        assert str(path) in str(error)
        return
    boxes = labels.boxes[~np.isnan(labels.boxes).any(axis=1)]
    assert np.isfinite(boxes).all() and (boxes[:, :2] < boxes[:, 2:]).all()
    if np.abs(np.nan_to_num(labels.keypoints)).max(initial=0) > 1e300:  # a box about them has no finite width
        return
    again = path.with_name("again.json")
    coco.write(labels, again, sizes(labels))
    same = coco.read(again, RowErrors(""))
    assert sorted(map(repr, same.keypoints.tolist())) == sorted(map(repr, labels.keypoints.tolist()))


FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@FUZZ
@given(content=hostile(FARM), skip=st.booleans())
def test_survives_damaged_files(folder: Path, content: bytes, skip: bool) -> None:
    survives(written(folder, content), skip)
    recognize_quietly(folder / "labels.json", content)


@FUZZ
@given(content=st.binary(max_size=200), brace=st.booleans())
def test_survives_any_bytes(folder: Path, content: bytes, brace: bool) -> None:
    survives(written(folder, b"{" * brace + content), skip=False)
    recognize_quietly(folder / "labels.json", b"{" * brace + content)


def recognize_quietly(path: Path, content: bytes) -> None:
    assert coco.recognize(path, content[: 1 << 16]) in (True, False)
