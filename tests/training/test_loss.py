"""The loss is one masked mean of weighted terms, and what may not teach has no gradient."""

from __future__ import annotations

import logging
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from softpoint import functional as F
from softpoint.models import SoftArgmaxHead
from softpoint.training import CoordinateTerm, HeatmapTerm, KeypointLoss, VarianceTerm, VisibilityTerm
from softpoint.training.loss import States, trainable, visibility_target

TERMS = {
    "heatmap_ce": lambda: HeatmapTerm(F.heatmap_ce, sigma=5.0),
    "heatmap_kl": lambda: HeatmapTerm(F.heatmap_kl, sigma=5.0),
    "heatmap_js": lambda: HeatmapTerm(F.heatmap_js, sigma=5.0),
    "heatmap_mse": lambda: HeatmapTerm(F.heatmap_mse, sigma=5.0, weight=1000.0),
    "coordinate_l1": lambda: CoordinateTerm(F.coordinate_l1, weight=0.1),
    "coordinate_l2": lambda: CoordinateTerm(F.coordinate_l2),
    "coordinate_huber": lambda: CoordinateTerm(partial(F.coordinate_huber, delta=2.0)),
    "coordinate_wing": lambda: CoordinateTerm(F.coordinate_wing),
    "variance": lambda: VarianceTerm(F.variance, sigma=5.0, weight=1e-4),
}


def drawn() -> tuple[Tensor, Tensor, Tensor]:
    logits = torch.randn(3, 4, 16, 16, requires_grad=True)
    mask = torch.tensor([[1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 0, 1]], dtype=torch.bool)
    return logits, (torch.rand(3, 4, 2) * 63).where(mask[..., None], float("nan")), mask


@pytest.mark.parametrize("name", TERMS)
def test_masked_points_have_no_gradient_and_the_others_do(name: str) -> None:
    logits, points, mask = drawn()
    KeypointLoss({name: TERMS[name]()})(logits, points, mask, 4)["loss"].backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()
    assert (logits.grad.flatten(2).abs().amax(-1) > 0).equal(mask)


@pytest.mark.parametrize("name", TERMS)
def test_nothing_labelled_is_a_loss_of_zero(name: str) -> None:
    logits, points, mask = drawn()
    loss = KeypointLoss({name: TERMS[name]()})(logits, points * float("nan"), torch.zeros_like(mask), 4)["loss"]
    loss.backward()
    assert loss.item() == 0 and logits.grad is not None and not logits.grad.any()


def test_terms_add_up_with_their_weights() -> None:
    logits, points, mask = drawn()
    terms = {name: make() for name, make in TERMS.items()}
    values = KeypointLoss(terms)(logits, points, mask, 4)
    torch.testing.assert_close(values["loss"], sum(term.weight * values[name] for name, term in terms.items()))
    alone = {name: KeypointLoss({name: term})(logits, points, mask, 4)[name] for name, term in terms.items()}
    assert all(torch.equal(alone[name], values[name]) for name in terms)


def test_shares_with_the_mean_count_average_to_the_whole() -> None:
    logits, points, mask = drawn()
    loss = KeypointLoss({name: make() for name, make in TERMS.items()})
    whole = loss(logits, points, mask, 4)["loss"]
    count = torch.stack([mask[:1].sum(), mask[1:2].sum(), mask[2:].sum()]).float().mean()
    parts = [loss(logits[i : i + 1], points[i : i + 1], mask[i : i + 1], 4, count)["loss"] for i in range(3)]
    torch.testing.assert_close(torch.stack(parts).mean(), whole)


