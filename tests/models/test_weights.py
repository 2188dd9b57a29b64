"""Files of bare weights come from strangers: only safetensors are read, and a lying header is one clear error."""

from __future__ import annotations

import json
import os
import pickle
import struct
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file

from softpoint.models import Small, Torchvision
from softpoint.models.backbones.weights import read_weights

FLOATS: dict[str, Any] = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def packed(header: Any, length: int | None = None) -> bytes:
    """A safetensors file of 8 bytes of data with this header, whose length it may misstate."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + bytes(8)


LYING = [
    {"a": {**FLOATS, "shape": [3]}},
    {"a": {**FLOATS, "shape": [1 << 62, 1 << 62]}},
    {"a": {**FLOATS, "shape": [-2]}},
    {"a": {**FLOATS, "data_offsets": [0, 1 << 62]}},
    {"a": {**FLOATS, "data_offsets": [8, 0]}},
    {"a": {**FLOATS, "dtype": "O"}},
    {"a": FLOATS, "b": FLOATS},
    {"a": FLOATS, "b": {**FLOATS, "shape": [1], "data_offsets": [4, 8]}},
    {"a": {**FLOATS, "data_offsets": [4, 12]}},
    {"a": []},
    [],
]
LENGTHS = (0, 1, 1 << 20, 1 << 40, (1 << 64) - 1)
OTHER = [b"", b"nothing", b'{"a":' * 10_000, b"\xff" * 100]


@pytest.mark.parametrize("content", [*map(packed, LYING), *(packed({"a": FLOATS}, n) for n in LENGTHS), *OTHER])
def test_a_file_that_lies_or_is_damaged_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(packed({"a": FLOATS}))
    assert torch.equal(read_weights(path)["a"], torch.zeros(2))
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"w.safetensors cannot be read as weights"):
        Small(8, weights=path)


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.tensor([1.0, float("nan")])}, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="a holds NaN or infinity"):
        read_weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.ckpt", "w.bin", "w"])
def test_a_file_that_can_hold_code_is_not_opened(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fuse = tmp_path / "sprung"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {fuse}",)

    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was opened"))
    (tmp_path / name).write_bytes(pickle.dumps(Trap()))
    way_out = (
        "is a checkpoint; init=" if name == "w.ckpt" else r"is no \.safetensors file.*safetensors\.torch\.save_file"
    )
    with pytest.raises(ValueError, match=rf"{name} {way_out}"):
        Small(8, weights=tmp_path / name)
    assert not fuse.exists()


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/"])
def test_a_device_is_no_file(path: str) -> None:
    with pytest.raises(FileNotFoundError, match="no file at /"):
        read_weights(path)


def test_torchvisions_own_download_is_read_as_weights_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import _api, resnet18

    whole, asked = resnet18().state_dict(), {}

    def download(url: str, **options: Any) -> dict[str, torch.Tensor]:
        asked.update(options, url=url)
        return whole

    monkeypatch.setattr(_api, "load_state_dict_from_url", download)
    net = Torchvision("resnet18", stages=(2,), pretrained=True)
    assert asked["weights_only"] is True and asked["check_hash"] is True
    assert torch.equal(net.body["conv1"].weight, whole["conv1.weight"])
    assert net.started_from == {"weights": "torchvision ResNet18_Weights.IMAGENET1K_V1", "license": "BSD-3-Clause"}


def test_a_download_that_fails_names_the_weights_and_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import _api

    def download(*_: Any, **__: Any) -> None:
        raise URLError("no network")

    monkeypatch.setattr(_api, "load_state_dict_from_url", download)
    with pytest.raises(OSError, match=r"could not download ResNet18_Weights.IMAGENET1K_V1 .*backbone.weights=FILE"):
        Torchvision("resnet18", stages=(2,), pretrained=True)
