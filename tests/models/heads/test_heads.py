"""Promises that every head keeps."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from softpoint.functional import spatial_softmax
from softpoint.layers import SpatialAttention
from softpoint.models import (
    ChannelSoftmaxHead,
    FusionDecoder,
    KeypointNet,
    RegressionHead,
    SimCCHead,
    Small,
    SoftArgmaxHead,
)

HEADS = {
    "soft_argmax": SoftArgmaxHead,
    "learnable": partial(SoftArgmaxHead, learnable_temperature=True, temperature=2.0),
    "multi_scale": partial(SoftArgmaxHead, scales=(1, 2, 4)),
    "simcc": SimCCHead,
    "channel_softmax": ChannelSoftmaxHead,
    "regression": RegressionHead,
}
PARTS = {
    "soft_argmax": {"logits"},
    "learnable": {"logits"},
    "multi_scale": {"logits"},
    "simcc": {"axes", "mean"},
    "channel_softmax": {"classes"},
    "regression": {"mean", "log_scale"},
}
EXTRA = {
    "simcc": {"axis_x": (2, 3, 16), "axis_y": (2, 3, 12), "mean": (2, 3, 2)},
    "channel_softmax": {"classes": (2, 4, 6, 8)},
    "regression": {"mean": (2, 3, 2), "log_scale": (2, 3)},
}
each_head = pytest.mark.parametrize("name", HEADS)
each_map = pytest.mark.parametrize("name", ["soft_argmax", "learnable", "simcc", "channel_softmax"])
each_decoder = pytest.mark.parametrize("decode", ["window", "expectation", "argmax", "dark"])


def head(name: str, **settings) -> nn.Module:
    """A head on two channels for three keypoints, with no weight at 0."""
    made = HEADS[name](**{"in_channels": 2, "num_keypoints": 3, "stride": 4} | settings)
    for parameter in made.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return made


def peaked(name: str) -> nn.Module:
    """A head whose maps all peak where the features do; regression has none."""
    made = head(name)
    for layer in made.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.data = layer.weight.data[:1].abs().expand_as(layer.weight).mul(30)
            nn.init.zeros_(layer.bias)
    if name == "channel_softmax":
        made.classes.weight.data[-1] = 0  # background
    return made


def features(*size: int) -> Tensor:
    return torch.randn(2, 2, *(size or (6, 8)))


@each_head
def test_it_gives_the_promised_tensors(name: str):
    result = head(name)(features())
    assert {key: tuple(value.shape) for key, value in result.items()} == {
        "logits": (2, 3, 6, 8),
        "keypoints": (2, 3, 2),
        "confidence": (2, 3),
        "covariance": (2, 3, 2, 2),
        **EXTRA.get(name, {}),
    }
    assert ((result["confidence"] >= 0) & (result["confidence"] <= 1 + 1e-6)).all()
    assert (torch.linalg.eigvalsh(result["covariance"]) >= -1e-3).all()


@each_head
def test_it_names_the_parts_that_a_loss_may_train(name: str):
    assert head(name).provides == PARTS[name]
    assert head(name, visibility=True).provides == PARTS[name] | {"visibility"}


@each_head
def test_visibility_left_open_is_off_until_it_is_set(name: str):
    open_head, closed = head(name), head(name, visibility=False)
    assert open_head.predicts_visibility is None and closed.predicts_visibility is False
    assert open_head.visibility is closed.visibility is None
    open_head.set_visibility(True)
    assert list(open_head.state_dict()) == list(head(name, visibility=True).state_dict())


@each_head
def test_visibility_changes_no_other_parameter_and_no_random_number(name: str):
    made = HEADS[name]
    torch.manual_seed(1)
    off, after_off = made(in_channels=2, num_keypoints=3, stride=4), torch.rand(3)
    torch.manual_seed(1)
    on, after_on = made(in_channels=2, num_keypoints=3, stride=4, visibility=True), torch.rand(3)
    assert set(on.state_dict()) - set(off.state_dict()) == {"visibility.weight", "visibility.bias"}
    assert list(on.state_dict())[: len(off.state_dict())] == list(off.state_dict())
    x = features()
    with_it, without = on(x), off(x)
    assert with_it.pop("visibility").shape == (2, 3, 3)
    torch.testing.assert_close(with_it, without, rtol=0, atol=0)
    assert torch.equal(after_off, after_on)


@each_head
@pytest.mark.parametrize("value", [0.0, 1.0, -50.0])
def test_constant_features_give_finite_answers_and_gradients(name: str, value: float):
    reader, x = head(name), torch.full((1, 2, 5, 7), value, requires_grad=True)
    result = reader(x)
    sum(tensor.sum() for tensor in result.values()).backward()
    assert all(tensor.isfinite().all() for tensor in result.values())
    assert all(p.grad.isfinite().all() for p in reader.parameters()) and x.grad.isfinite().all()


@each_head
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (6, 1), (3, 200)])
def test_any_size_will_do(name: str, size: tuple[int, int]):
    result = head(name)(features(*size)[:1])
    assert result["logits"].shape == (1, 3, *size)
    assert all(tensor.isfinite().all() for tensor in result.values())


@each_map
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_only_convolutions_run_in_half_precision(name: str, dtype: torch.dtype):
    reader, x = peaked(name), torch.zeros(1, 2, 3, 1024)
    x[..., 1, -3] = 10
    with torch.no_grad(), torch.autocast("cpu", dtype):
        result = reader(x)
    assert {key for key, value in result.items() if value.dtype == dtype} <= {"logits", "classes"}
    # bfloat16 knows no odd integer above 256.
    expected = torch.tensor([1021.5 * 4 - 0.5, 1.5 * 4 - 0.5]).expand(1, 3, 2)
    torch.testing.assert_close(result["keypoints"], expected, atol=0.01, rtol=0)
    assert all(value.isfinite().all() for value in result.values())


@each_head
def test_logits_of_a_head_make_a_heatmap(name: str):
    reader = head(name)
    result = reader(features())
    heatmap = spatial_softmax(result["logits"].float())
    torch.testing.assert_close(heatmap.sum((-2, -1)), torch.ones(2, 3))
    # What a heatmap of this kind says of its keypoint is what `read` reads, from one's own maps or an average.
    read = reader.read(result["logits"])
    if name in ("soft_argmax", "learnable", "multi_scale"):
        torch.testing.assert_close({key: result[key] for key in read}, read, rtol=0, atol=0)
    if name == "channel_softmax":
        torch.testing.assert_close(result["keypoints"], read["keypoints"], rtol=0, atol=0)


@each_map
@each_decoder
@pytest.mark.parametrize(("cell", "stride"), [((0, 0), 4), ((10, 0), 1), ((3, 5), 2), ((10, 8), 8)])
def test_a_sure_cell_decodes_to_the_middle_of_its_pixels(name: str, decode: str, cell: tuple[int, int], stride: int):
    logits = torch.full((1, 3, 9, 11), -1e4)
    logits[..., cell[1], cell[0]] = 1e4
    result = head(name, decode=decode, stride=stride).read(logits)
    middle = [torch.arange(i * stride, (i + 1) * stride).float().mean() for i in cell]
    expected = torch.stack(middle).expand(1, 3, 2)
    torch.testing.assert_close(result["keypoints"], expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(result["confidence"], torch.ones(1, 3))
    assert torch.equal(result["covariance"], torch.zeros(1, 3, 2, 2))


@pytest.mark.parametrize("name", ["soft_argmax", "simcc", "channel_softmax"])
def test_an_unknown_decoder_and_an_even_window_are_quoted(name: str):
    with pytest.raises(ValueError, match="windw"):
        head(name, decode="windw")
    with pytest.raises(ValueError, match="odd number of cells, got 4"):
        head(name, window=4)


def network(name: str, **settings) -> KeypointNet:
    decoder = partial(FusionDecoder, channels=2, stride=4)
    return KeypointNet(3, Small(width=8, stages=(2, 3)), decoder, partial(head_of, name), **settings).eval()


def head_of(name: str, in_channels: int, num_keypoints: int, stride: int) -> nn.Module:
    assert (in_channels, num_keypoints, stride) == (2, 3, 4)
    return head(name)


@each_map
@pytest.mark.parametrize("shift", [(8, 0), (0, -16), (24, 32)])
def test_keypoints_move_with_the_image(name: str, shift: tuple[int, int]):
    # The backbone's mean color standardizes to zero, which no convolution here can tell from its padding;
    # positive weights on what a patch excites put each maximum on it rather than on that empty background.
    net = network(name, attention=SpatialAttention)
    maps = next(p for p in net.head.parameters() if p.ndim == 4)
    maps.data.abs_().mul_(30)
    if name == "channel_softmax":
        maps.data[-1] = 0
    image = torch.full((1, 3, 192, 192), 0.5)
    image[..., 80:112, 80:112] = torch.rand(3, 32, 32)
    with torch.no_grad():
        here, there = net(image), net(image.roll(shift, (-2, -1)))
    moved = torch.tensor([shift[1], shift[0]], dtype=torch.float32)
    torch.testing.assert_close(there["keypoints"], here["keypoints"] + moved, atol=5e-2, rtol=0)
    torch.testing.assert_close(there["confidence"], here["confidence"], atol=1e-4, rtol=1e-3)
    assert (here["keypoints"] - 95.5).abs().max() < 60


@each_head
def test_a_padded_image_is_read_without_its_padding(name: str):
    net = network(name, pad=True)
    with torch.no_grad():
        result = net(torch.rand(1, 3, 50, 70))
    assert result["logits"].shape == (1, 3, 13, 18)
    assert all(value.isfinite().all() for key, value in result.items())
