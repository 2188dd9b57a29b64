"""Label Studio, VIA, dlib, 300-W, MPII, results of models and NWB: one set of points in the schema of each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.hostile_json import hostile
from helpers.labels import assert_same, assert_valid_or_refused, damaged, written
from softpoint.labels.formats import mpii, nwb, read_labels, recognize
from softpoint.labels.formats.parsing import mat_size
from softpoint.labels.formats.parsing.known_skeletons import numbered, skeleton_of
from softpoint.labels.formats.parsing.xml_file import begins_with
from softpoint.labels.row_errors import RowErrors

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

NAMES = ("nose", "left_ear", "right_ear")
IMAGES = ("a.png", "b.png")
WIDTH, HEIGHT = 40, 20
POINTS = np.array([[[10, 5], [8, 2], [12.5, 2.25]], [[30, 15], [28, 12], [np.nan, np.nan]]])
BOXES = ((2, 1, 20, 8), (25, 10, 10, 8))  # left, top, width, height
EDGES = np.array([(x - 0.5, y - 0.5, x + w - 0.5, y + h - 0.5) for x, y, w, h in BOXES])


def named(index: int) -> list[tuple[str, float, float]]:
    """Return the labeled points of an image."""
    return [(name, *xy) for name, xy in zip(NAMES, POINTS[index].tolist(), strict=True) if not np.isnan(xy[0])]


def label_studio(index: int) -> dict[str, Any]:
    size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    percent = [100 / WIDTH, 100 / HEIGHT]
    points = [
        {"id": name, "type": "keypointlabels", "parentID": "box", **size}
        | {"value": {"x": x * percent[0], "y": y * percent[1], "width": 0.3, "keypointlabels": [name]}}
        for name, x, y in named(index)
    ]
    values = dict(zip(("x", "y", "width", "height"), np.array(BOXES[index]) * [*percent, *percent], strict=True))
    box = {"id": "box", "type": "rectanglelabels", "value": values | {"rotation": 0, "rectanglelabels": ["mouse"]}}
    annotation = {"id": 9, "result": [box | size, *points], "was_cancelled": False, "ground_truth": False}
    image = f"/data/upload/3/0a1b2c3d-{IMAGES[index]}"
    return {"id": index + 1, "annotations": [annotation], "predictions": [{}], "data": {"image": image}}


def label_studio_min(index: int) -> dict[str, Any]:
    task = label_studio(index)
    shapes = task["annotations"][0]["result"]
    size = {key: shapes[0][key] for key in ("original_width", "original_height")}
    box, *points = (shape["value"] | size for shape in shapes)
    return {"id": task["id"], "image": task["data"]["image"], "kp": points, "bbox": [box], "annotation_id": 9}


def label_studio_labels(index: int) -> dict[str, Any]:
    """Return a task labeled with <Labels>, in which every shape occurs without and with its label."""
    task = label_studio(index)
    annotation = task["annotations"][0]
    results = []
    for shape in annotation["result"]:
        kind = shape["type"].removesuffix("labels")
        value = {key: entry for key, entry in shape["value"].items() if key != shape["type"]}
        results += [
            shape | {"type": kind, "value": value},
            shape | {"type": "labels", "value": value | {"labels": shape["value"][shape["type"]]}},
        ]
    annotation["result"] = results
    return task


def via(index: int) -> dict[str, Any]:
    shapes = [({"name": "point", "cx": x, "cy": y}, {"label": name}) for name, x, y in named(index)]
    box = {"name": "rect"} | dict(zip(("x", "y", "width", "height"), BOXES[index], strict=True))
    regions = [
        {"shape_attributes": shape, "region_attributes": attributes}
        for shape, attributes in [*shapes, (box, {"label": "mouse"})]
    ]
    return {"filename": IMAGES[index], "size": 12, "regions": regions, "file_attributes": {}}


def via_csv() -> str:
    lines = ["filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"]
    for index in (0, 1):
        for number, region in enumerate(via(index)["regions"]):
            texts = (json.dumps(value).replace('"', '""') for value in region.values())
            lines.append(f'{IMAGES[index]},12,"{{}}",4,{number},' + ",".join(f'"{text}"' for text in texts))
    return "\n".join(lines)


def via_3() -> dict[str, Any]:
    """Return the project of VIA 3, whose regions are a list of their own, with numbers for shapes and options."""
    marks = {}
    for index in (0, 1):
        points = [([1, x, y], {"1": str(NAMES.index(name))}) for name, x, y in named(index)]
        for xy, chosen in [*points, ([2, *BOXES[index]], {"2": "mouse"}), ([7, 1, 1, 2, 2, 3, 3], {})]:
            marks[f"m{len(marks)}"] = {"vid": str(index + 1), "flg": 0, "z": [], "xy": xy, "av": chosen}
    return {
        "project": {"pid": "__VIA_PROJECT_ID__", "creator": "VGG Image Annotator (x)", "vid_list": ["1", "2"]},
        "config": {"ui": {}},
        "attribute": {
            "1": {"aname": "label", "type": 4, "options": dict(zip("012", NAMES, strict=True))},
            "2": {"aname": "label", "type": 1, "options": {}},
        },
        "file": {str(i): {"fid": i, "fname": image, "type": 2, "src": image} for i, image in enumerate(IMAGES, 1)},
        "metadata": marks,
        "view": {str(i): {"fid_list": [str(i)]} for i in (1, 2)},
    }


def dlib() -> str:
    images = []
    for index in (0, 1):
        left, top, width, height = BOXES[index]
        parts = "".join(f"<part name='{name}' x='{x}' y='{y}'/>\n" for name, x, y in named(index))
        box = f"<box top='{top}' left='{left}' width='{width}' height='{height}'><label>mouse</label>{parts}</box>"
        images.append(
            f"<image file='{IMAGES[index]}'>\n{box}\n<box top='0' left='0' width='9' height='9' ignore='1'/>\n</image>"
        )
    start = "<?xml version='1.0'?>\n<?xml-stylesheet href='x.xsl'?>\n<dataset>\n<images>"
    return f"{start}{''.join(images)}</images></dataset>"


def hrnet(index: int) -> dict[str, Any]:
    points, labeled = POINTS[index], ~np.isnan(POINTS[index, :, 0])
    joints = np.where(labeled[:, None], points + 1, -1).tolist()
    return {
        "joints": joints,
        "joints_vis": labeled.astype(int).tolist(),
        "image": IMAGES[index],
        "scale": 0.1,
        "center": [9, 9],
    }


def cpm(index: int) -> dict[str, Any]:
    labeled = ~np.isnan(POINTS[index, :, 0])
    joints = np.where(labeled[:, None], np.column_stack([POINTS[index] + 1, labeled]), 0).tolist()
    return {
        "isValidation": float(index),
        "img_paths": IMAGES[index],
        "joint_self": joints,
        "objpos": [9, 9],
        "scale_provided": 0.1,
    }


def result(index: int) -> dict[str, Any]:
    values = np.nan_to_num(np.column_stack([POINTS[index], ~np.isnan(POINTS[index, :, 0])])).ravel().tolist()
    return {"image_id": IMAGES[index], "category_id": 1, "keypoints": values, "score": 2.5, "box": [*BOXES[index]]}


FILES: dict[str, tuple[str, str, Callable[[], Any]]] = {
    "label_studio": ("label_studio", "x.json", lambda: [label_studio(0), label_studio(1)]),
    "label_studio_min": ("label_studio", "x.json", lambda: [label_studio_min(0), label_studio_min(1)]),
    "label_studio_labels": ("label_studio", "x.json", lambda: [label_studio_labels(0), label_studio_labels(1)]),
    "via_json": ("via", "x.json", lambda: {"a.png12": via(0), "b.png12": via(1)}),
    "via_project": ("via", "x.json", lambda: {"_via_settings": {}, "_via_img_metadata": {"a": via(0), "b": via(1)}}),
    "via_csv": ("via", "x.csv", via_csv),
    "via_3": ("via", "x.json", via_3),
    "dlib": ("dlib_xml", "x.xml", dlib),
    "hrnet": ("mpii", "x.json", lambda: [hrnet(0), hrnet(1)]),
    "cpm": ("mpii", "x.json", lambda: [cpm(0), cpm(1)]),
    "cpm_root": ("mpii", "x.json", lambda: {"root": [cpm(0), cpm(1)]}),
    "results": ("results_json", "x.json", lambda: [result(0), result(1)]),
}  # fmt: skip


def put(folder: Path, name: str, content: Any) -> Path:
    for image in IMAGES:
        written(folder, b"", f"images/{image}")
    return written(folder, content if isinstance(content, str | bytes) else json.dumps(content), name)


def test_ids_of_results_are_those_of_the_list_beside_them(tmp_path: Path) -> None:
    tmp_path = tmp_path / "alone"  # images of other tests are not near
    path = put(tmp_path, "results.json", [result(n) | {"image_id": 7 - n} for n in (0, 1)])
    with pytest.raises(ValueError, match=r"(?s)image_id 7 is not the name .*\nput COCO's JSON that lists the images"):
        read_labels(path)
    entries = [{"id": 7 - n, "file_name": IMAGES[n]} for n in (0, 1)]
    coco = {"images": entries, "annotations": [], "categories": []}
    written(tmp_path, json.dumps(coco), "annotations/val.json")
    written(tmp_path, json.dumps(coco | {"images": entries[:1]}), "other.json")
    labels = read_labels(path)
    assert labels.images == IMAGES
    np.testing.assert_array_equal(labels.keypoints, POINTS)
    entries = [{"id": 6 + n, "file_name": IMAGES[n]} for n in (0, 1)]
    written(tmp_path, json.dumps(coco | {"images": entries}), "val.json")
    with pytest.raises(ValueError, match="name different images by its ids"):
        read_labels(path)


@pytest.mark.parametrize("case", FILES)
def test_every_format_has_the_same_points(tmp_path: Path, case: str) -> None:
    format, name, make = FILES[case]
    path = put(tmp_path, name, make())
    labels = read_labels(path)
    assert recognize(path) == format and labels.images == IMAGES and labels.folder == str(tmp_path / "images")
    names = NAMES if set(NAMES) == set(labels.skeleton.names) else labels.skeleton.names
    assert names == NAMES or names == ("keypoint_1", "keypoint_2", "keypoint_3")
    np.testing.assert_allclose(labels.with_keypoints(names).keypoints, POINTS, atol=1e-12)
    boxes = EDGES if format != "mpii" else np.array([(-2, -2, 18, 18)] * 2)
    np.testing.assert_allclose(labels.boxes, boxes, atol=1e-12)
    assert {s.category for s in labels.subjects} == ({"mouse"} if names == NAMES else {""})


def test_cpm_states_hidden_joints_and_the_split(tmp_path: Path) -> None:
    people = [cpm(0), cpm(1)]
    people[0]["joint_self"][0][2], people[0]["joint_self"][1][2] = 0, 2  # occluded, and not labeled
    labels = read_labels(put(tmp_path, "x.json", people))
    assert labels.splits == {"a.png": "train", "b.png": "val"} and labels.visibility[0, :2].tolist() == [1, 0]


def test_pts_count_from_one(tmp_path: Path) -> None:
    for image, points in zip(IMAGES, POINTS[:, :2], strict=True):
        lines = "".join(f"{x + 1} {y + 1}\n" for x, y in points)
        put(tmp_path, f"images/{Path(image).stem}.pts", f"version: 1\nn_points:  2\n{{\n{lines}}}\n")
    labels = read_labels(tmp_path)
    assert labels.images == ("images/a.png", "images/b.png") and recognize(tmp_path) == "pts"
    np.testing.assert_array_equal(labels.keypoints, POINTS[:, :2])
    put(tmp_path, "images/b.pts", "version: 1\nn_points: 3\n{\n1 2\n}")
    with pytest.raises(ValueError, match=r"images/b.pts: it has 1 points, but n_points is 3; copy it again"):
        read_labels(tmp_path)


def test_the_68_points_of_a_face_have_pairs(tmp_path: Path) -> None:
    lines = "".join(f"{i} {i}\n" for i in range(68))
    pairs = read_labels(put(tmp_path, "images/a.pts", f"n_points: 68\n{{\n{lines}}}").parent).skeleton.flip_pairs
    sides = {*pairs, *(pair[::-1] for pair in pairs)}
    assert len(pairs) == 29
    assert {(f"keypoint_{a}", f"keypoint_{b}") for a, b in [(1, 17), (32, 36), (37, 46), (49, 55), (68, 66)]} <= sides


def test_68_named_points_are_no_face() -> None:
    assert len(skeleton_of(numbered(68)).flip_pairs) == 29
    assert skeleton_of([f"marker {i}" for i in range(68)]).flip_pairs == ()


def test_many_comments_are_passed_at_once() -> None:
    comments = (
        b"<?xml version='1.0'?>" + b"<!-- a\n <b> -->\n" * 3000
    )  # with several ways to divide them, none would end
    assert not begins_with(comments, b"<dataset>") and not begins_with(comments + b"<!--<dataset>-->", b"<dataset>")
    assert begins_with(b"\xef\xbb\xbf\n" + comments + b"<dataset>", b"<dataset>")


@pytest.mark.parametrize("link", ["parent", "relation"])
def test_label_studio_subjects_are_linked(tmp_path: Path, link: str) -> None:
    task = label_studio(0)
    shapes = task["annotations"][0]["result"]
    second = [
        shape | {"id": f"2{shape['id']}", "parentID": "2box"} for shape in label_studio(1)["annotations"][0]["result"]
    ]
    del second[0]["parentID"]
    shapes += second
    if link == "relation":
        points = [shape for shape in shapes if "parentID" in shape]
        shapes += [
            {"type": "relation", "from_id": p["id"], "to_id": p.pop("parentID"), "direction": "right"} for p in points
        ]
    labels = read_labels(put(tmp_path, "x.json", [task]))
    np.testing.assert_allclose(labels.keypoints, POINTS, atol=1e-12)
    np.testing.assert_allclose(labels.boxes, EDGES, atol=1e-12)


def test_ids_of_label_studio_are_checked(tmp_path: Path) -> None:
    task = label_studio_labels(0)
    task["annotations"][0]["result"][0]["id"] = []
    with pytest.raises(ValueError, match=r"task number 1: id \[\] is no id of a shape"):
        read_labels(put(tmp_path, "x.json", [task]))


def test_of_several_annotations_the_ground_truth_counts(tmp_path: Path) -> None:
    task = label_studio(0)
    other = {"id": 10, "result": [], "was_cancelled": False, "ground_truth": True}
    task["annotations"] += [other, {"id": 11, "result": [], "was_cancelled": True}]
    labels = read_labels(put(tmp_path, "x.json", [task, label_studio(1)]))
    assert labels.visibility.tolist() == [[0, 0], [2, 2]]
    assert labels.unused["cancelled annotations"] == 1 and labels.unused["predictions"] == 2
    other["ground_truth"] = False
    with pytest.raises(ValueError, match="task number 1: it has 2 annotations; keep one, or mark one as ground truth"):
        read_labels(put(tmp_path, "x.json", [task, label_studio(1)]))


def test_views_of_videos_are_left_out_of_a_project_of_via_3(tmp_path: Path) -> None:
    expected = read_labels(put(tmp_path, "x.json", via_3()))
    project = via_3()
    project["file"] |= {str(i): {"fid": i, "fname": f"x.{i}", "type": i} for i in (4, 8)}
    project["view"] |= {"8": {"fid_list": ["8"]}, "9": {"fid_list": [4]}}
    project["metadata"] |= {"v": {"vid": "9", "z": [1.5, 2.5], "xy": [], "av": {"1": "0"}}}
    labels = read_labels(put(tmp_path, "x.json", project))
    assert_same(labels, expected)
    assert labels.unused == {**expected.unused, "video views": 1, "audio views": 1}


def _via_points(folder: Path, *attributes: dict[str, Any] | None) -> Path:
    """Return VIA's JSON with a point in a.png for each attributes, and a region without content for None."""
    shape = {"name": "point", "cx": 1, "cy": 2}
    regions = [own and {"shape_attributes": shape, "region_attributes": own} for own in attributes]
    return put(folder, "x.json", {"a": {"filename": "a.png", "regions": regions, "file_attributes": {}}})


