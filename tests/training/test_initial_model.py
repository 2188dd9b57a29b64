"""A training that starts from a finished model copies what fits by name, and says the rest."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from softpoint.inference.checkpoint_content import Content
from softpoint.labels.skeleton import Skeleton
from softpoint.layers import SubjectMark
from softpoint.models import (
    ChannelSoftmaxHead,
    FusionDecoder,
    KeypointNet,
    RegressionHead,
    SimCCHead,
    SoftArgmaxHead,
)
from softpoint.models.backbones import Small
from softpoint.models.backbones.weights import read_weights
from softpoint.models.finder import Finder
from softpoint.training.initial_model import (
    Transfer,
    _inherit,
    earlier_images,
    find_model,
    known_held_out,
    start_from,
    trained_on,
)

HEADS = [
    partial(SoftArgmaxHead, learnable_temperature=True, visibility=True),
    partial(SimCCHead, visibility=True),
    ChannelSoftmaxHead,
    partial(RegressionHead, grid=2, hidden=8),
]


def make_net(num_keypoints: int, head: Any = SoftArgmaxHead, width: int = 8) -> KeypointNet:
    net = KeypointNet(num_keypoints, Small(width), partial(FusionDecoder, channels=8), head)
    with torch.no_grad():
        for parameter in net.head.parameters():  # no row equals another one
            parameter.normal_()
    return net.eval()


def started(
    names: tuple[str, ...],
    before: tuple[str, ...],
    head: Any = SoftArgmaxHead,
    width: int = 8,
    head_before: Any = None,
) -> tuple[KeypointNet, KeypointNet, Transfer]:
    """A model of the keypoints `before`, a network of `names`, and what it took over from the model."""
    torch.manual_seed(0)
    model, net = make_net(len(before), head_before or head), make_net(len(names), head, width)
    config = {"model": {"backbone": {"width": 8, "pretrained": True}}}
    place, splits = Path("run/checkpoints/best.ckpt"), {"train": ["1.png"]}
    content = Content(model.state_dict(), Skeleton(before), (64, 64), None, config, place, splits, {}, {})
    now = {"backbone": {"width": width, "pretrained": False}}
    return model, net, start_from(content, net, names, now, partial(make_net, head=head, width=width))


@pytest.mark.parametrize("head", HEADS)
def test_keypoints_are_copied_by_name_whatever_the_head(head: Any) -> None:
    """Reordered, without one, and with a new one in the middle: the shared keypoints predict what they predicted."""
    before, names = ("nose", "tail", "left", "right"), ("right", "nose", "new", "left")
    model, net, transfer = started(names, before, head)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        old, new = model(image), net(image)
    for part in set(old) - {"classes", "attention"}:
        pairs = [(names.index(name), before.index(name)) for name in transfer.shared]
        # Classes of a pixel share a sum, which the new keypoint changes: their ratios alone stay.
        for i, j in pairs if head is not ChannelSoftmaxHead else []:
            torch.testing.assert_close(new[part][:, i], old[part][:, j], msg=f"{part} of {names[i]}")
    if head is ChannelSoftmaxHead:
        torch.testing.assert_close(new["classes"][:, [0, 1, 3, 4]], old["classes"][:, [3, 0, 2, 4]])
    assert (transfer.shared, transfer.new, transfer.left_out) == (["right", "nose", "left"], ["new"], ["tail"])
    assert transfer.copied == transfer.tensors and "the model had" not in str(transfer)


def test_no_keypoint_is_called_copied_where_nothing_of_the_head_fits() -> None:
    _, _, transfer = started(("nose", "new"), ("nose", "tail"), SimCCHead, head_before=SoftArgmaxHead)
    assert transfer.copied["head"] == 0 and (transfer.shared, transfer.left_out) == ([], [])
    assert "keypoints from random weights, since nothing of the head fits: nose, new" in str(transfer)


def test_reordered_keypoints_of_the_same_number_are_not_confused() -> None:
    model, net, _ = started(("a", "b"), ("b", "a"))
    assert torch.equal(net.head.logits.weight, model.head.logits.weight.flip(0))


def test_another_head_or_backbone_is_said_and_nothing_that_fits_is_an_error() -> None:
    torch.manual_seed(0)
    _, net, _ = started(("a",), ("a",))
    assert net.backbone.started_from == {"weights": "run/best.ckpt", "license": None}
    with pytest.raises(ValueError, match=r"nothing of its backbone fits .*: the model had backbone.width=8, not 16"):
        started(("a",), ("a",), width=16)


def test_settings_that_differ_are_said_where_every_tensor_fits() -> None:
    """As from batch normalization to group normalization, whose weights have the same names."""
    _, _, same = started(("a",), ("a",))
    assert "the model had" not in str(same)
    other = same._replace(changes={"norm.width": (None, 16)})
    assert other.copied == other.tensors and "the model had norm.width=None, not 16" in str(other)


def test_the_model_is_recorded_by_its_address_or_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def recorded(path: Path, address: str | None = None) -> str:
        backbone = SimpleNamespace()
        _inherit(backbone, Content({}, Skeleton(("a",)), (1, 1), None, {}, path, {}, {}, {}, address))
        return str(backbone.started_from["weights"])

    for folder in (tmp_path / "mice" / "checkpoints", tmp_path / "hub" / "snapshots" / "0a1b2c"):
        folder.mkdir(parents=True)
        monkeypatch.chdir(folder)
    assert recorded(Path.cwd(), "hf://user/mice") == "hf://user/mice" and recorded(Path.cwd()) == "0a1b2c"
    monkeypatch.chdir(tmp_path / "mice" / "checkpoints")
    assert recorded(Path("best.ckpt")) == recorded(Path.cwd() / "best.ckpt") == "mice/best.ckpt"
    monkeypatch.chdir(tmp_path / "mice")
    assert recorded(Path("copy.ckpt")) == "mice/copy.ckpt"


def test_the_calibration_stays_that_of_an_untrained_network() -> None:
    _, net, transfer = started(("a", "b"), ("b", "a"))
    assert not net.calibration.fitted and "calibration" not in transfer.tensors and "fitted anew" in str(transfer)


def test_held_out_images_that_the_model_knows_are_counted() -> None:
    content = Content({}, Skeleton(("a",)), (1, 1), None, {}, Path("a"), {"train": ["1.png", "2.png"]}, {}, {})
    sources: dict[str, Any] = {
        split: SimpleNamespace(labels=SimpleNamespace(paths=images))
        for split, images in {"train": ["3.png"], "val": ["4.png"], "test": ["1.png", "5.png"]}.items()
    }
    assert "trained on 1 of the 3 images of val and test, such as 1.png" in trained_on(content, sources)
    assert known_held_out(content, sources) == {"1.png"}
    assert trained_on(content, {"test": sources["val"]}) == trained_on(content, {"test": object()}) == ""
    assert earlier_images(content, sources) == ["1.png", "2.png"]
    last = content._replace(splits={"train": ["3.png"], "earlier": earlier_images(content, sources)})
    assert known_held_out(last, sources) == {"1.png"} and earlier_images(last, sources) == ["1.png", "2.png"]


def finding_net(share: bool = False, several: bool = True, seed: int = 0) -> KeypointNet:
    torch.manual_seed(seed)
    decoder = partial(FusionDecoder, channels=8)
    finder = partial(Finder, decoder=decoder, backbone=None if share else partial(Small, 8))
    parts: dict[str, Any] = {"finder": finder, "mark": SubjectMark} if several else {}
    net = KeypointNet(2, Small(8), decoder, SoftArgmaxHead, **parts)
    with torch.no_grad():
        for value in net.state_dict().values():
            if value.is_floating_point():
                value.uniform_(0.5, 1.5)
    return net.eval()


def taken_over(model: KeypointNet, net: KeypointNet, **config: dict[str, Any]) -> Transfer:
    place, names = Path("run/checkpoints/best.ckpt"), ("nose", "tail")
    content = Content(
        model.state_dict(), Skeleton(names), (64, 64), None, {"model": config["before"]}, place, {}, {}, {}
    )
    return start_from(content, net, names, config["now"], lambda num_keypoints: make_net(num_keypoints))


def test_finder_and_mark_of_several_subjects_are_taken_over() -> None:
    model, net = finding_net(seed=0), finding_net(seed=1)
    settings = {"finder": {"decoder": {"stride": 4}}}
    transfer, image, center = (
        taken_over(model, net, before=settings, now=settings),
        torch.rand(1, 3, 64, 64),
        [[9.0, 9]],
    )
    with torch.no_grad():
        assert_close(net.find(image), model.find(image))
        old, new = (each(image, center=torch.tensor(center))["keypoints"] for each in (model, net))
    assert (
        torch.equal(old, new) and transfer.copied == transfer.tensors and {"finder", "mark"} <= transfer.copied.keys()
    )
    assert not torch.equal(net.get_buffer("finder.calibration"), model.get_buffer("finder.calibration"))


@pytest.mark.parametrize(("before", "share"), [("crops", True), ("own", True), ("shared", False)])
def test_a_backbone_that_reads_and_finds_is_that_of_one_that_reads(before: str, share: bool) -> None:
    """Its normalizations have other names, one for each stage."""
    model = finding_net(share=before == "shared", several=before != "crops", seed=0)
    net = finding_net(share=share, seed=1)
    transfer, image = (
        taken_over(model, net, before={}, now={"finder": {"decoder": {"stride": 4}}}),
        torch.rand(1, 3, 64, 64),
    )
    assert transfer.copied["backbone"] == transfer.tensors["backbone"]
    with torch.no_grad():
        assert_close(net.backbone(image), model.backbone(image))
    assert transfer.differences == ["the model had finder=False, not True"]


def test_a_place_without_a_model_and_a_checkpoint_as_weights_of_a_backbone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"init=.* no checkpoint at .*the folder of a run"):
        find_model(str(tmp_path))
    (tmp_path / "best.ckpt").touch()
    with pytest.raises(ValueError, match=r"init=.*best\.ckpt starts a training"):
        read_weights(tmp_path / "best.ckpt")
