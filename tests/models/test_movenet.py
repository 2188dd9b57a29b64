"""MoveNet's backbone places its cells as TensorFlow does, and starts from its published weights, or says how to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from softpoint.models import MoveNet
from softpoint.models.backbones.movenet import InvertedResidual

SMALL = (8, 4, 8, 8, 8, 8, 8, 8)


def test_a_stride_of_two_pads_behind_alone() -> None:
    block = InvertedResidual(1, 1, stride=2)
    for layer in (block.expand, block.depth, block.project):
        torch.nn.init.ones_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    # Cell i sees the pixels 2 i to 2 i + 2 of a row of six; each of the six expanded channels adds its part.
    for pixel, cells in ((0, [6, 0, 0]), (1, [6, 0, 0]), (2, [6, 6, 0]), (5, [0, 0, 6])):
        image = torch.zeros(1, 1, 6, 6)
        image[..., 0, pixel] = 1
        assert block(image)[0, 0, 0].tolist() == cells


def test_only_blocks_of_equal_shape_add_their_input() -> None:
    for stride, channels, adds in ((1, 4, True), (1, 6, False), (2, 4, False)):
        block = InvertedResidual(4, channels, stride)
        torch.nn.init.zeros_(block.project.weight)
        torch.nn.init.zeros_(block.project.bias)
        x = torch.randn(1, 4, 8, 8)
        y = block(x)
        assert torch.equal(y, x) if adds else not y.any()


def test_features_move_with_the_image() -> None:
    net, image = MoveNet("any", SMALL, stages=(2, 3)).eval(), torch.randn(1, 3, 288, 288)
    still, moved = net(image[..., 32:, 32:]), net(image[..., :-32, :-32])
    for stride, a, b in zip(net.stride, still, moved, strict=True):
        border, shift = 96 // stride, 32 // stride
        inner = a[..., border - shift : -border - shift, border - shift : -border - shift]
        torch.testing.assert_close(inner, b[..., border:-border, border:-border])


def test_random_weights_keep_the_size_of_features() -> None:
    for feature in MoveNet("any")(torch.randn(2, 3, 64, 64)):
        assert 0.2 < feature.std() < 5


def test_the_file_of_the_whole_fits_some_of_its_stages(tmp_path: Path) -> None:
    whole = MoveNet("any", SMALL).eval()
    save_file(whole.state_dict(), tmp_path / "any.safetensors")
    part = MoveNet("any", SMALL, stages=(3,), pretrained=True, folder=tmp_path).eval()
    assert part.started_from == {"weights": "Google MoveNet SinglePose 4, any", "license": "Apache-2.0"}
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(part(x)[0], whole(x)[1]) and len(part.blocks) == 5
    own = MoveNet("any", SMALL, weights=tmp_path / "any.safetensors")
    assert own.started_from == {"weights": "any.safetensors", "license": None}
    with pytest.raises(ValueError, match=r"does not fit MoveNet: .* of another shape: stem.weight"):
        MoveNet("any", pretrained=True, folder=tmp_path)


def test_missing_weights_are_named_with_the_command_that_fetches_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said = re.escape(
        f"no weights of movenet_thunder at {tmp_path}/movenet_thunder.safetensors; softpoint weights fetch mov"
    )
    with pytest.raises(
        FileNotFoundError, match=f"{said}enet_thunder gets them, or start without: backbone.pretrained=f"
    ):
        MoveNet("movenet_thunder", SMALL, pretrained=True, folder=tmp_path)
    assert MoveNet("movenet_thunder", SMALL, pretrained=None, folder=tmp_path).started_from is None
    assert re.search(said, caplog.text) and "starts from random weights" in caplog.text


def test_other_counts_of_widths_are_quoted() -> None:
    with pytest.raises(ValueError, match=r"backbone.widths must be 8 numbers of channels, got \[8, 4\]"):
        MoveNet("any", (8, 4))


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("movenet_lightning", (32, 16, 24, 32, 64, 96, 160, 320)),
        ("movenet_thunder", (56, 32, 40, 56, 112, 168, 280, 560)),
    ],
)
def test_the_published_weights_make_its_features(data_root: Path, name: str, widths: tuple[int, ...]) -> None:
    path = data_root / f"weights/{name}.safetensors"
    if not path.is_file():
        pytest.skip(f"no file at {path}; softpoint weights fetch {name} brings it")
    net, state = MoveNet(name, widths, weights=path).eval(), load_file(path)
    assert state.keys() == net.state_dict().keys()
    x = torch.rand(1, 3, 64, 64) * 2 - 1

    def convolve(name: str, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
        weight = state[f"{name}.weight"]
        before = weight.shape[-1] // 2 if stride == 1 else 0
        padded = F.pad(x, (before, weight.shape[-1] // 2, before, weight.shape[-1] // 2))
        groups = padded.shape[1] // weight.shape[1]
        return F.conv2d(padded, weight, state[f"{name}.bias"], stride, groups=groups)

    y = convolve("project", convolve("depth", convolve("stem", x, 2).clamp(0, 6)).clamp(0, 6))
    for block in ("blocks.0", "blocks.1"):
        inner = convolve(f"{block}.expand", y).clamp(0, 6)
        inner = convolve(f"{block}.depth", inner, 2 if block == "blocks.0" else 1).clamp(0, 6)
        y = convolve(f"{block}.project", inner) + (0 if block == "blocks.0" else y)
    with torch.no_grad():
        torch.testing.assert_close(net(x)[0], y)