@pytest.mark.parametrize(
    "key, other", [("body_part", "quality"), ("Body Part", "type"), ("keypoint_name", "label"), ("spot", "person_id")]
)
def test_via_attribute_that_differs_between_points_names_them(tmp_path: Path, key: str, other: str) -> None:
    labels = read_labels(_via_points(tmp_path, {other: "same", key: "nose"}, None, {other: "same", key: "ear"}))
    assert labels.skeleton.names == ("nose", "ear")
    assert labels.unused["regions without content, as of deleted ones"] == 1
    assert labels.unused.get(f"texts of region attribute {other}", 0) == (0 if other == "person_id" else 2)


def test_via_attributes_of_which_each_may_name_the_points_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"attributes spot, quality may name its points"):
        read_labels(_via_points(tmp_path, {"spot": "a", "quality": "good"}, {"spot": "b", "quality": "bad"}))


def test_names_of_dlib_are_utf_8_whatever_it_declares(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "K\u00e4se.png").touch()
    text = dlib().replace(IMAGES[0], "K\u00e4se.png")
    for number, encoding in enumerate(("utf-8", "latin-1")):
        declared = "<?xml version='1.0' encoding='ISO-8859-1'?>" + text[text.index("<dataset>") :]
        labels = read_labels(put(tmp_path, f"{number}.xml", declared.encode(encoding)))
        assert labels.subjects[0].image.endswith("K\u00e4se.png")


