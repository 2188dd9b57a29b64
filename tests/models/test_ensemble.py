"""An ensemble is the mixture of its members' heatmaps: one member is itself, and disagreement widens the covariance."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from softpoint.functional import render_gaussians, spatial_softmax
from softpoint.inference.flip_tta import FlipAverage
from softpoint.layers import DynamicSpatialAttention
from softpoint.models import (
    ChannelSoftmaxHead,
    Ensemble,
    FusionDecoder,
    KeypointNet,
    RegressionHead,
    SimCCHead,
    Small,
    SoftArgmaxHead,
)
from softpoint.models.attention_maps import collect_attention
from softpoint.models.average import average

HEADS: dict[str, Any] = {
    "soft_argmax": partial(SoftArgmaxHead, visibility=True),
    "expectation": partial(SoftArgmaxHead, decode="expectation"),
    "simcc": partial(SimCCHead, decode="expectation"),
    "channel_softmax": ChannelSoftmaxHead,
    "regression": RegressionHead,
}


def recipe(head: Any, **settings: Any) -> Any:
    return partial(
        KeypointNet, backbone=partial(Small, 8), decoder=partial(FusionDecoder, channels=8), head=head, **settings
    )


def made(head: str, seed: int) -> KeypointNet:
    """A network whose predictions depend on the image."""
    torch.manual_seed(seed)
    net: KeypointNet = recipe(HEADS[head])(num_keypoints=3).eval()
    for name, parameter in net.head.named_parameters():
        if parameter.ndim > 1 and "refine" not in name:
            torch.nn.init.normal_(parameter, std=0.5 if head != "regression" else 0.05)
    return net


def joined(*nets: KeypointNet) -> Ensemble:
    return Ensemble(3, [lambda num_keypoints, net=net: net for net in nets]).eval()


@pytest.mark.parametrize("copies", [1, 2, 5])
@pytest.mark.parametrize("head", HEADS)
def test_equal_members_predict_as_one_of_them(head: str, copies: int) -> None:
    image = torch.rand(2, 3, 64, 96)
    with torch.inference_mode():
        expected: Any = made(head, 0)(image)
        actual: Any = joined(*(made(head, 0) for _ in range(copies)))(image)
    assert actual.keys() == expected.keys()
    for name in ("keypoints", "confidence", "covariance"):
        torch.testing.assert_close(actual[name], expected[name], atol=2e-4, rtol=1e-4)
    heatmaps = [spatial_softmax(prediction["logits"]) for prediction in (actual, expected)]
    torch.testing.assert_close(*heatmaps, atol=1e-6, rtol=1e-4)
    if "visibility" in expected:
        states = [prediction["visibility"].softmax(-1) for prediction in (actual, expected)]
        torch.testing.assert_close(*states, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("head", ["expectation", "simcc", "regression"])
def test_the_covariance_is_the_mean_one_and_the_scatter_of_the_points(head: str) -> None:
    image, nets = torch.rand(2, 3, 64, 96), [made(head, seed) for seed in (0, 1, 2)]
    with torch.inference_mode():
        single: Any = [net(image) for net in nets]
        whole: Any = joined(*nets)(image)
    points = torch.stack([prediction["keypoints"] for prediction in single]).double()
    off = points - points.mean(0)
    scatter = (off[..., :, None] * off[..., None, :]).mean(0)
    if head == "simcc":  # which has no covariance between x and y
        scatter = torch.diag_embed(scatter.diagonal(dim1=-2, dim2=-1))
    mean = torch.stack([prediction["covariance"] for prediction in single]).double().mean(0)
    assert scatter.diagonal(dim1=-2, dim2=-1).min() > 1e-4
    torch.testing.assert_close(whole["covariance"].double(), mean + scatter, atol=1e-2, rtol=1e-3)
    torch.testing.assert_close(whole["keypoints"].double(), points.mean(0), atol=1e-3, rtol=0)


def test_the_covariance_grows_by_a_quarter_of_the_squared_distance_of_two() -> None:
    head = SoftArgmaxHead(1, 1, stride=4, decode="expectation")
    means = torch.tensor([[20.0, 16.0], [26.0, 16.0], [32.0, 24.0]])
    logits = render_gaussians(means, 2.0, (40, 48)).clamp_min(1e-30).log()[:, None, None]
    first, *others = (head.read(one) for one in logits)
    for other, distance in zip(others, means[1:] - means[0], strict=True):
        grown = average([first, other], head)["covariance"] - first["covariance"]
        expected = torch.outer(distance, distance) / 4 * head.stride**2
        torch.testing.assert_close(grown[0, 0], expected, atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize("head", HEADS)
def test_the_flip_average_of_an_ensemble_is_that_of_its_members(head: str) -> None:
    image, nets, order = torch.rand(1, 3, 64, 96), [made(head, seed) for seed in (0, 1)], [0, 2, 1]
    with torch.inference_mode():
        whole = FlipAverage(joined(*nets), order)(image)
        parts = [FlipAverage(made(head, seed), order)(image) for seed in (0, 1)]
        expected = average(parts, nets[0].head)
    for name in ("keypoints", "covariance", "confidence"):
        torch.testing.assert_close(whole[name], expected[name], atol=5e-3, rtol=1e-3)  # type: ignore[literal-required]


def test_one_calibration_takes_the_place_of_the_members_own() -> None:
    nets, image = [made("soft_argmax", seed) for seed in (0, 1)], torch.rand(1, 3, 64, 64)
    nets[1].calibration.set(radius=torch.tensor(9.0))
    ensemble = joined(*nets)
    assert [name for name in ensemble.state_dict() if "calibration.radius" in name] == ["calibration.radius"]
    with torch.inference_mode():
        raw = ensemble(image)
        ensemble.calibration.set(radius=torch.tensor(5.0))
        torch.testing.assert_close(ensemble(image)["confidence"], ensemble.calibration(raw, 4)["confidence"])


def test_it_describes_itself_as_a_network_does() -> None:
    wide, deep = (recipe(SoftArgmaxHead, attention=DynamicSpatialAttention, pad=True) for _ in range(2))
    deep = partial(deep, backbone=partial(Small, 8, stages=(2, 3)))
    ensemble = Ensemble(3, [deep, wide]).eval()
    assert (ensemble.in_channels, ensemble.head.stride) == (3, 4)
    assert ensemble.stride == max(net.stride for net in ensemble.nets) > ensemble.nets[0].stride
    with torch.inference_mode(), collect_attention(ensemble.attention) as maps:
        assert ensemble(torch.rand(1, 3, 50, 70))["logits"].shape == (1, 3, 13, 18)
    assert list(maps) == ["member 1, head", "member 2, head"]
    assert not any("member 1" in name for name in ensemble.state_dict())


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "1 to 64 members, got 0"),
        ([recipe(SoftArgmaxHead)] * 65, "1 to 64 members, got 65"),
        ([recipe(SoftArgmaxHead), recipe(SimCCHead)], r"head of the first is SoftArgmaxHead\(.*another SimCCHead"),
        ([recipe(SoftArgmaxHead), recipe(partial(SoftArgmaxHead, window=5))], "window=9.*window=5"),
        ([recipe(SoftArgmaxHead), recipe(HEADS["soft_argmax"])], "visibility=False.*visibility=True"),
        ([recipe(SoftArgmaxHead), recipe(SoftArgmaxHead, in_channels=1)], "channels of the first is 3, .* 1"),
        ([partial(Ensemble, members=[recipe(SoftArgmaxHead)])], "is a Ensemble, not a KeypointNet"),
    ],
)
def test_members_that_do_not_fit_are_refused(members: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Ensemble(3, members)
