"""Exported models run on numpy and onnxruntime alone, and a file that is none is refused in a sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from softpoint.runtime import load

onnx = pytest.importorskip("onnx", reason='needs the extra: pip install -e ".[export]"')
pytest.importorskip("onnxruntime", reason='needs the extra: pip install -e ".[export]"')

METADATA = {"format": 1, "keypoints": ["nose"], "size": [32, 32], "crops": None, "outputs": ["keypoints"]}


def write(path: Path, metadata: dict | str | None = METADATA) -> Path:
    """Write a model that returns the mean color of each image, with `metadata`."""
    model = onnx.parser.parse_model(
        """<ir_version: 9, opset_import: ["" : 18]>
        means (uint8[B, H, W, 3] images) => (float[B, 3] keypoints) <int64[2] axes = {1, 2}> {
            levels = Cast <to = 1> (images)
            keypoints = ReduceMean <keepdims = 0> (levels, axes)
        }"""
    )
    if metadata is not None:
        text = metadata if isinstance(metadata, str) else json.dumps(metadata)
        model.metadata_props.add(key="softpoint", value=text)
    onnx.save_model(model, str(path))
    return path


def test_images_of_several_sizes_keep_their_order(tmp_path: Path) -> None:
    model = load(write(tmp_path / "m.onnx"), threads=1)
    images = [np.full((4 + i % 2, 5, 3), 10 * i, np.uint8) for i in range(5)]
    np.testing.assert_allclose(model(images)["keypoints"][:, 0], [0, 10, 20, 30, 40])
    assert model(images[1])["keypoints"].shape == (3,)
    assert model(np.stack(images[::2]))["keypoints"].shape == (3, 3)


@pytest.mark.parametrize("image", [np.zeros((4, 4)), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8), []])
def test_a_wrong_shape_or_type_is_refused(tmp_path: Path, image: object) -> None:
    with pytest.raises(ValueError, match=r"uint8 RGB|empty"):
        load(write(tmp_path / "m.onnx"))(image)


def test_boxes_are_refused_by_a_model_of_whole_images(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="takes no boxes"):
        load(write(tmp_path / "m.onnx"))(np.zeros((4, 4, 3), np.uint8), [0, 0, 1, 1])


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "was not written by softpoint"),
        ("{", "cannot be read"),
        ({**METADATA, "format": 99}, "is of format 99.*update it"),
        ({**METADATA, "size": ["a", 1]}, "export it again"),
        ({**METADATA, "crops": {"padding": [1]}}, "export it again"),
        ({"format": 1}, "export it again"),
        ({**METADATA, "regions": [{"level": 0.9, "radius": {}, "joint": None}]}, "export it again"),
        ({**METADATA, "homography": [[1, 0], [0, 1]]}, "export it again"),
        ({**METADATA, "finder": {"size": [9, 9], "max_subjects": 9, "threshold": 0.5}}, "not those of its finder"),
        ({**METADATA, "finder": {"size": [9, 9], "max_subjects": 0, "threshold": 0.5}}, "its finder is .*export it"),
        ({**METADATA, "finder": {"size": [9, 9], "max_subjects": 9, "threshold": None}}, "export it again"),
        ({**METADATA, "finder": {"size": [9], "max_subjects": 9, "threshold": 0.5}}, "export it again"),
        ({**METADATA, "finder": "yes"}, "export it again"),
        ("[]", "export it again"),
        ("[" * 100_000, "export it again"),
        (json.dumps(METADATA).replace(json.dumps(METADATA["size"]), "[1e999, 1]"), "export it again"),
    ],
)
def test_damaged_metadata_is_refused(tmp_path: Path, metadata: dict | str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(write(tmp_path / "m.onnx", metadata))


FINDING = {**METADATA, "finder": {"size": [32, 32], "max_subjects": 9, "threshold": 0.25}, "batch": 1}


def write_finder(path: Path, metadata: dict) -> Path:
    """Write a model that finds in each column of an image a subject, of a score of its level over 255."""
    model = onnx.parser.parse_model(
        """<ir_version: 9, opset_import: ["" : 18]>
        columns (uint8[1, H, W, 3] images, float threshold)
        => (float[n, 1, 3] keypoints, float[n] scores, float[n, 3] boxes)
        <int64[1] row = {1}, int64[1] last = {2}, int64[1] first = {0}, float white = {255}, float threshold = {0.25}> {
            levels = Cast <to = 1> (images)
            line = ReduceMean <keepdims = 0> (levels, row)
            colors = Squeeze (line, first)
            level = ReduceMean <keepdims = 0> (colors, row)
            all = Div (level, white)
            kept = GreaterOrEqual (all, threshold)
            scores = Compress <axis = 0> (all, kept)
            boxes = Compress <axis = 0> (colors, kept)
            keypoints = Unsqueeze (boxes, row)
        }"""
    )
    model.metadata_props.add(key="softpoint", value=json.dumps(metadata))
    onnx.save_model(model, str(path))
    return path


def test_a_finder_answers_with_the_subjects_of_each_image(tmp_path: Path) -> None:
    path = write_finder(tmp_path / "m.onnx", FINDING)
    model, image = load(path, threads=1), np.zeros((2, 4, 3), np.uint8) + np.uint8([[[0], [51], [102], [255]]])
    assert model.finds_subjects and model.threshold == 0.25
    answer = model(image)
    assert answer["keypoints"].shape == (2, 1, 3) and answer["scores"].tolist() == pytest.approx([0.4, 1.0])
    assert [len(one["scores"]) for one in model([image, image[:, :2], image[:, 3:]])] == [2, 0, 1]
    assert [len(one["scores"]) for one in model(np.stack([image, image]))] == [2, 2]
    assert len(model(image, threshold=0.9)["scores"]) == 1 and len(model(image, threshold=0)["scores"]) == 4
    assert len(load(path, threads=1, threshold=0.1)(image)["scores"]) == 3
    with pytest.raises(ValueError, match=r"m\.onnx finds the subjects itself and takes no boxes"):
        model(image, [0, 0, 1, 1])
    for wrong in (-0.1, 2, float("nan")):
        with pytest.raises(ValueError, match="must be a probability"):
            model(image, threshold=wrong)
    with pytest.raises(ValueError, match="not those of its finder"):
        load(write_finder(path, METADATA))


def test_a_threshold_is_refused_by_a_model_that_finds_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"threshold=0\.5: .*m\.onnx finds no subjects"):
        load(write(tmp_path / "m.onnx"), threshold=0.5)


def test_regions_are_ellipses_of_their_radii_about_each_keypoint(tmp_path: Path) -> None:
    names, level = ["nose", "tail"], {"level": 0.9, "radius": {"nose": 3.0, "tail": None}, "joint": None}
    model = load(write(tmp_path / "m.onnx", {**METADATA, "keypoints": names, "regions": [level]}))
    prediction = {"covariance": np.tile(np.array([[1.0, 0.0], [0.0, 4.0]]), (5, 2, 1, 1))}
    found = model.regions(prediction, 0.9)
    assert model.region_levels == [0.9] and found.shape == (5, 2, 3)
    np.testing.assert_allclose(found[:, 0], [[6, 3, 90]] * 5)
    assert np.isnan(found[:, 1]).all()
    with pytest.raises(ValueError, match=r"has no regions of level=0\.5; it has 0\.9"):
        model.regions(prediction, 0.5)
    with pytest.raises(ValueError, match="it has none"):
        load(write(tmp_path / "older.onnx")).regions(prediction, 0.9)


def test_millimeters_are_those_of_the_homography(tmp_path: Path) -> None:
    matrix = [[0.1, 0.0, 1.0], [0.0, 0.2, 2.0], [0.0, 0.001, 1.0]]
    prediction = {"keypoints": np.array([[10.0, 100.0]]), "covariance": np.eye(2)[None]}
    place, covariance = load(write(tmp_path / "m.onnx", {**METADATA, "homography": matrix})).millimeters(prediction)
    np.testing.assert_allclose(place, [[2 / 1.1, 22 / 1.1]])
    slope = np.array([[0.1, -0.002 / 1.1], [0.0, 0.2 - 0.022 / 1.1]]) / 1.1
    np.testing.assert_allclose(covariance, [slope @ slope.T])
    with pytest.raises(ValueError, match=r"set data\.mm_per_pixel or data\.homography"):
        load(write(tmp_path / "older.onnx")).millimeters(prediction)


@pytest.mark.parametrize("content", [b"", b"\x08", b"\xff" * 1000, b"PK\x03\x04 not a model", b"<html>" * 99])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"m\.onnx (is no model|was not written)"):
        load(path)
    with pytest.raises(FileNotFoundError, match="no model at"):
        load(tmp_path / "absent.onnx")


def test_numpy_and_onnxruntime_are_enough(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx")
    code = (
        "import sys\n"
        "class Only:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'cv2', 'PIL', 'hydra', 'onnx', 'scipy', 'timm'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Only())\n"
        "import numpy as np\n"
        "from softpoint.runtime import load\n"
        f"print(load({str(path)!r})(np.full((3, 5, 3), 7, np.uint8))['keypoints'])\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[7. 7. 7.]"
