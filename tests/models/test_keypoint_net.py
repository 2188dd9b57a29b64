"""The network moves its keypoints with the image, pads without moving them, and shows its attention."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from softpoint.layers import DynamicSpatialAttention, GroupNorm, SpatialAttention
from softpoint.models import FusionDecoder, KeypointNet, Small, SoftArgmaxHead
from softpoint.models.attention_maps import collect_attention
from softpoint.models.backbones import Backbone, Timm

ALL = (2, 3, 4, 5)


def network(
    stages: tuple[int, ...] = ALL, num_keypoints: int = 3, stride: int = 4, visibility: bool = False, **settings
) -> KeypointNet:
    return KeypointNet(
        num_keypoints,
        Small(width=8, stages=stages),
        partial(FusionDecoder, channels=8, stride=stride),
        partial(SoftArgmaxHead, window=5, visibility=visibility),
        **settings,
    ).eval()


def test_bytes_equal_floats_of_one_255th():
    net, image = network(), torch.randint(256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(net(image), net(image.float() / 255))


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((250, 320), r"image height 250 is not divisible by the network's stride 32; .* 256, or model\.pad"),
        ((64, 33), r"image width 33 is not divisible by the network's stride 32; .* 64, or model\.pad"),
    ],
)
def test_a_size_that_does_not_fit_is_refused_with_the_ways_out(size: tuple[int, int], message: str):
    with pytest.raises(ValueError, match=message):
        network()(torch.zeros(1, 3, *size))


def test_the_size_must_fit_only_the_stages_in_use():
    assert network(stages=(2, 3)).stride == 8
    assert network(stages=(2, 3))(torch.rand(1, 3, 40, 24))["logits"].shape == (1, 3, 10, 6)


@pytest.mark.parametrize(
    ("size", "padded"), [((50, 70), (64, 96)), ((64, 33), (64, 64)), ((1, 1), (32, 32)), ((64, 64), (64, 64))]
)
@pytest.mark.parametrize("stride", [1, 4, 8])
def test_padding_equals_padding_by_hand(size: tuple[int, int], padded: tuple[int, int], stride: int):
    net = network(stride=stride, attention=DynamicSpatialAttention, pad=True)
    height, width = size
    image = torch.rand(2, 3, height, width)
    # The mean color is zero once standardized.
    by_hand = torch.full((2, 3, *padded), 0.5)
    by_hand[..., :height, :width] = image
    with torch.no_grad():
        result, whole = net(image), net(by_hand)
    rows, columns = -(-height // stride), -(-width // stride)
    logits = whole["logits"][..., :rows, :columns]
    torch.testing.assert_close(result, net.head.read(logits))


PLACES = {"stage2": (16, 24), "stage4": (4, 6), "head": (16, 24)}


@pytest.mark.parametrize(
    ("stages", "before_head", "places"),
    [((), True, ["head"]), ((2, 4), False, ["stage2", "stage4"]), ((4,), True, ["stage4", "head"]), ((), False, [])],
)
def test_attention_stands_where_it_is_told(stages: tuple[int, ...], before_head: bool, places: list[str]):
    attention = partial(DynamicSpatialAttention, return_router_weights=True)
    net = network(attention=attention, attention_stages=stages, attention_before_head=before_head)
    image = torch.rand(2, 3, 64, 96)
    seen = net(image, return_attention=True)["attention"]
    assert list(seen) == places
    for place, (mask, weights) in seen.items():
        assert mask.shape == (2, 1, *PLACES[place]) and weights.shape == (2, 3)
    assert "attention" not in net(image)


def test_without_attention_there_is_none_to_show():
    for none in (None, {}):
        assert network(attention=none)(torch.rand(1, 3, 32, 32), return_attention=True)["attention"] == {}


class Blindfold(nn.Module):
    """Attention to nothing."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mask = torch.zeros_like(x[:, :1])
        return x * mask, mask


@pytest.mark.parametrize("places", [{}, {"attention_stages": (2, 3, 4, 5), "attention_before_head": False}])
def test_what_attention_hides_the_head_does_not_see(places: dict):
    net = network(attention=Blindfold, **places)
    logits = net(torch.rand(1, 3, 64, 64))["logits"]
    # Without biases nothing survives a mask of zeros but the head's own.
    torch.testing.assert_close(logits, net.head.logits.bias.view(1, 3, 1, 1).expand_as(logits))


class _Channels(nn.Module):
    """Gates each channel, as squeeze and excitation does, and so must know their number; it has no mask to show."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.gate = nn.Linear(in_channels, in_channels)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x.mean((-2, -1))).sigmoid()[..., None, None]


def test_attention_of_channels_gets_their_number_and_may_return_features_alone():
    net, images = network(attention=_Channels, attention_stages=(2, 4)), torch.rand(2, 3, 64, 64)
    assert {place: block.gate.in_features for place, block in net.attention.items()} == {
        "stage2": net.backbone.out_channels[0],
        "stage4": net.backbone.out_channels[2],
        "head": net.decoder.out_channels,
    }
    with torch.no_grad(), collect_attention(net.attention) as maps:
        prediction = net(images, return_attention=True)
        torch.testing.assert_close(prediction["keypoints"][1:], net(images[1:])["keypoints"])
    assert prediction["attention"] == maps == {}


def test_an_attention_stage_that_the_backbone_lacks_is_named():
    with pytest.raises(ValueError, match=r"names stage 5, but the backbone returns 2, 3; add it to backbone\.stages"):
        network(stages=(2, 3), attention=SpatialAttention, attention_stages=(2, 5))


@pytest.mark.parametrize("count", [0, -1, None])
def test_a_network_needs_keypoints(count: int | None, unchecked):
    with pytest.raises(ValueError, match=f"num_keypoints must be at least 1, got {count}"):
        network(num_keypoints=count)


def test_every_parameter_is_trained():
    net = network(attention=DynamicSpatialAttention, attention_stages=(2, 3, 4, 5)).train()
    net(torch.rand(2, 3, 64, 64))["logits"].square().mean().backward()
    assert not [name for name, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()]


def test_visibility_does_not_see_the_padding():
    net = network(stages=(2,), visibility=True, pad=True)
    torch.nn.init.normal_(net.head.visibility.weight)
    seen: list[tuple[Tensor, ...]] = []
    net.head.visibility.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    net(torch.rand(1, 3, 13, 18))
    features, logits = seen[0]
    assert features.shape[-2:] == logits.shape[-2:] == (4, 5)


def test_a_state_rebuilds_the_network():
    a, b = (network(attention=DynamicSpatialAttention) for _ in range(2))
    b.load_state_dict(a.state_dict())
    image = torch.rand(1, 3, 32, 64)
    with torch.no_grad():
        torch.testing.assert_close(b(image), a(image), rtol=0, atol=0)


@pytest.mark.parametrize("backbone", [lambda: Small(8), lambda: Timm("test_efficientnet")])
def test_group_normalization_lets_no_image_depend_on_its_batch(backbone: Callable[[], Backbone]) -> None:
    decoder = partial(FusionDecoder, channels=8)
    net = KeypointNet(3, backbone(), decoder, SoftArgmaxHead, norm=GroupNorm).train()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    assert sum(isinstance(module, nn.GroupNorm) for module in net.modules()) > 5
    images = torch.rand(3, 3, 64, 64)
    logits = net(images)["logits"]
    torch.testing.assert_close(logits[:1], net(images[:1])["logits"], rtol=1e-4, atol=1e-5)
    assert logits.std() > 0.01
