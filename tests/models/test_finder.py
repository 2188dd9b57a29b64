"""The finder of a network: its size, its coordinates, and a backbone that both stages share."""

from functools import partial

import pytest
import torch
from torch.testing import assert_close

from softpoint.layers import SubjectMark
from softpoint.models import Finder, FusionDecoder, KeypointNet, Small, SoftArgmaxHead

PARTS = {"decoder": partial(FusionDecoder, channels=8), "head": SoftArgmaxHead}


def network(share=False, mark=False, **settings):
    torch.manual_seed(0)
    backbone = partial(Small, width=4)
    finder = partial(Finder, decoder=PARTS["decoder"], backbone=None if share else backbone)
    settings |= {"mark": SubjectMark} if mark else {}
    return KeypointNet(3, backbone, **PARTS, finder=finder, **settings)


@pytest.mark.parametrize("share", [False, True])
def test_maps_have_the_stride_of_the_decoder_and_expect_no_subject_at_first(share):
    maps = network(share).eval().find(torch.zeros(2, 3, 64, 96))
    assert maps.logits.shape == (2, 1, 16, 24) and maps.boxes.shape == (2, 4, 16, 24)
    assert maps.logits.exp().sum((1, 2, 3)).max() < 1


def test_a_size_that_is_no_multiple_of_the_stride_is_padded_and_cut():
    maps = network(pad=True).eval().find(torch.zeros(1, 3, 50, 70))
    assert maps.logits.shape == (1, 1, 13, 18)


def test_a_shared_backbone_is_stored_once_and_trained_by_both_losses():
    net = network(share=True)
    assert sum("stages" in name for name in net.state_dict()) == len(
        {name for name in net.state_dict() if "stages" in name}
    )
    assert not any(name.startswith("finder.backbone") for name in net.state_dict())
    convolution = next(p for name, p in net.named_parameters() if name.startswith("backbone") and p.ndim == 4)
    net.find(torch.randn(2, 3, 64, 64)).logits.sum().backward()
    assert convolution.grad.abs().sum() > 0


def test_the_statistics_of_one_stage_are_not_those_of_the_other():
    """Training on bright whole images leaves what the network reads in a crop as it was, to the bit."""
    net = network(share=True).eval()
    crop = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    before = net(crop)["logits"]
    net.train()
    with torch.no_grad():
        net.find(torch.rand(4, 3, 64, 64) + 5)
    assert torch.equal(net.eval()(crop)["logits"], before)


def test_a_mark_starts_without_effect_and_then_tells_two_subjects_apart():
    plain, marked = network().eval(), network(mark=True).eval()
    marked.load_state_dict({**marked.state_dict(), **plain.state_dict()})
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    assert torch.equal(plain(image)["logits"], marked(image)["logits"])
    with torch.no_grad():
        for weight in marked.mark.weights:
            weight.normal_()
    middle, off = torch.tensor([[31.5, 31.5]]), torch.tensor([[10.0, 50.0]])
    assert_close(marked(image, center=middle)["logits"], marked(image)["logits"])
    assert not torch.allclose(marked(image, center=off)["logits"], marked(image)["logits"])


def test_the_score_is_a_half_where_a_half_is_expected_and_rises():
    finder = network().finder
    scores = finder.score(torch.tensor([0.0, 0.1, 0.5, 1.0]))
    assert_close(scores[2].item(), 0.5)
    assert (scores.diff() > 0).all()
