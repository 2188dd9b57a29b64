"""Batch metrics against hand numbers and a numpy oracle."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from softpoint.metrics import epe, nme, pck
from softpoint.metrics.batch import point_errors

NAN = float("nan")


def batch(seed: int = 0, B: int = 16, K: int = 5) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random points, a third of them unlabeled (NaN), one sample without labels or scale."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(B, K, 2, generator=generator) * 400
    prediction = target + torch.randn(B, K, 2, generator=generator) * 8
    mask = torch.rand(B, K, generator=generator) > 1 / 3
    scale = 50 + 100 * torch.rand(B, generator=generator)
    mask[3], scale[3] = False, NAN
    return prediction, target.where(mask[..., None], NAN), mask, scale


def test_hand_numbers() -> None:
    prediction = torch.tensor([[[0.0, 0.0], [10.0, 10.0]], [[5.0, 5.0], [1.0, 1.0]]])
    target = torch.tensor([[[3.0, 4.0], [10.0, 20.0]], [[NAN, NAN], [1.0, 1.0]]])
    mask = torch.tensor([[True, True], [False, True]])
    scale = torch.tensor([50.0, 10.0])
    assert point_errors(prediction, target, mask).tolist() == [[5.0, 10.0], [0.0, 0.0]]
    assert epe(prediction, target, mask).item() == 5.0
    assert pck(prediction, target, mask, scale, alpha=0.1).item() == pytest.approx(2 / 3)
    assert nme(prediction, target, mask, scale).item() == pytest.approx((0.1 + 0.2 + 0.0) / 3)


def test_numpy_oracle() -> None:
    prediction, target, mask, scale = batch()
    rows, columns = np.nonzero(mask.numpy())
    error = np.hypot(*(prediction - target).numpy()[rows, columns].astype(np.float64).T)
    relative = error / scale.numpy()[rows]
    assert epe(prediction, target, mask).item() == pytest.approx(error.mean(), rel=1e-6)
    assert pck(prediction, target, mask, scale, alpha=0.1).item() == pytest.approx((relative <= 0.1).mean())
    assert nme(prediction, target, mask, scale).item() == pytest.approx(relative.mean(), rel=1e-6)


def test_masked_points_never_enter_even_through_the_gradient() -> None:
    prediction, target, mask, _ = batch()
    prediction[~mask] = torch.tensor([NAN, math.inf])
    prediction.requires_grad_()
    epe(prediction, target, mask).backward()
    assert prediction.grad is not None
    assert prediction.grad.isfinite().all()
    assert (prediction.grad[~mask] == 0).all()


def test_no_labeled_point_is_nan_and_needs_no_scale() -> None:
    prediction, target, mask, scale = batch()
    nothing = torch.zeros_like(mask)
    assert epe(prediction, target, nothing).isnan()
    assert pck(prediction, target, nothing, scale * 0, alpha=0.1).isnan()
    assert nme(prediction, target, nothing, scale * 0).isnan()


@pytest.mark.parametrize("bad", [0.0, -2.5, NAN, math.inf])
def test_unusable_scale_is_quoted(bad: float) -> None:
    prediction, target, mask, scale = batch()
    scale[0] = bad
    with pytest.raises(ValueError, match=rf"got {bad} on a sample with labeled points"):
        pck(prediction, target, mask, scale, alpha=0.1)
    with pytest.raises(ValueError, match=rf"got {bad} on"):
        nme(prediction, target, mask, scale)


def test_the_limit_counts_as_correct() -> None:
    target, mask = torch.tensor([[[5.0, 0.0]]]), torch.tensor([[True]])
    prediction = torch.zeros(1, 1, 2)
    assert pck(prediction, target, mask, torch.tensor([50.0]), alpha=0.1).item() == 1.0
    assert pck(prediction, target, mask, torch.tensor([49.9]), alpha=0.1).item() == 0.0
