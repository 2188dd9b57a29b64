"""The loss is a masked mean of weighted terms, and points that cannot be trained have no gradient."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from helpers.targets import target_of
from softpoint import functional as F
from softpoint.models import ChannelSoftmaxHead, RegressionHead, SimCCHead, SoftArgmaxHead
from softpoint.training import (
    AxisTerm,
    CoordinateTerm,
    HeatmapTerm,
    KeypointLoss,
    LikelihoodTerm,
    LossTerm,
    PixelClassTerm,
    Target,
    VarianceTerm,
    VisibilityTerm,
)

HEATMAP = {
    "heatmap_ce": lambda **more: HeatmapTerm(F.heatmap_ce, 1.0, sigma=5.0, **more),
    "heatmap_kl": lambda **more: HeatmapTerm(F.heatmap_kl, 1.0, sigma={"start": 9.0, "end": 5.0}, **more),
    "heatmap_js": lambda **more: HeatmapTerm(F.heatmap_js, 1.0, sigma=5.0, **more),
    "heatmap_mse": lambda **more: HeatmapTerm(F.heatmap_mse, 10.0, sigma=5.0, **more),
    "heatmap_awing": lambda **more: HeatmapTerm(partial(F.heatmap_awing, total=False), 0.1, sigma=5.0, **more),
    "heatmap_ce bilinear": lambda **more: HeatmapTerm(F.heatmap_ce, 1.0, sigma=5.0, target="bilinear", **more),
    "heatmap_js nearest": lambda **more: HeatmapTerm(F.heatmap_js, 1.0, sigma=5.0, target="nearest", **more),
}
INDIRECT = {
    "coordinate_l1": lambda **more: CoordinateTerm(F.coordinate_l1, weight=0.1, sigma=None, **more),
    "coordinate_l2": lambda **more: CoordinateTerm(F.coordinate_l2, sigma=5.0, **more),
    "coordinate_huber": lambda **more: CoordinateTerm(partial(F.coordinate_huber, delta=2.0), sigma=None, **more),
    "coordinate_wing": lambda **more: CoordinateTerm(F.coordinate_wing, sigma=None, **more),
    "variance": lambda **more: VarianceTerm(F.variance, sigma=5.0, **more),
}
TERMS = HEATMAP | INDIRECT
# Other terms, and the parts that a head gives them beside its logits.
OTHERS = {
    "axis_ce": (lambda **more: AxisTerm(F.axis_ce, 1.0, sigma=5.0, **more), ("axis_x", "axis_y")),
    "coordinate_l1 of a mean": (lambda **more: CoordinateTerm(F.coordinate_l1, sigma=5.0, **more), ("mean",)),
    "coordinate_nll": (lambda **more: LikelihoodTerm(F.coordinate_nll, **more), ("mean", "log_scale")),
    "pixel_classes": (lambda: PixelClassTerm(radius=6.0, ring=4.0, background=0.1, smoothing=0.1), ("classes",)),
    "visibility": (lambda: VisibilityTerm(F.visibility_ce), ("visibility",)),
}
EVERY = {name: (make, ()) for name, make in TERMS.items()} | OTHERS
PER_KEYPOINT = {name: case for name, case in EVERY.items() if name not in ("pixel_classes", "visibility")}


def predicted(parts: tuple[str, ...] = (), batch: int = 3) -> dict[str, Tensor]:
    """Random leaves: logits, and the parts named."""
    leaves = {
        "logits": torch.randn(batch, 4, 16, 16),
        "axis_x": torch.randn(batch, 4, 32),
        "axis_y": torch.randn(batch, 4, 32),
        "mean": torch.rand(batch, 4, 2) * 15,
        "log_scale": torch.randn(batch, 4),
        "classes": torch.randn(batch, 5, 16, 16),
        "visibility": torch.randn(batch, 4, 3),
    }
    return {name: leaves[name].requires_grad_() for name in ("logits", *parts)}


def drawn(parts: tuple[str, ...] = ()) -> tuple[dict[str, Tensor], Target]:
    """Random leaves, and a target in which the state of a keypoint is known where its position can be trained."""
    mask = torch.tensor([[1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 0, 1]], dtype=torch.bool)
    points = (torch.rand(3, 4, 2) * 63).where(mask[..., None], float("nan"))
    points[1, 0] = torch.tensor([float("inf"), 1e30])
    states = torch.tensor([2, 0, 1, 2]).expand(3, 4).where(mask, -1)
    return predicted(parts), target_of(points, mask, 4, states)


def part_of(target: Target, rows: slice) -> Target:
    return replace(target, points=target.points[rows], mask=target.mask[rows], states=target.states[rows])


@pytest.mark.parametrize("name", EVERY)
def test_masked_points_have_no_gradient_and_the_others_do(name: str) -> None:
    make, parts = EVERY[name]
    prediction, target = drawn(parts)
    KeypointLoss({"term": make()})(prediction, target)["loss"].backward()
    for part in parts or ("logits",):
        gradient = prediction[part].grad[:, :4]
        assert torch.isfinite(gradient).all()
        assert (gradient.flatten(2).abs().amax(-1) if gradient.ndim > 2 else gradient.abs()).gt(0).equal(target.mask)


@pytest.mark.parametrize("name", EVERY)
def test_nothing_labeled_is_a_loss_of_zero(name: str) -> None:
    make, parts = EVERY[name]
    prediction, target = drawn(parts)
    nothing = target_of(torch.full((3, 4, 2), float("nan")), torch.zeros_like(target.mask), 4)
    loss = KeypointLoss({"term": make()})(prediction, nothing)["loss"]
    loss.backward()
    assert loss.item() == 0
    for part in parts or ("logits",):  # a gradient, which other processes wait for
        assert not prediction[part].grad.any()


@pytest.mark.parametrize("name", PER_KEYPOINT)
def test_keypoints_weigh_by_name_in_every_mean(name: str) -> None:
    """Closed form: the weighted mean of the losses; a weight of 0 has no gradient, and equal weights change nothing."""
    make, parts = PER_KEYPOINT[name]
    prediction, target = drawn(parts)
    losses = make()(prediction, target).detach()
    weighted = KeypointLoss({"term": make()}, {"ear": 3, "tail": 0})
    weighted.set_keypoints(["nose", "ear", "tail", "paw"])
    value = weighted(prediction, target)["term"]
    shares = target.mask * torch.tensor([1.0, 3.0, 0.0, 1.0])
    torch.testing.assert_close(value, losses.where(target.mask, 0).mul(shares).sum() / shares.sum())
    value.backward()
    assert all(not prediction[part].grad[:, 2].any() for part in parts or ("logits",))
    same = KeypointLoss({"term": make()}, dict.fromkeys(("nose", "ear", "tail", "paw"), 2.5))
    same.set_keypoints(["nose", "ear", "tail", "paw"])
    torch.testing.assert_close(same(prediction, target), KeypointLoss({"term": make()})(prediction, target))
    assert same.state_dict().keys() == KeypointLoss({"term": make()}).state_dict().keys()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"nsoe": 2}, "names 'nsoe': did you mean 'nose'"),
        ({"nose": -1}, "nose=-1; give a number from 0 on"),
        ({"nose": "2"}, "nose='2'; give a number"),
        ({"nose": 0, "tail": 0}, "0 for every keypoint"),
    ],
)
def test_impossible_weights_of_keypoints_are_refused(weights: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KeypointLoss({"term": CoordinateTerm(torch.sub)}, weights).set_keypoints(["nose", "tail"])


@pytest.mark.parametrize("name", PER_KEYPOINT)
def test_only_the_hardest_keypoints_of_each_sample_teach(name: str) -> None:
    make, parts = PER_KEYPOINT[name]
    prediction, target = drawn(parts)
    losses = make()(prediction, target)
    value = KeypointLoss({"term": make(hard_keypoints=2)})(prediction, target)["term"]
    value.backward()
    hardest = [sorted((losses[b, k].item(), k) for k in range(4) if target.mask[b, k])[-2:] for b in range(3)]
    # Both samples with labels have three, so that their means weigh alike.
    means = [sum(loss for loss, _ in kept) / 2 for kept in hardest if kept]
    assert value.item() == pytest.approx(sum(means) / 2, rel=1e-5)
    moved = prediction[(parts or ("logits",))[0]].grad.flatten(2).abs().amax(-1) > 0
    assert moved.nonzero().tolist() == [[b, k] for b in range(3) for k in sorted(k for _, k in hardest[b])]


@pytest.mark.parametrize("term", [HeatmapTerm, CoordinateTerm, AxisTerm, LikelihoodTerm])
def test_fewer_than_one_hard_keypoint_and_a_negative_weight_are_refused(term: type[nn.Module]) -> None:
    with pytest.raises(ValueError, match="hard_keypoints must be at least 1, got 0; null keeps all"):
        term(F.heatmap_ce, weight=1.0, hard_keypoints=0)
    with pytest.raises(ValueError, match="the weight of a loss must be at least 0, got -1"):
        term(F.heatmap_ce, weight=-1.0)


def test_terms_add_up_with_their_weights() -> None:
    prediction, target = drawn()
    terms = {name: make() for name, make in TERMS.items()}
    values = KeypointLoss(terms)(prediction, target)
    torch.testing.assert_close(values["loss"], sum(term.weight * values[name] for name, term in terms.items()))
    alone = {name: KeypointLoss({name: term})(prediction, target)[name] for name, term in terms.items()}
    assert all(torch.equal(alone[name], values[name]) for name in terms)


@pytest.mark.parametrize("hard", [{}, {"hard_keypoints": 2}])
@pytest.mark.parametrize("name", EVERY)
def test_shares_with_the_mean_count_average_to_the_whole(name: str, hard: dict[str, int]) -> None:
    make, parts = EVERY[name]
    prediction, target = drawn(parts)
    loss = KeypointLoss({"term": make(**hard) if name in PER_KEYPOINT else make()})
    whole = loss(prediction, target)["loss"]
    count = target.mask.sum() / 3
    shares = [
        loss(
            {part: leaf[i : i + 1] for part, leaf in prediction.items()},
            part_of(target, slice(i, i + 1)),
            {"term": count},
        )
        for i in range(3)
    ]
    torch.testing.assert_close(torch.stack([share["loss"] for share in shares]).mean(), whole)


@pytest.mark.parametrize("stride", [1, 4, 8])
def test_the_target_is_its_own_best_answer(stride: int) -> None:
    points = torch.tensor([[[31.0, 27.0], [24.5, 40.25]]])
    cells, size = F.image_to_grid(points, stride), (64 // stride, 64 // stride)
    logits = F.render_gaussians(cells, 5.0 / stride, size).log().clamp_min(-80)
    mask = torch.ones(1, 2, dtype=torch.bool)
    values = KeypointLoss({name: make() for name, make in TERMS.items()})(
        {"logits": logits}, target_of(points, mask, stride)
    )
    for name in ("heatmap_kl", "heatmap_js", "heatmap_mse", "heatmap_awing"):
        assert values[name].item() == pytest.approx(0, abs=1e-5)
    for name in ("coordinate_l1", "coordinate_l2"):
        assert values[name].item() == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("sigma", [0, -1, float("nan"), {"start": 3, "end": 0}])
@pytest.mark.parametrize("term", [HeatmapTerm, VarianceTerm, AxisTerm])
def test_sigma_must_be_positive(sigma: object, term: type[nn.Module]) -> None:
    with pytest.raises(ValueError, match=r"sigma must be positive, got (0|-1|nan)"):
        term(F.heatmap_ce, weight=1.0, sigma=sigma)


def test_a_term_that_gives_no_number_for_each_keypoint_is_refused() -> None:
    class PerSample(LossTerm):
        def forward(self, prediction, target):
            return prediction["logits"].mean((1, 2, 3))

    loss = KeypointLoss({"mine": PerSample(1.0)})
    target = target_of(torch.full((3, 3, 2), 4.0), torch.ones(3, 3, dtype=torch.bool), 4)  # K = B, so (B,) broadcasts
    with pytest.raises(ValueError, match=r"the term mine of the loss returned \(3,\); .* here \(3, 3\)"):
        loss({"logits": torch.zeros(3, 3, 8, 8)}, target)


def test_a_loss_needs_a_term() -> None:
    with pytest.raises(ValueError, match="the loss has no terms; choose at least one"):
        KeypointLoss({})


@pytest.mark.parametrize(
    ("point", "visibility", "state"),
    [
        ([0, 0], 2, 2),
        ([29.5, -0.5], 2, 2),
        ([-0.5, 19.5], 1, 1),
        ([29.6, 0], 2, 0),
        ([0, 19.6], 1, 0),
        ([-0.6, 5], 2, 0),
        ([5, 5], 0, -1),
        ([-9, 5], 0, -1),
        ([0, 0], -1, 0),
        ([float("nan"), 5], 2, 0),
        ([float("nan"), 5], -1, 0),
        ([float("nan"), 5], 0, -1),
    ],
)
def test_points_outside_the_input_are_absent_and_the_other_labeled_ones_are_trained(
    point: list[float], visibility: int, state: int
) -> None:
    target = Target.of(torch.tensor([[point]], dtype=torch.float), torch.tensor([[visibility]]), (20, 30), 4)
    assert target.states.dtype == torch.int64 and target.states.item() == state
    assert target.mask.item() is (state > 0)


def beside(weight: float = 1.0) -> KeypointLoss:
    return KeypointLoss(
        {"heatmap_ce": TERMS["heatmap_ce"](), "visibility": VisibilityTerm(F.visibility_ce, weight=weight)}
    )


def test_visibility_is_the_mean_over_known_states_whichever_positions_are_trained() -> None:
    prediction, target = drawn(("visibility",))
    target = replace(target, states=torch.tensor([[2, -1, 1, 0], [-1] * 4, [2, 2, -1, 2]]))
    values, known = beside(0.5)(prediction, target), target.states >= 0
    expected = nn.functional.cross_entropy(prediction["visibility"][known], target.states[known])
    torch.testing.assert_close(values["visibility"], expected)
    torch.testing.assert_close(values["loss"], values["heatmap_ce"] + 0.5 * expected)


def test_a_visibility_term_is_left_out_where_no_states_are_predicted() -> None:
    prediction, target = drawn()
    alone = KeypointLoss({"heatmap_ce": TERMS["heatmap_ce"]()})(prediction, target)
    torch.testing.assert_close(beside()(prediction, target), alone, rtol=0, atol=0)


def head(**settings) -> SoftArgmaxHead:
    return SoftArgmaxHead(in_channels=2, num_keypoints=3, stride=4, **settings)


def test_a_head_that_a_loss_does_not_train_is_refused() -> None:
    with pytest.raises(ValueError, match=r"head\.visibility=true, but no term .* add visibility to loss"):
        KeypointLoss({"heatmap_ce": TERMS["heatmap_ce"]()}).check_head(head(visibility=True))
    with pytest.raises(ValueError, match=r"loss=\[visibility\] alone trains nothing .* set head\.visibility=true"):
        KeypointLoss({"visibility": VisibilityTerm(F.visibility_ce)}).check_head(head())
    for visibility in (True, False):
        beside().check_head(head(visibility=visibility))


FITTING = {
    SoftArgmaxHead: ["heatmap_ce", "coordinate_l1"],
    SimCCHead: ["axis_ce", "coordinate_l1"],
    ChannelSoftmaxHead: ["pixel_classes"],
    RegressionHead: ["coordinate_nll", "coordinate_l1"],
}


@pytest.mark.parametrize("visibility", [True, False])
@pytest.mark.parametrize("kind", FITTING)
def test_a_loss_that_fits_a_head_trains_it_in_half_precision_too(kind: type[nn.Module], visibility: bool) -> None:
    made = kind(in_channels=8, num_keypoints=4, stride=4, visibility=visibility)
    loss = KeypointLoss({name: EVERY[name][0]() for name in FITTING[kind]} | visible())
    loss.check_head(made)
    if kind is RegressionHead:  # which starts blind, at the middle of the map
        nn.init.normal_(made.last.weight)
    target = replace(drawn()[1], progress=0.3)
    features = torch.randn(3, 8, 16, 16, requires_grad=True)
    for dtype in (torch.float32, torch.bfloat16):
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            value = loss(made(features), target)["loss"]
        value.backward()
        assert value.dtype == torch.float32 and torch.isfinite(value) and torch.isfinite(features.grad).all()
        assert features.grad[[0, 2]].any() and not features.grad[1].any()
        features.grad = None


@pytest.mark.parametrize(
    ("kind", "terms", "message"),
    [
        (
            SimCCHead,
            ["heatmap_ce", "coordinate_l1"],
            r"head=simcc provides axis distributions and a mean position, and heatmap_ce needs heatmap logits; "
            r"use loss=\[axis_ce\+coordinate,visibility\]",
        ),
        (
            SoftArgmaxHead,
            ["axis_ce"],
            r"head=soft_argmax provides heatmap logits, and axis_ce needs axis distributions;",
        ),
        (
            ChannelSoftmaxHead,
            ["pixel_classes", "coordinate_l1"],
            r"head=channel_softmax provides classes of pixels, and coordinate_l1 needs heatmap logits or a mean "
            r"position; use loss=\[pixel_classes,visibility\]",
        ),
        (
            RegressionHead,
            ["variance"],
            r"head=regression provides .* and variance needs .* loss=\[coordinate_nll,visib",
        ),
        (SoftArgmaxHead, ["coordinate_nll"], r"coordinate_nll needs the scale of errors; use loss=\[heatmap_ce\+coord"),
        (SoftArgmaxHead, ["pixel_classes"], r"pixel_classes needs classes of pixels; use loss=\[heatmap_ce\+coord"),
    ],
)
def test_a_head_without_what_a_term_needs_is_refused(kind: type[nn.Module], terms: list[str], message: str) -> None:
    loss = KeypointLoss({name: EVERY[name][0]() for name in terms} | visible())
    with pytest.raises(ValueError, match=message):
        loss.check_head(kind(in_channels=2, num_keypoints=3, stride=4))


def visible() -> dict[str, nn.Module]:
    return {"visibility": VisibilityTerm(F.visibility_ce)}


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("decode", ["window", "expectation"])
def test_a_window_about_a_peak_that_no_term_trains_is_warned_of(
    name: str, decode: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = name.split()[0]
    with caplog.at_level(logging.WARNING):
        KeypointLoss({name: TERMS[name]()} | visible()).check_head(head(decode=decode))
    expected = decode != "expectation" and name in INDIRECT
    assert [f"loss=[{name},visibility] has no heatmap term" in text for text in caplog.messages] == [True] * expected


def test_axes_without_a_peak_and_scales_without_a_loss_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    loss = KeypointLoss({"coordinate_l1": TERMS["coordinate_l1"]()})
    with caplog.at_level(logging.WARNING):
        loss.check_head(SimCCHead(in_channels=2, num_keypoints=3, stride=4))
        loss.check_head(RegressionHead(in_channels=2, num_keypoints=3, stride=4))
    axes, scales = caplog.messages
    assert "the maps are not trained to have one peak" in axes and axes.endswith("or add a term such as axis_ce")
    assert scales.startswith("loss=[coordinate_l1] trains no scale of errors") and scales.endswith("add coordinate_nll")


@pytest.mark.parametrize(
    ("heatmap", "coordinate", "advice"),
    [
        ({"sigma": 3.0}, 3.0, None),
        ({"sigma": 3}, {"start": 3.0, "end": 3.0}, None),
        ({"sigma": 3.0}, None, None),
        ({"sigma": 2.0}, 3.0, "sigma='${loss.heatmap_ce.sigma}'"),
        ({"sigma": {"start": 8.0, "end": 3.0}}, 3.0, "sigma='${loss.heatmap_ce.sigma}'"),
        ({"sigma": 3.0, "target": "bilinear"}, 3.0, "loss.coordinate_l1.sigma=null"),
    ],
)
def test_terms_that_disagree_near_the_border_are_warned_of(
    heatmap: dict, coordinate: object, advice: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    terms = {
        "heatmap_ce": HeatmapTerm(F.heatmap_ce, 1.0, **heatmap),
        "coordinate_l1": CoordinateTerm(F.coordinate_l1, sigma=coordinate),
    }
    with caplog.at_level(logging.WARNING):
        KeypointLoss(terms).check_head(head())
    assert [text.endswith(str(advice)) for text in caplog.messages] == [True] * (advice is not None)
