"""Published weights are converted number by number, and what they hold beside numbers is not run."""

from __future__ import annotations

import io
import json
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file

from softpoint.inference.published_weights import efficientnet, movenet, read_legacy_torch_file, read_tfjs

CALL = "call/center_net/model_1/model"


def write_model(folder: Path, tensors: dict[str, np.ndarray], half: bool = True) -> None:
    """Write a model of TensorFlow.js as its converter does, from arrays in TensorFlow's layout."""
    entries, content = [], b""
    for name, value in tensors.items():
        halved = half and value.dtype == np.float32
        entries.append({"name": name, "shape": list(value.shape), "dtype": str(value.dtype)})
        entries[-1] |= {"quantization": {"dtype": "float16", "original_dtype": "float32"}} if halved else {}
        content += value.astype("<f2" if halved else value.dtype).tobytes()
    (folder / "net.bin").write_bytes(content)
    (folder / "net.json").write_text(json.dumps({"weightsManifest": [{"paths": ["net.bin"], "weights": entries}]}))


def convolution(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(-99, 99, shape).astype(np.float32)


def test_a_kernel_of_tensorflow_becomes_the_same_convolution(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    full, depth, bias = convolution(rng, 3, 3, 2, 5), convolution(rng, 3, 3, 4, 1), convolution(rng, 5)
    axes = np.array([7], np.int32)
    write_model(tmp_path, {"axes": axes, "Conv2D_weights": full, "depthwise_weights": depth, "offset": bias})
    read = read_tfjs(tmp_path / "net.json")
    assert read["axes"].tolist() == [7] and read["offset"].tolist() == bias.tolist()
    # The response at one place is the sum over rows, columns and channels, for either layout.
    image = convolution(rng, 3, 3, 4)
    x = torch.from_numpy(image).permute(2, 0, 1)[None]
    expected = np.einsum("hwc,hwcd->d", image[..., :2], full)
    assert torch.conv2d(x[:, :2], read["Conv2D_weights"]).flatten().tolist() == expected.tolist()
    expected = np.einsum("hwc,hwc->c", image, depth[..., 0])
    assert torch.conv2d(x, read["depthwise_weights"], groups=4).flatten().tolist() == expected.tolist()


@pytest.mark.parametrize("half", [True, False])
def test_only_the_backbone_is_kept_under_its_names(tmp_path: Path, half: bool) -> None:
    rng = np.random.default_rng(0)
    layers = ("Conv1/Conv2D", "expanded_conv_project/Conv2D", "block_1_expand/Conv2D", "block_16_depthwise/depthwise")
    tensors = {}
    for layer in layers:
        tensors |= {f"{CALL}/{layer}_weights": convolution(rng, 1, 1, 2, 2)}
        tensors |= {f"{CALL}/{layer}_bn_offset": convolution(rng, 2)}
    others = {"Conv_1/Conv2D_weights": convolution(rng, 1, 1, 2, 2), "kpt_offset_0/BiasAdd": convolution(rng, 2)}
    write_model(tmp_path, tensors | {f"{CALL}/{name}": value for name, value in others.items()}, half)
    movenet(tmp_path, tmp_path / "out.safetensors")
    state = load_file(tmp_path / "out.safetensors")
    names = ("stem", "project", "blocks.0.expand", "blocks.15.depth")
    assert state.keys() == {f"{name}.{kind}" for name in names for kind in ("weight", "bias")}
    assert state["blocks.0.expand.bias"].tolist() == tensors[f"{CALL}/block_1_expand/Conv2D_bn_offset"].tolist()


def test_bytes_that_are_missing_or_too_many_and_other_types_are_errors(tmp_path: Path) -> None:
    write_model(tmp_path, {"a": np.ones(3, np.float32)})
    (tmp_path / "net.bin").write_bytes(bytes(8))
    with pytest.raises(ValueError, match=r"net\.json lists 6 bytes of weights, but there are 8"):
        read_tfjs(tmp_path / "net.json")
    write_model(tmp_path, {"a": np.ones(3, np.uint8)})
    with pytest.raises(ValueError, match=r"net\.json: a is of type uint8"):
        read_tfjs(tmp_path / "net.json")


def save_legacy(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def test_an_old_file_of_torch_gives_its_tensors(tmp_path: Path) -> None:
    content = OrderedDict(a=torch.arange(6.0).view(2, 3), n=torch.tensor(3))
    save_legacy(content, tmp_path / "a.pth")
    read = read_legacy_torch_file(tmp_path / "a.pth")
    assert read.keys() == content.keys() and all(torch.equal(read[key], content[key]) for key in content)


class Planted:
    """What a pickle would call when it is read."""

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return (pytest.fail, ("code in a file was run",))  # type: ignore[return-value]


@pytest.mark.parametrize("place", [0, 3])
def test_code_in_any_of_its_pickles_is_not_run(tmp_path: Path, place: int) -> None:
    file = io.BytesIO()
    torch.save({"a": torch.ones(1)}, file, _use_new_zipfile_serialization=False)
    file.seek(0)
    pickles = [pickle.dumps(pickle.load(file), 2) for _ in range(3)]
    pickles.insert(place, pickle.dumps(Planted(), 2))
    (tmp_path / "a.pth").write_bytes(b"".join(pickles) + file.read())
    with pytest.raises(
        ValueError, match=r"a\.pth does not load .*but only tensors and plain values are read.; nothing"
    ):
        read_legacy_torch_file(tmp_path / "a.pth")


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"\x80\x02N.", b"<html>"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(ValueError, match="does not load as tensors and plain values"):
        read_legacy_torch_file(tmp_path / "a.pth")


def test_tensors_in_the_order_of_a_network_get_its_names(tmp_path: Path) -> None:
    name = "tf_efficientnet_lite0"
    whole = timm.create_model(name).state_dict()
    save_legacy(OrderedDict((f"_{i}", value) for i, value in enumerate(whole.values())), tmp_path / "a.pth")
    efficientnet(tmp_path, tmp_path / "out.safetensors", name)
    state = load_file(tmp_path / "out.safetensors")
    left_out = {key for key in whole if key.startswith("classifier.") or key.endswith("num_batches_tracked")}
    assert state.keys() == whole.keys() - left_out and all(torch.equal(state[key], whole[key]) for key in state)
    with pytest.raises(ValueError, match=r"a\.pth does not hold the tensors of tf_efficientnet_lite2"):
        efficientnet(tmp_path, tmp_path / "out.safetensors", "tf_efficientnet_lite2")