@pytest.mark.parametrize("stride", [1, 4, 8])
def test_the_target_is_its_own_best_answer(stride: int) -> None:
    points = torch.tensor([[[31.0, 27.0], [24.5, 40.25]]])
    cells, size = F.image_to_grid(points, stride), (64 // stride, 64 // stride)
    logits = F.render_gaussians(cells, 5.0 / stride, size).log().clamp_min(-80)
    mask = torch.ones(1, 2, dtype=torch.bool)
    values = KeypointLoss({name: make() for name, make in TERMS.items()})(logits, points, mask, stride)
    for name in ("heatmap_kl", "heatmap_js", "heatmap_mse"):
        assert values[name].item() == pytest.approx(0, abs=1e-5)
    for name in ("coordinate_l1", "coordinate_l2"):
        assert values[name].item() == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize(
    ("point", "visibility", "taught"),
    [
        ([0, 0], 2, True),
        ([-0.5, 19.5], 1, True),
        ([29.5, -0.5], 2, True),
        ([29.6, 0], 2, False),
        ([0, 19.6], 2, False),
        ([-0.6, 5], 1, False),
        ([5, 5], 0, False),
        ([float("nan"), 5], 2, False),
    ],
)
def test_only_labelled_points_within_the_frame_teach(point: list[float], visibility: int, taught: bool) -> None:
    found = trainable(torch.tensor([[point]], dtype=torch.float), torch.tensor([[visibility]]), (20, 30))
    assert found.item() is taught


@pytest.mark.parametrize("sigma", [0, -1, float("nan")])
@pytest.mark.parametrize("term", [HeatmapTerm, VarianceTerm])
def test_sigma_must_be_positive(sigma: float, term: type[nn.Module]) -> None:
    with pytest.raises(ValueError, match=f"sigma must be positive, got {sigma}"):
        term(F.heatmap_ce, sigma=sigma)


def test_a_loss_needs_a_term() -> None:
    with pytest.raises(ValueError, match="the loss has no terms; choose at least one"):
        KeypointLoss({})


@pytest.mark.parametrize(
    ("point", "visibility", "state"),
    [
        ([5, 5], 2, 2),
        ([5, 5], 1, 1),
        ([29.5, -0.5], 1, 1),
        ([29.6, 0], 2, 0),
        ([0, 19.6], 1, 0),
        ([-0.6, 5], 2, 0),
        ([5, 5], 0, -1),
        ([-9, 5], 0, -1),
        ([0, 0], -1, 0),
        ([float("nan"), 5], -1, 0),
        ([float("nan"), 5], 0, -1),
    ],
)
def test_a_state_is_known_where_labelled_out_of_the_frame_or_told_absent(
    point: list[float], visibility: int, state: int
) -> None:
    found = visibility_target(torch.tensor([[point]], dtype=torch.float), torch.tensor([[visibility]]), (20, 30))
    assert found.dtype == torch.int64 and found.item() == state


def test_what_is_taught_a_place_is_what_is_known_to_be_there() -> None:
    points, visibility = torch.rand(50, 4, 2) * 60 - 20, torch.randint(-1, 3, (50, 4))
    target = visibility_target(points, visibility, (20, 30))
    assert trainable(points, visibility, (20, 30)).equal(target > 0)
    assert (target < 0).equal(visibility == 0)


def drawn_states() -> States:
    return States(torch.randn(3, 4, 3, requires_grad=True), torch.tensor([[2, -1, 1, 0], [-1] * 4, [2, 2, -1, 2]]))


def beside(weight: float = 1.0) -> KeypointLoss:
    return KeypointLoss(
        {"heatmap_ce": TERMS["heatmap_ce"](), "visibility": VisibilityTerm(F.visibility_ce, weight=weight)}
    )


def test_visibility_is_the_mean_over_known_states_whatever_is_taught_a_place() -> None:
    (logits, points, mask), states = drawn(), drawn_states()
    values = beside(0.5)(logits, points, mask, 4, states=states)
    values["loss"].backward()
    known = states.target >= 0
    expected = nn.functional.cross_entropy(states.logits[known], states.target[known])
    torch.testing.assert_close(values["visibility"], expected)
    torch.testing.assert_close(values["loss"], values["heatmap_ce"] + 0.5 * expected)
    assert (states.logits.grad.abs().amax(-1) > 0).equal(known)


def test_nothing_known_is_zero_with_a_zero_gradient() -> None:
    logits, points, mask = drawn()
    states = States(torch.randn(3, 4, 3, requires_grad=True), torch.full((3, 4), -1))
    values = beside()(logits, points, torch.zeros_like(mask), 4, states=states)
    values["loss"].backward()
    assert values["visibility"].item() == values["loss"].item() == 0
    assert torch.equal(states.logits.grad, torch.zeros(3, 4, 3))  # a gradient, which other processes wait for


def test_shares_of_states_with_the_mean_count_average_to_the_whole() -> None:
    (logits, points, mask), states = drawn(), drawn_states()
    loss = beside()
    whole = loss(logits, points, mask, 4, states=states)["visibility"]
    count = torch.tensor([3, 0, 3]).float().mean()
    parts = [
        loss(
            *(x[i : i + 1] for x in (logits, points, mask)),
            4,
            states=States(states.logits[i : i + 1], states.target[i : i + 1], count),
        )["visibility"]
        for i in range(3)
    ]
    torch.testing.assert_close(torch.stack(parts).mean(), whole)


def test_without_states_a_visibility_term_is_left_out() -> None:
    logits, points, mask = drawn()
    alone = KeypointLoss({"heatmap_ce": TERMS["heatmap_ce"]()})(logits, points, mask, 4)
    torch.testing.assert_close(beside()(logits, points, mask, 4), alone, rtol=0, atol=0)


def head(**settings) -> SoftArgmaxHead:
    return SoftArgmaxHead(in_channels=2, num_keypoints=3, stride=4, **settings)


def test_a_head_that_a_loss_does_not_train_is_refused() -> None:
    with pytest.raises(ValueError, match=r"head\.visibility=true, but no term .* add visibility to loss"):
        KeypointLoss({"heatmap_ce": TERMS["heatmap_ce"]()}).check_head(head(visibility=True))
    with pytest.raises(ValueError, match=r"a visibility term alone, .* set head\.visibility=true"):
        KeypointLoss({"visibility": VisibilityTerm(F.visibility_ce)}).check_head(head())
    for visibility in (True, False):
        beside().check_head(head(visibility=visibility))


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("whole_map", [False, True])
def test_a_window_about_a_peak_that_nothing_asks_for_is_warned_of(
    name: str, whole_map: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        KeypointLoss({name: TERMS[name]()}).check_head(head(whole_map=whole_map))
    expected = not (whole_map or name.startswith("heatmap"))
    assert [f"loss=[{name}] has no heatmap term" in text for text in caplog.messages] == [True] * expected
