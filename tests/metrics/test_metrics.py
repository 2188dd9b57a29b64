"""The stateful metrics: one answer however the data is split, moved, copied or left out."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from softpoint.metrics import EPE, NME, PCK, epe, nme, pck
from softpoint.metrics.batch import point_errors

K = 4
METRICS: dict[str, Callable[[], Any]] = {
    "epe": lambda: EPE(K),
    "pck": lambda: PCK(K, alpha=0.1),
    "nme": lambda: NME(K),
}
ALL = pytest.mark.parametrize("name", METRICS)
SCALED = pytest.mark.parametrize("name", ["pck", "nme"])


def batch(B: int = 24) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random points; the last keypoint and the first sample are never labeled."""
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(B, K, 2, generator=generator) * 400
    prediction = target + torch.randn(B, K, 2, generator=generator) * 8
    mask = torch.rand(B, K, generator=generator) > 1 / 3
    mask[:, -1] = mask[0] = False
    scale = 50 + 100 * torch.rand(B, generator=generator)
    scale[0] = float("nan")
    return prediction, target.where(mask[..., None], math.nan), mask, scale


def inputs(name: str) -> tuple[Tensor, ...]:
    return batch()[:3] if name == "epe" else batch()


def twin(name: str) -> Tensor:
    prediction, target, mask, scale = (x.double() if x.is_floating_point() else x for x in batch())
    if name == "epe":
        return epe(prediction, target, mask)
    if name == "pck":
        return pck(prediction, target, mask, scale, alpha=0.1)
    return nme(prediction, target, mask, scale)


@ALL
@pytest.mark.parametrize("sizes", [(24,), (1, 5, 0, 18), (1,) * 24])
def test_split_batches_equal_the_whole(name: str, sizes: tuple[int, ...]) -> None:
    metric = METRICS[name]()
    for part in zip(*(x.split(list(sizes)) for x in inputs(name)), strict=True):
        metric.update(*part)
    assert metric.compute().dtype == torch.float64
    assert metric.compute().item() == pytest.approx(twin(name).item(), rel=1e-6)


def test_forward_measures_the_batch_and_keeps_the_epoch() -> None:
    metric = EPE(K)
    prediction, target, mask, _ = batch()
    assert metric(prediction[:6], target[:6], mask[:6]).item() == pytest.approx(
        epe(prediction[:6], target[:6], mask[:6]).item()
    )
    metric(prediction[6:].requires_grad_(), target[6:], mask[6:])
    assert metric.compute().item() == pytest.approx(twin("epe").item(), rel=1e-6)
    assert not metric.total.requires_grad


def test_per_keypoint_and_count() -> None:
    metric = EPE(K)
    prediction, target, mask, _ = batch()
    metric.update(prediction, target, mask)
    errors = point_errors(prediction, target, mask).double().sum(0) / mask.sum(0)
    np.testing.assert_allclose(metric.per_keypoint(), errors)
    assert metric.per_keypoint().isnan().tolist() == [False, False, False, True]
    assert metric.count().tolist() == mask.sum(0).tolist()
    weighted = (metric.per_keypoint() * metric.count())[:-1].sum() / metric.count().sum()
    assert metric.compute().item() == pytest.approx(weighted.item())


@ALL
def test_nothing_measured_is_nan_without_a_warning(name: str) -> None:
    metric = METRICS[name]()
    assert metric.compute().isnan()
    assert metric.per_keypoint().isnan().all()
    metric.update(*(x[:1] for x in inputs(name)))
    assert metric.compute().isnan()
    assert metric.count().tolist() == [0] * K


@ALL
def test_reset_pickle_and_half_precision_keep_the_sums(name: str) -> None:
    metric = METRICS[name]()
    metric.update(*inputs(name))
    copy = pickle.loads(pickle.dumps(metric))
    torch.nn.ModuleList([copy]).to(torch.bfloat16)
    assert copy.total.dtype == torch.float64
    assert copy.compute().equal(metric.compute())
    copy.update(*inputs(name))
    assert copy.count().equal(2 * metric.count())
    copy.reset()
    assert copy.compute().isnan()


def test_long_epochs_do_not_drift() -> None:
    metric, third = EPE(1), torch.full((1000, 1, 2), 1 / 3)
    for _ in range(200):
        metric.update(third, torch.zeros_like(third), torch.ones(1000, 1, dtype=torch.bool))
    assert metric.compute().item() == pytest.approx(math.hypot(*third[0, 0].tolist()), rel=1e-7)


@SCALED
@pytest.mark.parametrize("bad", [0.0, -2.5, math.nan, math.inf])
def test_unusable_scale_is_quoted_when_computed(name: str, bad: float) -> None:
    metric = METRICS[name]()
    prediction, target, mask, scale = batch()
    scale[5] = bad
    metric.update(prediction, target, mask, scale)
    metric.update(*batch())
    with pytest.raises(ValueError, match=rf"scale must be .*got {bad} on a sample with labeled points"):
        metric.compute()
    with pytest.raises(ValueError, match=rf"got {bad}"):
        metric.per_keypoint()


def test_a_prediction_that_is_nan_shows() -> None:
    prediction, target, mask, scale = batch()
    prediction[:] = math.nan
    distance, correct = EPE(K), PCK(K)
    distance.update(prediction, target, mask)
    correct.update(prediction, target, mask, scale)
    assert distance.compute().isnan()
    assert correct.compute() == 0


def test_arguments_are_checked() -> None:
    prediction, target, mask, _ = batch()
    with pytest.raises(ValueError, match="batch has 1 keypoints but EPE was built for 4"):
        EPE(K).update(prediction[:, :1], target[:, :1], mask[:, :1])
    with pytest.raises(ValueError, match="num_keypoints must be at least 1, got 0"):
        EPE(0)
    with pytest.raises(ValueError, match=r"alpha must be positive, got -0\.1"):
        PCK(K, alpha=-0.1)
