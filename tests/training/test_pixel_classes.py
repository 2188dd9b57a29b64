"""The loss of pixel classes is its sum over cells; the class of an unlabeled keypoint is left out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers.targets import target_of
from softpoint.functional import disc_classes, image_to_grid
from softpoint.training import KeypointLoss, PixelClassTerm

STRIDE, SIZE = 4, (8, 10)


def drawn() -> tuple[Tensor, Tensor, Tensor]:
    mask = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 0, 1]], dtype=torch.bool)
    points = torch.rand(3, 3, 2, dtype=torch.float64) * torch.tensor([39.0, 31.0])
    classes = torch.randn(3, 4, *SIZE, dtype=torch.float64, requires_grad=True)
    return classes, points.where(mask[..., None], float("nan")), mask


def by_cells(
    classes: Tensor, points: Tensor, mask: Tensor, weights: list[float], smoothing: float, radius: float, ring: float
) -> float:
    """Each sample's weighted mean over its cells, weighted by its labeled points."""
    cells = image_to_grid(points.nan_to_num(), STRIDE)
    target, kept = disc_classes(cells, mask, SIZE, radius / STRIDE, ring / STRIDE)
    total = 0.0
    for b in range(len(mask)):
        present = [*mask[b].nonzero()[:, 0].tolist(), 3]
        loss = weight = 0.0
        for i, j in np.ndindex(*SIZE):
            z = classes[b, present, i, j].detach().numpy()
            log_p = z - np.log(np.exp(z).sum())
            for n, c in enumerate(present):
                t = (1 - smoothing) * target[b, c, i, j].item() + smoothing / len(present)
                loss -= t * weights[c] * log_p[n] * kept[b, i, j].item()
                weight += t * weights[c] * kept[b, i, j].item()
        total += mask[b].sum().item() * loss / weight
    return total / mask.sum().item()


@pytest.mark.parametrize(
    ("settings", "weights"),
    [
        ({"ring": 0.0, "background": 1.0}, [1, 1, 1, 1]),
        ({"radius": 6.0, "ring": 5.0, "background": 0.1, "smoothing": 0.2}, [1, 1, 1, 0.1]),
        ({"radius": 1.0, "ring": 0.0, "keypoint_weights": [2.0, 0.5, 0.0], "background": 0.3}, [2, 0.5, 0, 0.3]),
    ],
)
def test_the_loss_is_its_sum_over_cells(settings: dict, weights: list[float]) -> None:
    classes, points, mask = drawn()
    loss = KeypointLoss({"classes": PixelClassTerm(**settings)})
    result = loss({"logits": classes[:, :3], "classes": classes}, target_of(points, mask, STRIDE))["classes"]
    shape = {"radius": 6.0, "smoothing": 0.0} | {
        k: v for k, v in settings.items() if k in ("radius", "ring", "smoothing")
    }
    assert result.item() == pytest.approx(by_cells(classes, points, mask, weights, **shape), rel=1e-9)


def test_an_unlabeled_class_changes_nothing_and_has_no_gradient() -> None:
    classes, points, mask = drawn()
    loss = KeypointLoss({"classes": PixelClassTerm(ring=0.0, background=1.0, smoothing=0.1)})
    value = loss({"logits": classes[:, :3], "classes": classes}, target_of(points, mask, STRIDE))["loss"]
    value.backward()
    moved = (classes.grad.abs().amax((-2, -1)) > 0).tolist()
    assert moved == [[True, False, True, True], [False] * 4, [False, False, True, True]]
    other = torch.where(torch.cat((mask, mask[:, :1] | True), 1)[..., None, None], classes, float("nan"))
    assert loss({"logits": classes[:, :3], "classes": other}, target_of(points, mask, STRIDE))["loss"] == value


def test_cells_of_the_ring_have_no_gradient() -> None:
    classes = torch.randn(1, 2, *SIZE, requires_grad=True)
    point, mask = torch.tensor([[[17.5, 13.5]]]), torch.ones(1, 1, dtype=torch.bool)
    loss = KeypointLoss({"classes": PixelClassTerm(radius=5.0, ring=6.0, background=1.0)})
    loss({"logits": classes[:, :1], "classes": classes}, target_of(point, mask, STRIDE))["loss"].backward()
    i, j = np.indices(SIZE)
    distance = np.hypot((j + 0.5) * STRIDE - 0.5 - 17.5, (i + 0.5) * STRIDE - 0.5 - 13.5)
    expected = (distance >= 5 + STRIDE / 2) & (distance < 5 + STRIDE / 2 + 6)
    assert expected.sum() > 4 and np.array_equal(classes.grad[0].abs().amax(0).numpy() == 0, expected)


def test_the_target_probabilities_have_the_least_loss() -> None:
    points, mask = torch.tensor([[[9.5, 9.5], [30.0, 20.0]]]), torch.ones(1, 2, dtype=torch.bool)
    target, _ = disc_classes(image_to_grid(points, STRIDE), mask, SIZE, 1.5)
    loss = KeypointLoss({"classes": PixelClassTerm(ring=0.0, background=1.0)})
    maps = (target, target.flip(1), torch.full_like(target, 1 / 3))
    costs = [
        loss({"logits": p[:, :2], "classes": p.clamp_min(1e-30).log()}, target_of(points, mask, STRIDE))["loss"].item()
        for p in maps
    ]
    entropy = -torch.xlogy(target, target).sum(1).mean().item()
    assert costs[0] == pytest.approx(entropy, rel=1e-5) and costs[2] == pytest.approx(np.log(3), rel=1e-5)
    assert costs[0] < costs[2] < costs[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"radius": 0.0}, "radius must be positive and ring at least 0, got 0.0 and 4.0"),
        ({"radius": 3.0, "ring": -1.0}, "radius must be positive and ring at least 0, got 3.0 and -1.0"),
        ({"radius": 3.0, "background": -0.1}, "the weight of a class must be at least 0, got background=-0.1"),
        (
            {"radius": 3.0, "keypoint_weights": [1.0, -2.0]},
            r"the weight of a class must be at least 0, .*keypoint_weights=\[1",
        ),
        ({"radius": 3.0, "smoothing": 1.0}, r"smoothing must be in \[0, 1\), got 1.0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PixelClassTerm(**settings)


def test_weights_of_another_number_of_keypoints_are_refused() -> None:
    classes, points, mask = drawn()
    loss = KeypointLoss({"classes": PixelClassTerm(radius=3.0, keypoint_weights=[1.0, 2.0])})
    with pytest.raises(ValueError, match="keypoint_weights has 2 numbers for 3 keypoints; give one for each"):
        loss({"logits": classes[:, :3], "classes": classes}, target_of(points, mask, STRIDE))
