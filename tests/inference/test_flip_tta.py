"""Flip averaging: a mirror gives the mirrored answer, and what is averaged are probabilities."""

from __future__ import annotations

import re
from functools import partial

import pytest
import torch

from softpoint.functional import spatial_expectation, spatial_softmax
from softpoint.inference.flip_tta import FlipAverage, choose_tta, flip_average
from softpoint.labels.skeleton import Skeleton
from softpoint.models import (
    ChannelSoftmaxHead,
    FusionDecoder,
    KeypointNet,
    RegressionHead,
    SimCCHead,
    Small,
    SoftArgmaxHead,
)

SKELETON = Skeleton(("nose", "left", "right"), (("left", "right"),))
HEADS = {
    "soft_argmax": partial(SoftArgmaxHead, visibility=True),
    "expectation": partial(SoftArgmaxHead, decode="expectation"),
    "simcc": SimCCHead,
    "channel_softmax": ChannelSoftmaxHead,
    "regression": RegressionHead,
}


def made(head: str, pad: bool = False) -> KeypointNet:
    """A network whose predictions depend on the image and differ between keypoints."""
    torch.manual_seed(0)
    net = KeypointNet(3, Small(8), partial(FusionDecoder, channels=8), HEADS[head], pad=pad).eval()
    for name, parameter in net.head.named_parameters():
        if "bias" not in name:
            torch.nn.init.normal_(parameter, std=0.5 if head != "regression" else 0.05)
    return net


@pytest.mark.parametrize("head", HEADS)
def test_a_mirrored_image_gives_the_mirrored_answer(head: str):
    net = flip_average(made(head), SKELETON)
    image = torch.rand(2, 3, 64, 96)
    with torch.inference_mode():
        result, mirrored = net(image), net(image.flip(-1))
    swap = SKELETON.flip_index
    points = mirrored["keypoints"][:, swap]
    points[..., 0] = 95 - points[..., 0]
    torch.testing.assert_close(points, result["keypoints"], atol=2e-3, rtol=0)
    torch.testing.assert_close(mirrored["confidence"][:, swap], result["confidence"], atol=1e-4, rtol=1e-4)
    sign = torch.tensor([[1.0, -1], [-1, 1]])
    torch.testing.assert_close(mirrored["covariance"][:, swap] * sign, result["covariance"], atol=1e-2, rtol=1e-3)
    heatmaps = [spatial_softmax(x) for x in (mirrored["logits"][:, swap].flip(-1), result["logits"])]
    torch.testing.assert_close(*heatmaps, atol=1e-5, rtol=1e-3)
    if "visibility" in result:
        torch.testing.assert_close(mirrored["visibility"][:, swap], result["visibility"], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(made(head)(image)["keypoints"], result["keypoints"], atol=1e-2)


def test_probabilities_are_averaged_and_then_decoded():
    net, image = made("expectation"), torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        seen, mirror = (spatial_softmax(net(x)["logits"].double()) for x in (image, image.flip(-1)))
        result = flip_average(net, SKELETON)(image)
    mean = (seen + mirror.flip(-1)[:, [0, 2, 1]]) / 2
    torch.testing.assert_close(spatial_softmax(result["logits"]).double(), mean, atol=1e-7, rtol=1e-4)
    cells = (result["keypoints"].double() + 0.5) / net.decoder.stride - 0.5
    torch.testing.assert_close(cells, spatial_expectation(mean), atol=1e-4, rtol=0)


def test_a_width_that_would_be_padded_is_refused():
    net = FlipAverage(made("expectation", pad=True), SKELETON.flip_index)
    with pytest.raises(ValueError, match=r"width 70 is not divisible by .* 32.* set data.size to a multiple"):
        net(torch.rand(1, 3, 64, 70))
    assert net(torch.rand(1, 3, 50, 64))["keypoints"].isfinite().all()


def test_the_network_itself_stays_as_it_is():
    net, image = made("soft_argmax"), torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        before, head = net(image)["keypoints"], net.head
        averaged = flip_average(net, SKELETON)
        averaged(image)
        assert net.head is head and averaged.head is head and averaged.calibration is net.calibration
        assert torch.equal(net(image)["keypoints"], before)


def test_calibration_comes_after_averaging():
    net, image = made("soft_argmax"), torch.rand(1, 3, 64, 64)
    averaged = flip_average(net, SKELETON)
    with torch.inference_mode():
        raw = averaged(image)
        net.calibration.set(radius=torch.tensor(5.0))
        result = averaged(image)
        expected = net.calibration(raw, net.decoder.stride)
    torch.testing.assert_close(result["confidence"], expected["confidence"])
    assert not torch.allclose(result["confidence"], raw["confidence"])


@pytest.mark.parametrize(
    ("skeleton", "message"),
    [
        (Skeleton(("nose", "tail")), "is known as a left or a right one"),
        (Skeleton((*SKELETON.names, "left_hip"), SKELETON.flip_pairs), "would confuse left_hip, which have no partner"),
    ],
)
def test_without_all_flip_pairs_the_user_must_confirm(skeleton, message):
    with pytest.raises(ValueError, match=f"{message}.*data.flip_pairs=.*tta_unpaired"):
        flip_average(made("soft_argmax"), skeleton)
    assert isinstance(flip_average(made("soft_argmax"), skeleton, unpaired=True), FlipAverage)


@pytest.mark.parametrize(
    ("names", "record", "choice", "reason"),
    [
        (SKELETON.names, {"flip_change": [-2.0, -0.5]}, "flip", r"validation images by -2\.00 to -0\.50 px"),
        (SKELETON.names, {"flip_change": (-2.0, 0.5)}, None, r"no averaging .* by -2\.00 to \+0\.50 px"),
        (SKELETON.names, {"flip_change": None}, None, "its calibration has not measured that"),
        (SKELETON.names, {"flip_change": ["a", -1]}, None, "its calibration has not measured that"),
        (SKELETON.names, {"flip_change": -1.0}, None, "its calibration has not measured that"),
        ((*SKELETON.names, "left_hip"), {"flip_change": [-2.0, -1.0]}, None, "not all left and right keypoints"),
    ],
)
def test_auto_averages_where_that_was_measured_to_help(names, record, choice, reason):
    chosen, said = choose_tta(Skeleton(names, SKELETON.flip_pairs), record)
    assert chosen == choice and re.search(f"^tta=auto: .*{reason}", said)
