"""A checkpoint rebuilds its network alone, and nothing in an untrusted one is run."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.training import NAMES
from softpoint.data.stored_splits import unpack_splits
from softpoint.inference import read_checkpoint
from softpoint.models import KeypointNet

PLAIN = (str, int, float, bool, type(None))


def plain(node: Any) -> bool:
    if isinstance(node, dict):
        return all(isinstance(key, str) for key in node) and all(map(plain, node.values()))
    return all(map(plain, node)) if isinstance(node, list) else isinstance(node, PLAIN)


def test_a_checkpoint_holds_its_config_skeleton_versions_and_split(stored: dict[str, Any], run: Path) -> None:
    assert plain(stored["hyper_parameters"]) and stored["hyper_parameters"]["model"]["_target_"]
    assert stored["skeleton"] == {"names": list(NAMES), "flip_pairs": [["left_ear", "right_ear"]], "edges": []}
    assert {"softpoint", "python", "torch", "torchvision", "numpy"} < set(stored["versions"]) and plain(
        stored["versions"]
    )
    splits = unpack_splits(stored["LabeledData"]["splits"])
    assert set(splits) == {"train", "val", "test"} and sum(map(len, splits.values())) == 12
    assert {path for paths in splits.values() for path in paths} == {f"video{i % 4}/img{i:02}.png" for i in range(12)}


def test_synthetic_images_are_in_no_split(stored: dict[str, Any], tmp_path: Path) -> None:
    assert stored["record"]["splits"]["test"]["images"] > 0
    torch.save({key: value for key, value in stored.items() if key != "LabeledData"}, tmp_path / "painted.ckpt")
    assert read_checkpoint(tmp_path / "painted.ckpt").splits is None


@pytest.mark.parametrize("name", ["best", "last"])
def test_network_is_rebuilt_from_the_file_alone(run: Path, stored: dict[str, Any], name: str) -> None:
    checkpoint = read_checkpoint(run / "checkpoints" / f"{name}.ckpt")
    assert isinstance(checkpoint.net, KeypointNet) and not checkpoint.net.training
    assert checkpoint.size == (64, 64) and checkpoint.skeleton.names == NAMES
    weights = torch.load(checkpoint.path, weights_only=True)["state_dict"]
    assert all(torch.equal(weights[f"net.{key}"], value) for key, value in checkpoint.net.state_dict().items())


@pytest.mark.parametrize(
    "target",
    [
        "os.system", "builtins.eval", "builtins.__import__", "subprocess.Popen", "torch.hub.load", "torch.load",
        "torch.nn.Module", "softpoint.inference.load_predictor", "softpoint.models.backbones.torch.hub.load",
        "softpoint.models.keypoint_net.nn.Module", "softpoint.models.backbones.weights.read_weights",
        "softpoint.models.backbones", "softpoint.models.__builtins__", "softpoint.models.", ".softpoint.models.Small",
        "softpoint.layers.torch", "Small", "", None, 3, ["softpoint.models.Small"],
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["model", "backbone", "head", "deep"])
def test_a_target_outside_softpoints_modules_is_refused(
    changed: Any, place: str, target: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plant(stored: dict[str, Any]) -> None:
        model = stored["hyper_parameters"]["model"]
        node = model if place == "model" else model["backbone" if place == "deep" else place]
        if place == "deep":
            node["stages"] = [2, {"x": [{"y": {"_target_": target, "command": "touch /nowhere"}}]}]
        else:
            node["_target_"] = target

    path = changed(plant)
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("a command was run"))
    with pytest.raises(ValueError, match=r"changed.ckpt: .*"):
        read_checkpoint(path)


@pytest.mark.parametrize("target", ["layers.Normalize", "models.SoftArgmaxHead", "models.Small"])
def test_a_module_in_the_wrong_place_is_an_error(changed: Any, target: str) -> None:
    path = changed(lambda stored: stored["hyper_parameters"]["model"].update(_target_=f"softpoint.{target}"))
    with pytest.raises(ValueError, match=r"changed.ckpt"):
        read_checkpoint(path)


def test_starting_weights_are_neither_read_nor_downloaded(changed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a download was started")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    config = {
        "_target_": "softpoint.models.Torchvision",
        "name": "mobilenet_v3_small",
        "stages": [2, 3, 4, 5],
        "pretrained": True,
        "weights": "/etc/hostname",
    }
    path = changed(lambda stored: stored["hyper_parameters"]["model"].update(backbone=config))
    # Only its own weights are missing now, which is said after the network was built.
    with pytest.raises(ValueError, match="its weights do not fit its config"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("hyper_parameters"), "does not describe its network"),
        (lambda c: c.pop("skeleton"), "lacks 'skeleton'"),
        (lambda c: c.pop("state_dict"), "lacks 'state_dict'"),
        (lambda c: c["hyper_parameters"].pop("model"), "does not describe its network"),
        (lambda c: (c.pop("size"), c["hyper_parameters"]["data"].pop("size")), "lacks the size of its input"),
        (lambda c: c["skeleton"].pop("names"), "lacks 'names'"),
        (lambda c: c.update(hyper_parameters=None), "is no checkpoint of softpoint"),
        (lambda c: c.update(skeleton=[1]), "is no checkpoint of softpoint"),
        (lambda c: c.update(state_dict=5), "is no checkpoint of softpoint"),
        (lambda c: c["hyper_parameters"].update(model="softpoint.models.Small"), "a str, not a KeypointNet"),
        (lambda c: c.update(size="large"), "is no checkpoint of softpoint"),
        (lambda c: c.update(size=[64, 64, 3]), "is no checkpoint of softpoint"),
        (lambda c: c.update(size=[float("inf"), 64]), "is no checkpoint of softpoint"),
        (lambda c: c["skeleton"].update(names=["nose"], flip_pairs=[]), "its weights do not fit its config"),
        (lambda c: c["skeleton"].update(names=[], flip_pairs=[]), "num_keypoints must be at least 1"),
        (lambda c: c["skeleton"].update(flip_pairs=[["nose", "x"]]), "no keypoint is named 'x'"),
        (lambda c: c["state_dict"].pop("net.head.logits.weight"), "its weights do not fit its config"),
        (lambda c: c["state_dict"].update({"net.x": torch.zeros(1)}), "its weights do not fit its config"),
        (lambda c: c["state_dict"].update({"net.head.logits.weight": torch.zeros(9)}), "its weights do not fit"),
        (lambda c: c["state_dict"].update({"net.head.logits.weight": "text"}), "its weights do not fit"),
        (
            lambda c: c["state_dict"]["net.head.logits.weight"].fill_(float("nan")),
            "hold NaN or infinity, first head.logits.weight: its training diverged",
        ),
        (lambda c: c["hyper_parameters"]["model"]["backbone"].update(width=16), "its weights do not fit its config"),
        (lambda c: c["hyper_parameters"]["model"]["backbone"].update(widht=16), "its network cannot be rebuilt"),
        (lambda c: c["hyper_parameters"]["model"]["backbone"].update(width="x"), "its network cannot be rebuilt"),
        (lambda c: c["hyper_parameters"]["model"]["backbone"].update(width=-2), "its network cannot be rebuilt"),
        (lambda c: c["hyper_parameters"]["model"].pop("head"), "its network cannot be rebuilt"),
        (lambda c: c["state_dict"].pop("net.calibration.slope"), "its weights do not fit its config"),
        (
            lambda c: c["state_dict"].update({"net.calibration.hit_weights": torch.zeros(9)}),
            "its weights do not fit its config",
        ),
        (lambda c: c["hyper_parameters"]["model"].update(head=None), "its network cannot be rebuilt"),
        (lambda c: c["hyper_parameters"]["model"].update(backbone={}), "its network cannot be rebuilt"),
    ],
)
def test_a_missing_or_wrong_part_is_named(changed: Any, change: Callable[[dict], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_checkpoint(changed(change))


def test_a_checkpoint_from_before_calibration_loads_without(changed: Any, run: Path) -> None:
    def strip(stored: dict[str, Any]) -> None:
        for key in [key for key in stored["state_dict"] if "calibration" in key]:
            del stored["state_dict"][key]

    assert read_checkpoint(run / "checkpoints" / "best.ckpt").net.calibration.fitted
    net, image = read_checkpoint(changed(strip)).net, torch.rand(1, 3, 64, 64)
    assert not net.calibration.fitted
    with torch.no_grad():
        actual, raw = net(image), net.head.read(net(image)["logits"])
    assert all(torch.equal(actual[key], raw[key]) for key in ("confidence", "covariance"))


@pytest.mark.parametrize(("whole_map", "decode"), [(True, "expectation"), (False, "window")])
def test_whole_map_of_old_configs_becomes_decode(changed: Any, whole_map: bool, decode: str) -> None:
    def old(stored: dict[str, Any]) -> None:
        head = stored["hyper_parameters"]["model"]["head"]
        for key in ("decode", "learnable_temperature"):
            head.pop(key)
        head["whole_map"] = whole_map

    assert read_checkpoint(changed(old)).net.head.decode == decode


@pytest.mark.parametrize("content", [b"", b"hello\n", b"PK\x03\x04", b"\x80\x04.", b"image,split\n" * 99])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.ckpt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"other.ckpt is no checkpoint of softpoint"):
        read_checkpoint(path)


def test_truncated_files_are_refused(run: Path, tmp_path: Path) -> None:
    content, path = (run / "checkpoints" / "best.ckpt").read_bytes(), tmp_path / "short.ckpt"
    for length in (100, len(content) // 2, len(content) - 10):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"short.ckpt is no checkpoint of softpoint, or is damaged"):
            read_checkpoint(path)


def test_tensors_of_something_else_are_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(2)], tmp_path / "list.ckpt")
    with pytest.raises(ValueError, match="it holds a list"):
        read_checkpoint(tmp_path / "list.ckpt")


@pytest.mark.parametrize("name", ["none.ckpt", ""])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*checkpoints/best.ckpt"):
        read_checkpoint(tmp_path / name)


def test_the_checkpoint_of_a_run_is_named(run: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=f"is the folder of a run, and no checkpoint; give {run}/checkpoints/best"
    ):
        read_checkpoint(run)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.onnx", "is an exported file: `softpoint.runtime.load`"),
        ("a.pt2", "torch runs it"),
        ("notes.txt", "a run keeps its own in checkpoints/best.ckpt"),
    ],
)
def test_a_file_of_another_kind_names_a_way_out(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / name).write_text("text")
    with pytest.raises(ValueError, match=reason):
        read_checkpoint(tmp_path / name)
