"""The means of an epoch: the same however the data is split, moved or copied."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch

from softpoint.metrics import COLUMNS, PointArrays
from softpoint.metrics.point_means import PointMeans

K = 4
LOGGED = [name for name, column in COLUMNS.items() if column.logged]


def batch(B: int = 24) -> PointArrays:
    """Random points; the last keypoint and the first sample are never labeled."""
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 400, (B, K, 2))
    keypoints = truth + rng.normal(0, 8, truth.shape)
    mask = rng.random((B, K)) > 1 / 3
    mask[:, -1] = mask[0] = False
    truth[~mask] = math.nan
    covariance = np.broadcast_to(np.eye(2), (B, K, 2, 2))
    return PointArrays(keypoints, truth, np.ones((B, K)), covariance, rng.uniform(50, 150, B), np.full((B, 2), 400))


def part(points: PointArrays, rows: slice) -> PointArrays:
    return PointArrays(*(None if values is None else values[rows] for values in points))


def values(metric: Any) -> dict[str, float]:
    return {name: value.item() for name, value in metric.compute().items()}


@pytest.mark.parametrize("sizes", [(24,), (1, 5, 0, 18), (1,) * 24])
def test_split_batches_equal_the_whole(sizes: tuple[int, ...]) -> None:
    metric, start = PointMeans(K), 0
    for size in sizes:
        metric.update(part(batch(), slice(start, start + size)))
        start += size
    expected = {name: COLUMNS[name].summarize(COLUMNS[name].values(batch())) for name in LOGGED}
    assert values(metric) == pytest.approx(expected, rel=1e-12)
    assert {"epe", "nme", "auc", "pck@0.1"} <= {*expected} and not {"median", "nme_box", "oks_ap", "ece"} & {*expected}


def test_nothing_measured_is_nan_without_a_warning() -> None:
    metric = PointMeans(K)
    assert all(map(math.isnan, values(metric).values()))
    metric.update(part(batch(), slice(0, 1)))
    assert all(map(math.isnan, values(metric).values()))


def test_reset_pickle_and_half_precision_keep_the_sums() -> None:
    metric = PointMeans(K)
    metric.update(batch())
    copy = pickle.loads(pickle.dumps(metric))
    torch.nn.ModuleList([copy]).to(torch.bfloat16)
    assert copy.total.dtype == torch.float64 and values(copy) == values(metric)
    copy.update(batch())
    assert copy.count.equal(2 * metric.count)
    copy.reset()
    assert all(map(math.isnan, values(copy).values()))


def test_a_prediction_that_is_nan_shows() -> None:
    metric = PointMeans(K)
    metric.update(batch())
    metric.update(batch()._replace(keypoints=np.full((24, K, 2), math.nan)))
    assert math.isnan(values(metric)["epe"]) and values(metric)["pck@0.2"] <= 0.5


def test_a_scale_that_nothing_can_be_divided_by_shows() -> None:
    metric = PointMeans(K)
    metric.update(batch()._replace(scale=np.zeros(24)))
    assert math.isnan(values(metric)["nme"]) and math.isnan(values(metric)["pck@0.1"])
    assert math.isfinite(values(metric)["epe"])


def test_a_single_subject_without_a_scale_is_left_out_as_in_the_table() -> None:
    points, metric = batch(), PointMeans(K)
    points.scale[5] = 0
    metric.update(points)
    expected = {name: COLUMNS[name].summarize(COLUMNS[name].values(points)) for name in LOGGED}
    assert values(metric) == pytest.approx(expected, rel=1e-12)


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="batch has 4 keypoints but PointMeans was built for 3"):
        PointMeans(3).update(batch())
    with pytest.raises(ValueError, match="num_keypoints must be at least 1, got 0"):
        PointMeans(0)
