"""Heatmap sets are measured by whether they hold the label's cell, with the rows of the ellipses and their sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch

from helpers.results import NAMES, example_results
from softpoint.evaluation import Results, evaluate
from softpoint.evaluation.console import metrics_tables
from softpoint.evaluation.heatmap_sets import set_measures
from softpoint.evaluation.tables import regions_table
from softpoint.functional import grid_to_image, heatmap_set, spatial_softmax
from softpoint.inference.regions import SETS, Regions
from softpoint.types import Prediction

STRIDE, K = 4, len(NAMES)
BOUNDS = np.array([[0.5, 0.4, 0.3, 0.6, 0.2], [0.1, 0.05, 0.2, 0.0, 0.0]])


def measured(count: int = 40) -> Results:
    rng, results = np.random.default_rng(1), example_results(count)
    tails = np.where(rng.random((count, K)) < 0.1, -np.inf, rng.random((count, K)))
    sizes = np.stack((rng.uniform(1, 90, (count, K, 2)), rng.integers(1, 4, (count, K, 2))), -1)
    return replace(results, set_tails=tails, set_sizes=sizes)


def test_coverage_is_the_mean_over_groups_of_the_share_held_and_sizes_are_of_labeled_points() -> None:
    results = measured()
    metrics = evaluate(results, sets=Regions(BOUNDS, NAMES, SETS))
    assert results.set_tails is not None and results.set_sizes is not None
    groups, labeled = np.array(results.groups), results.labeled
    low, high = metrics[SETS]
    held = results.set_tails >= BOUNDS[0, :-1]
    shares = [held[groups == g][labeled[groups == g]].mean() for g in sorted(set(groups))]
    assert low["overall"]["coverage"] == pytest.approx(np.mean(shares))
    joint = results.set_tails >= BOUNDS[0, -1]
    whole = (joint | ~labeled).all(1)
    shares = [whole[(groups == g) & labeled.any(1)].mean() for g in sorted(set(groups))]
    assert low["joint"]["coverage"] == pytest.approx(np.mean(shares)) and low["joint"]["mass"] == pytest.approx(0.8)
    assert low["keypoints"]["nose"]["mass"] == 0.5 and low["needed_units"] == 1 and len(low["quarters"]) == 4
    assert "tail" not in high["keypoints"] and "joint" not in high
    known = labeled & (BOUNDS[1, :-1] > 0)
    area, parts = (results.set_sizes[:, :, 1, i][known] for i in range(2))
    assert high["area"] == pytest.approx(area.mean()) and high["parts"] == pytest.approx(parts.mean())
    assert high["several"] == pytest.approx((parts > 1).mean())
    metrics_tables(metrics)
    table = regions_table(metrics, SETS)
    assert table is not None and [name for name, _ in table.rows[-3:]] == [
        "mean area (px^2)", "mean number of parts", "share of several parts",
    ]  # fmt: skip
    assert table.rows[-3][1][2][0].value == pytest.approx(area.mean()) and "heatmap sets" in table.title


def test_ellipses_have_their_mean_area_and_a_model_without_sets_no_table() -> None:
    results = replace(example_results(20), covariance=np.tile(np.diag([4.0, 9.0]), (20, K, 1, 1)))
    metrics = evaluate(results, regions=Regions(np.array([[2.0] * 5, [0.0] * 5]), NAMES))
    assert metrics["regions"][0]["area"] == pytest.approx(np.pi * 4 * 6) and "area" not in metrics["regions"][1]
    assert SETS not in metrics and regions_table(metrics, SETS) is None


def test_rows_and_keypoints_are_selected_with_the_others() -> None:
    results = measured(12)
    part = Results.concat([results.select([3, 1]), example_results(2)]).with_keypoints(["tail", "nose"])
    assert results.set_tails is not None and part.set_tails is not None and part.set_sizes is not None
    np.testing.assert_array_equal(part.set_tails[:2], results.set_tails[[3, 1]][:, [3, 0]])
    assert np.isnan(part.set_tails[2:]).all() and part.set_sizes.shape == (4, 2, 2, 2)


def test_a_label_is_held_where_the_cell_below_it_is_and_areas_are_original() -> None:
    logits, cells = torch.randn(6, K, 8, 10) * 2, torch.rand(6, K, 2) * torch.tensor([13.0, 11.0]) - 2
    matrix = torch.diag(torch.tensor([3.0, 3.0, 1.0])).expand(6, 3, 3)
    sets, labels = Regions(BOUNDS, NAMES, SETS), grid_to_image(cells, STRIDE)
    prediction = {"logits": logits, "keypoints": labels, "confidence": labels[..., 0]}
    prediction["covariance"] = torch.eye(2).expand(6, K, 2, 2)
    found = set_measures(sets, cast(Prediction, prediction), labels, matrix, STRIDE)
    heatmap, outside = spatial_softmax(logits), 0
    for i, k in np.ndindex(6, K):
        x, y = (int(v) for v in cells[i, k].round())
        for level, bound in enumerate(BOUNDS[:, k]):
            chosen = heatmap_set(heatmap[i, k], float(bound)) if bound else torch.zeros(8, 10, dtype=torch.bool)
            assert found["set_sizes"][i, k, level, 0] == pytest.approx(chosen.sum().item() * (3 * STRIDE) ** 2)
            if bound:
                inside = 0 <= x < 10 and 0 <= y < 8
                assert (found["set_tails"][i, k] >= bound) == (inside and bool(chosen[y, x]))
                outside += not inside
    assert outside
