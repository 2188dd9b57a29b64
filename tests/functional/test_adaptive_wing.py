"""The adaptive wing loss is the paper's, cell by cell, on maps whose target has a peak of 1."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from softpoint.functional import heatmap_awing, render_gaussians


def paper(y: float, result: float, omega: float = 14, theta: float = 0.5, epsilon: float = 1, alpha: float = 2.1):
    """Equations 3 and 4 of arXiv:1904.07399, as printed."""
    power = alpha - y
    a = omega * (1 / (1 + (theta / epsilon) ** power)) * power * (theta / epsilon) ** (power - 1) / epsilon
    c = theta * a - omega * math.log(1 + (theta / epsilon) ** power)
    d = abs(y - result)
    return omega * math.log(1 + (d / epsilon) ** power) if d < theta else a * d - c


def by_cells(logits: np.ndarray, target: np.ndarray, foreground: float = 10, **settings: float) -> float:
    share = np.exp(logits - logits.max())
    share, target = share / share.sum() / target.max(), target / target.max()
    height, width = target.shape
    total = 0.0
    for i, j in np.ndindex(height, width):
        about = target[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
        total += (1 + foreground * (about.max() >= 0.2)) * paper(target[i, j], share[i, j], **settings)
    return total / (height * width)


@pytest.mark.parametrize("settings", [{}, {"omega": 8.0, "theta": 0.3, "epsilon": 0.7, "alpha": 2.4}])
def test_it_is_the_papers_cell_by_cell(settings: dict[str, float]):
    names = {"omega": "width", "theta": "threshold", "epsilon": "curvature", "alpha": "power"}
    logits = torch.randn(2, 3, 6, 7, dtype=torch.float64) * 3
    target = render_gaussians(torch.rand(2, 3, 2, dtype=torch.float64) * 5, 1.1, (6, 7))
    result = heatmap_awing(logits, target, total=False, **{names[key]: value for key, value in settings.items()})
    for b, k in np.ndindex(2, 3):
        expected = by_cells(logits[b, k].numpy(), target[b, k].numpy(), **settings)
        assert result[b, k].item() == pytest.approx(expected, rel=1e-10)
    totals = heatmap_awing(logits, target, **{names[key]: value for key, value in settings.items()})
    torch.testing.assert_close(totals, 42 * result)


def test_it_is_zero_for_the_target_alone_and_blind_to_a_shift_of_the_logits():
    target = render_gaussians(torch.tensor([[3.3, 2.6]], dtype=torch.float64), 1.0, (7, 8))
    torch.testing.assert_close(heatmap_awing(target.log(), target), torch.zeros(1, dtype=torch.float64))
    logits = torch.randn(1, 7, 8, dtype=torch.float64)
    torch.testing.assert_close(heatmap_awing(logits + 17.0, target), heatmap_awing(logits, target))
    assert heatmap_awing(logits, target) > 0
    moved = heatmap_awing(logits.movedim(0, -1), target.movedim(0, -1), dim=(0, 1))
    torch.testing.assert_close(moved, heatmap_awing(logits, target))


def test_a_flat_map_is_pulled_to_the_target():
    logits, target = torch.zeros(16, 16, requires_grad=True), render_gaussians(torch.tensor([5.0, 9.0]), 1.0, (16, 16))
    heatmap_awing(logits, target).backward()
    share = target / target.max()
    assert (logits.grad[share > 0.3] < 0).all() and (logits.grad[share < 0.01] > 0).all()
