"""An exported file predicts what its checkpoint does and describes itself; one that differs is deleted."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("onnxruntime", reason='needs the extra: pip install -e ".[export]"')
pytest.importorskip("onnxscript", reason='needs the extra: pip install -e ".[export]"')

from softpoint.inference import Checkpoint, Predictor
from softpoint.inference.export import FORMATS, ComparisonImage, ExportOptions, export
from softpoint.inference.export.parity import Difference, random_images
from softpoint.models import Ensemble
from softpoint.runtime import load

SHORT = "head.decode=expectation"  # the window of the default decoding makes a program twice as long


def exported(checkpoint: Checkpoint, path: Path, plan: ExportOptions | None = None) -> tuple[Predictor, Difference]:
    predictor = Predictor(checkpoint.net, checkpoint.skeleton, checkpoint.size, "cpu", checkpoint.crops)
    return predictor, export(checkpoint, predictor, path, plan or ExportOptions())[0]


def test_a_network_exports_with_the_same_keypoints_at_any_size(
    make, tmp_path: Path, photographs: list[np.ndarray]
) -> None:
    path = tmp_path / "model.onnx"
    checkpoint = make("head=soft_argmax", "head.visibility=true", "head.learnable_temperature=true")
    predictor, difference = exported(checkpoint, path)
    model = load(path, threads=1)
    images = [view.image for view in random_images((70, 90), 3)]
    check_predictions(model, predictor, difference, [*images, np.zeros((5, 7, 3), np.uint8), *photographs])
    assert model(np.stack([images[0]] * 2))["confidence"].shape == (2, 3)
    check_metadata(model.metadata, tmp_path / "model.onnx.json", "RGB")


@pytest.mark.parametrize(
    ("choice", "batch"),
    [
        (("head=multi_scale", "model=baseline", SHORT), None),
        (("head=channel_softmax", "model=cbam_spatial", "head.decode=dark"), 2),
    ],  # head=simcc is that of an ensemble, and head=regression one of crops
)
def test_every_head_exports_at_a_fixed_size(make, tmp_path: Path, choice: tuple[str, ...], batch: int | None) -> None:
    path, size = tmp_path / "model.onnx", (70, 90)
    predictor, difference = exported(make(*choice), path, ExportOptions(size=size, batch=batch))
    images = [view.image for view in random_images(size, 3, fixed=True)]
    check_predictions(load(path, threads=1), predictor, difference, images)


def test_an_ensemble_exports_with_all_members(make, tmp_path: Path) -> None:
    checkpoint, other = (make("head=simcc", SHORT, "model=baseline", "model.in_channels=1") for _ in range(2))
    with torch.no_grad():
        for one, sign in ((checkpoint, 1), (other, -1)):
            one.net.head.maps.weight.mul_(sign * 20)  # one has its maxima where the other is least sure
    size, nets = (64, 96), [checkpoint.net, other.net]
    images = [view.image for view in random_images(size, 3, fixed=True)]
    alone = Predictor(checkpoint.net, checkpoint.skeleton, checkpoint.size, "cpu")(images)
    ensemble = Ensemble(3, [lambda num_keypoints, net=net: net for net in nets]).eval()
    ensemble.calibration.set(radius=torch.tensor(3.0), log_scale=torch.tensor([-0.5, 0.0, 0.5]))
    whole = replace(checkpoint, net=ensemble)
    predictor, difference = exported(whole, tmp_path / "model.onnx", ExportOptions(size=size))
    model = load(tmp_path / "model.onnx", threads=1)
    check_predictions(model, predictor, difference, images)
    assert np.linalg.norm(predictor(images)["keypoints"] - alone["keypoints"], axis=-1).min() > 0.1
    check_metadata(model.metadata, tmp_path / "model.onnx.json", "gray")


def check_predictions(model, predictor: Predictor, difference: Difference, images: list[np.ndarray]) -> None:
    assert difference.largest < 0.01
    together, expected = model(images), predictor(images)
    np.testing.assert_allclose(together["keypoints"], expected["keypoints"], rtol=0, atol=0.01)
    assert expected.keys() == together.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(together[name], value, rtol=1e-2, atol=1e-2, err_msg=name)
    for i, image in enumerate(images):
        np.testing.assert_allclose(together["keypoints"][i], model(image)["keypoints"], atol=1e-3)


def check_metadata(metadata: dict, sidecar: Path, color: str) -> None:
    assert metadata == json.loads(sidecar.read_text())
    assert metadata["keypoints"] == ["nose", "left_ear", "right_ear"] and metadata["color"] == color
    assert metadata["flip_pairs"] == [["left_ear", "right_ear"]] and metadata["size"] == [64, 96]
    assert metadata["checkpoint_sha256"] == hashlib.sha256(b"weights").hexdigest()


def test_crops_are_taken_inside_the_file(make, tmp_path: Path) -> None:
    checkpoint = make("head=regression", crops={"padding": 1.25, "boxes": "labels"})
    predictor, _ = exported(checkpoint, tmp_path / "model.onnx", ExportOptions(size=(200, 150)))
    model = load(tmp_path / "model.onnx", threads=1)
    image = random_images((200, 150), 1, fixed=True)[0].image
    boxes = np.array([[10.0, 20.0, 80.0, 90.0], [-5.5, 3.0, 30.0, 140.0]])
    for region in (boxes, boxes[0], None):
        expected, actual = predictor(image, region), model(image, region)
        np.testing.assert_allclose(actual["keypoints"], expected["keypoints"], atol=0.01)
        np.testing.assert_allclose(actual["covariance"], expected["covariance"], rtol=1e-3)
    with pytest.raises(ValueError, match="area"):
        model(image, [5, 5, 5, 9])
    with pytest.raises(ValueError, match="litert has no float64 for the boxes"):
        exported(checkpoint, tmp_path / "model.tflite", ExportOptions("litert", size=(50, 70)))


def test_float16_is_near_heatmaps_sum_to_one_and_all_dimensions_may_be_fixed(make, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    checkpoint = replace(make(SHORT), config={"data": {"bits": 12}})
    options = ExportOptions(precision="float16", heatmaps=True, size=(50, 70), batch=2, opset=20)
    _, difference = exported(checkpoint, path, options)
    assert 0 < difference.mean < 2
    model = load(path, threads=1)
    assert model.metadata["precision"] == "float16" and model.metadata["bits"] == 12
    assert model.fixed_size == (50, 70) == tuple(model.metadata["image_size"])
    assert (model.fixed_batch, model.metadata["batch"]) == (2, 2)
    images = [view.image for view in random_images((50, 70), 3, fixed=True)]
    actual, alone = model(images), model(images[2])  # the second call is filled up
    np.testing.assert_allclose(actual["heatmaps"].sum((-2, -1)), 1, atol=1e-5)
    np.testing.assert_allclose(actual["keypoints"][2], alone["keypoints"], atol=1e-3)
    with pytest.raises(ValueError, match=r"images of \(50, 70\) .* got \(60, 70\)"):
        model(np.zeros((60, 70, 3), np.uint8))


@pytest.mark.parametrize(
    ("format", "library"), [("openvino", "openvino"), ("litert", "litert_torch"), ("executorch", "executorch")]
)
def test_other_runtimes_predict_the_same(make, tmp_path: Path, format: str, library: str) -> None:
    pytest.importorskip(library, reason=f'needs the extra: pip install -e ".[{format}]"')
    options = ExportOptions(format, size=None if format == "openvino" else (50, 70))
    _, difference = exported(make(), tmp_path / f"model{FORMATS[format].suffix}", options)
    assert difference.largest < 0.01


def test_int8_leaves_the_first_and_the_last_convolution_alone(make, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    images = random_images((64, 96), 6, fixed=True)
    options = ExportOptions(precision="int8", calibration=images, size=(64, 96), batch=1)
    exported(make(SHORT), tmp_path / "low.onnx", options)
    assert load(tmp_path / "low.onnx").metadata["precision"] == "int8"
    graph = onnx.load(tmp_path / "low.onnx").graph
    makers = {output: node.op_type for node in graph.node for output in node.output}
    layers = [node for node in graph.node if node.op_type == "Conv"]
    quantized = [makers.get(node.input[1]) == "DequantizeLinear" for node in layers]
    assert not quantized[0] and not quantized[-1] and all(quantized[1:-1]) and len(quantized) > 5


def test_a_torch_program_predicts_the_same_and_one_that_differs_is_deleted_and_an_earlier_kept(
    make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Moved(Predictor):
        def __call__(self, *inputs):
            result = super().__call__(*inputs)
            return {**result, "keypoints": result["keypoints"] + 0.06}

    path, checkpoint = tmp_path / "model.pt2", make("head.decode=argmax")
    options = ExportOptions("torch_export", size=(64, 96))
    _, difference = exported(checkpoint, path, options)
    assert difference.largest < 0.01
    kept, module = path.read_bytes(), import_module("softpoint.inference.export.export")
    monkeypatch.setattr(module, "_write", lambda _, new, *__: new.write_bytes(kept + b"\0" * 9))
    moved = Moved(checkpoint.net, checkpoint.skeleton, checkpoint.size, "cpu")
    opened = module.FORMATS["torch_export"].open(path, {})
    format = module.FORMATS["torch_export"]._replace(open=lambda *_: opened)
    monkeypatch.setitem(module.FORMATS, "torch_export", format)
    with pytest.raises(ValueError, match=r"differs from .*best.ckpt by 0\.0[68].* it was deleted"):
        export(checkpoint, moved, path, options)
    assert path.read_bytes() == kept
    assert sorted(file.name for file in tmp_path.glob("*model*")) == ["model.pt2", "model.pt2.json"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"format": "onx"}, "did you mean 'onnx'"),
        ({"precision": "int4"}, "int8"),
        ({"precision": "int8"}, "give some by images=FOLDER"),
        (
            {"precision": "int8", "format": "aoti", "calibration": [ComparisonImage(np.zeros((8, 8, 3), np.uint8))]},
            "format=onnx",
        ),
        ({"size": (0, 5)}, "height and a width"),
        ({"format": "litert"}, r"add image_size=\[HEIGHT,WIDTH\]"),
        ({"format": "executorch", "precision": "float16", "size": (5, 5)}, "choose float32"),
        ({"format": "coreml"}, "coremltools"),
        ({"batch": 0}, "batch=0"),
        ({"opset": 9}, "from 18 to 23"),
    ],
)
def test_impossible_options_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ExportOptions(**wrong)
