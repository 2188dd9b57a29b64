"""Features that are computed again give the same step: loss, gradients and batch statistics."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers.training import built, composed, tiny
from softpoint.models import Finder, FusionDecoder, KeypointNet, SoftArgmaxHead
from softpoint.models.backbones import MoveNet, Small, Timm, Torchvision
from softpoint.training.recomputed import recompute_features

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*many workers.*")

BACKBONES = {
    "small": lambda: Small(8),
    "leaves": lambda: Torchvision("resnet18", stages=(2, 3)),
    "movenet": lambda: MoveNet("movenet_lightning", stages=(2, 3)),
    "timm": lambda: Timm("test_resnet"),
    "timm_blocks": lambda: Timm("test_efficientnet"),
}


def step(backbone: Any) -> tuple[int, list[Tensor]]:
    """Numbers kept for the backward pass, and features, gradients and buffers after it."""
    kept = dict[int, int]()

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        features = backbone(image)
    sum(feature.square().sum() for feature in features).backward()
    gradients = [p.grad for p in backbone.parameters() if p.grad is not None]
    return sum(kept.values()), [*features, *gradients, *backbone.buffers()]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", BACKBONES)
def test_a_step_is_the_same_and_keeps_less(name: str) -> None:
    usual = BACKBONES[name]()
    again = copy.deepcopy(usual)
    recompute_features(SimpleNamespace(backbone=again))
    for _ in range(2):
        (many, expected), (few, found) = step(usual), step(again)
        assert few < many
        assert len(expected) == len(found) > 4
        assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    norms = [part for part in again.modules() if isinstance(part, nn.BatchNorm2d)]
    assert all(int(norm.num_batches_tracked) == 2 for norm in norms) and (norms or name == "movenet")


def test_a_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    """With parts of a batch, which ask for gradients within the step."""
    states = []
    for value in ("false", "true"):
        words = tiny(f"recompute={value}", "trainer.accumulate=auto", "trainer.max_epochs=2")
        module, data, trainer = built(composed("train", words, tmp_path / value))
        trainer.fit(module, data)
        states.append(torch.load(tmp_path / value / "checkpoints/last.ckpt", weights_only=True)["state_dict"])
    assert module.net.backbone.recompute and states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], value) for key, value in states[1].items())


def test_what_cannot_be_computed_again_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"recompute=true: Identity has no attribute `recompute`, .* leave it out"):
        recompute_features(SimpleNamespace(backbone=nn.Identity()))
    with pytest.raises(ValueError, match=r"leave out one of recompute=true and compile=true"):
        built(composed("train", tiny("recompute=true", "compile=true"), tmp_path))


@pytest.mark.parametrize("share", [False, True])
def test_both_backbones_compute_again_and_a_shared_one_is_refused(share: bool) -> None:
    backbone = partial(Small, width=4)
    finder = partial(Finder, decoder=FusionDecoder, backbone=None if share else backbone)
    net = KeypointNet(1, backbone, FusionDecoder, SoftArgmaxHead, finder=finder)
    if share:
        with pytest.raises(ValueError, match=r"finder.share=true"):
            recompute_features(net)
        return
    recompute_features(net)
    assert net.backbone.recompute and net.finder is not None and net.finder.backbone.recompute