def test_via_subjects_and_unnamed_points(tmp_path: Path) -> None:
    one, two = via(0), via(1)
    for region in two["regions"]:
        region["region_attributes"]["Subject"] = "anna"
    one["regions"] = [
        *[r | {"region_attributes": r["region_attributes"] | {"Subject": "otto"}} for r in one["regions"]],
        *two["regions"],
    ]
    labels = read_labels(put(tmp_path, "x.json", {"a": one}))
    np.testing.assert_array_equal(labels.keypoints, POINTS)
    for region in one["regions"]:
        region["region_attributes"] = {}
    del one["regions"][3], one["regions"][-1]
    assert read_labels(put(tmp_path, "x.json", {"a": one})).skeleton.names == tuple(
        f"keypoint_{i}" for i in range(1, 6)
    )
    with pytest.raises(
        ValueError, match=r"image number 2: it has 2 points without names, but others have 5; name each"
    ):
        read_labels(put(tmp_path, "x.json", {"a": one, "b": via(1) | {"regions": one["regions"][:2]}}))
    for number, region in enumerate(one["regions"]):
        region["region_attributes"] = {"Subject": "otto" if number < 3 else "anna", "quality": "good"}
    with pytest.raises(
        ValueError, match=r"image number 1: it has 2 points without names, but others have 3; name each"
    ):
        read_labels(put(tmp_path, "x.json", {"a": one}))


