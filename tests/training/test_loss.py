"""The loss is one masked mean of weighted terms, and what may not teach has no gradient."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from softpoint import functional as F
from softpoint.training import CoordinateTerm, HeatmapTerm, KeypointLoss, VarianceTerm
from softpoint.training.loss import trainable

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