def test_results_with_coco_ids(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tmp_path = tmp_path / "alone"  # images of other tests are not near
    written(tmp_path, b"", "val/000000000012.jpg")
    path = put(tmp_path, "x.json", [result(0) | {"image_id": 12}])
    assert read_labels(path).images == ("000000000012.jpg",) and not caplog.text
    beside = put(tmp_path / "results", "x.json", [result(0) | {"image_id": 12}])
    assert read_labels(beside).folder == str(tmp_path / "val") and "images are taken from" in caplog.text
    with pytest.raises(ValueError, match="image_id 13 is not the name of an image"):
        read_labels(put(tmp_path, "x.json", [result(0) | {"image_id": i} for i in (12, 13)]))


def struct(*entries: dict[str, Any]) -> np.ndarray:
    """Return an array of MATLAB's structures."""
    array = np.zeros((1, len(entries)), [(key, object) for key in entries[0]])
    for index, entry in enumerate(entries):
        for key, value in entry.items():
            array[0, index][key] = value
    return array


def test_mpii_of_matlab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.io import savemat

    put(tmp_path, "x", "")
    empty = np.zeros((0, 0))
    joints = struct(
        {"id": 0.0, "x": 11.0, "y": 6.0, "is_visible": 1.0},
        {"id": 9.0, "x": 9.0, "y": 3.0, "is_visible": empty},
        {"id": 15.0, "x": 13.5, "y": 3.25, "is_visible": "0"},
    )
    person = struct({"annopoints": struct({"point": joints}), "scale": 0.1, "objpos": struct({"x": 9.0, "y": 9.0})})
    annotated = {"image": struct({"name": "a.png"}), "annorect": person, "vididx": 7.0}
    test = {"image": struct({"name": "nowhere.png"}), "annorect": struct({"x1": 1.0}), "vididx": empty}
    path = tmp_path / "x.mat"
    savemat(path, {"RELEASE": struct({"annolist": struct(annotated, test)})}, do_compression=True)
    labels = mpii.read_in_process(path, RowErrors(str(path)), None)
    assert recognize(path) == "mpii" and labels.images == ("a.png",) and labels.groups == ("video 7",)
    index = [labels.skeleton.index(name) for name in ("r_ankle", "head_top", "l_wrist")]
    np.testing.assert_array_equal(labels.keypoints[0, index], POINTS[0])
    assert labels.visibility[0, index].tolist() == [2, 2, 1] and labels.visibility.astype(bool).sum() == 3
    assert labels.subjects[0].box == (-2, -2, 18, 18) and labels.unused["people without joints"] == 1
    assert str([*read_labels(path).subjects]) == str([*labels.subjects])
    monkeypatch.setattr(mat_size, "_MAX_BYTES", 1 << 20)
    savemat(path, {"RELEASE": np.zeros(1 << 18)}, do_compression=True)
    with pytest.raises(ValueError, match=r"x.mat unpacks to more than 1 MiB"):
        mpii.read_in_process(path, RowErrors(str(path)), None)


def test_training_frames_of_nwb(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    put(tmp_path, "images/film.mp4", "")
    path = tmp_path / "x.nwb"
    with h5py.File(path, "w") as file:
        behavior = file.create_group("processing/behavior")
        skeleton = behavior.create_group("Skeletons/mouse")
        skeleton.attrs["neurodata_type"] = "Skeleton"
        skeleton["nodes"], skeleton["edges"] = [*NAMES], np.array([[0, 1], [0, 2]], np.uint8)
        training = behavior.create_group("PoseTraining")
        training.attrs["neurodata_type"] = "PoseTraining"
        for video, files in (("film", ["C:\\films\\film.mp4"]), ("stills", ["/data/a.png", "/data/b.png"])):
            table = training.create_dataset(f"source_videos/{video}/external_file", data=files)
            table.attrs["starting_frame"] = [*range(len(files))]
        for number, (video, frame) in enumerate([("film", 12), ("stills", 1), ("stills", 0)]):
            group = training.create_group(f"training_frames/{number}")
            group.attrs["source_video_frame_index"] = frame
            group["source_video"] = h5py.SoftLink(f"/processing/behavior/PoseTraining/source_videos/{video}")
            instance = group.create_group("skeleton_instances/0")
            if number < 2:
                instance["node_locations"], instance["node_visibility"] = POINTS[number], [True, False, True]
                instance["skeleton"] = h5py.SoftLink("/processing/behavior/Skeletons/mouse")
    errors = RowErrors(str(path))
    labels = nwb.read_in_process(path, errors, None)
    assert [*map(str, errors.errors)] == ["2: its instance 0 has no Skeleton; link it to one"] and recognize(
        path
    ) == "nwb"
    assert labels.images == ("b.png", "film.mp4/000012") and labels.skeleton.names == NAMES
    np.testing.assert_array_equal(labels.keypoints, POINTS[::-1])
    assert labels.visibility.tolist() == [[2, 1, 0], [2, 1, 2]]
    assert labels.skeleton.edges == (("nose", "left_ear"), ("nose", "right_ear"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return put(tmp_path_factory.mktemp("hostile"), "images/x", "").parent


CONTENTS: dict[str, list[Any]] = {}
for format, name, make in FILES.values():
    if name.endswith("json"):
        CONTENTS.setdefault(format, []).append(make())


@pytest.mark.parametrize("format", CONTENTS)
@QUICK
@given(data=st.data())
def test_damaged_json_raises_only_value_errors(folder: Path, format: str, data: st.DataObject) -> None:
    content = data.draw(hostile(data.draw(st.sampled_from(CONTENTS[format]))) | st.binary(max_size=200))
    assert_valid_or_refused(written(folder, content, "x.json"), format)


@pytest.mark.parametrize("format", ["dlib_xml", "via"])
@QUICK
@given(data=st.data())
def test_damaged_text_raises_only_value_errors(folder: Path, format: str, data: st.DataObject) -> None:
    content = data.draw(damaged(dlib() if format == "dlib_xml" else via_csv()))
    assert_valid_or_refused(written(folder, content, "x.txt"), format)


@QUICK
@given(content=damaged("version: 1\nn_points: 3\n{\n1 2\n3 4.5\n5 6\n}"))
def test_damaged_pts_raise_only_value_errors(folder: Path, content: bytes) -> None:
    assert_valid_or_refused(written(folder, content, "a.pts").parent, "pts")
