"""Coverage of regions on results: by unit, by keypoint, of all at once, and never on what they were fitted on."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from helpers.results import NAMES, example_results
from softpoint.evaluation import evaluate
from softpoint.evaluation.console import metrics_tables
from softpoint.evaluation.intervals import Resamples
from softpoint.evaluation.regions import cross_validated_regions, held_out_regions
from softpoint.evaluation.tables import regions_table
from softpoint.inference.regions import Regions
from softpoint.layers import Calibration
from softpoint.metrics.conformal import mahalanobis, region_radii


def radii(of_90: float) -> np.ndarray:
    return np.array([[1.0] * 5, [2.0, of_90, 2.0, 2.0, 4.0]])


def test_coverage_is_the_mean_over_groups_of_the_share_inside() -> None:
    results = example_results(40)
    (low, high) = evaluate(results, regions=Regions(radii(2.0), NAMES))["regions"]
    distance = mahalanobis(results.keypoints - results.truth, results.covariance)
    groups = np.array(results.groups)
    for entry, radius, joint in ((low, 1.0, 1.0), (high, 2.0, 4.0)):
        own = [distance[groups == group] for group in sorted(set(groups))]
        shares = [(d[np.isfinite(d)] <= radius).mean() for d in own]
        assert entry["overall"]["coverage"] == pytest.approx(np.mean(shares))
        first = [(d[:, 0][np.isfinite(d[:, 0])] <= radius).mean() for d in own]
        assert entry["keypoints"]["nose"]["coverage"] == pytest.approx(np.mean(first))
        whole = [(np.nanmax(d[np.isfinite(d).any(1)], 1) <= joint).mean() for d in own]
        assert entry["joint"]["coverage"] == pytest.approx(np.mean(whole))
        assert entry["overall"]["low"] <= entry["overall"]["coverage"] <= entry["overall"]["high"]


def test_coverage_of_each_group_and_of_each_quarter_by_confidence() -> None:
    results = example_results(40)
    metrics = evaluate(results, regions=Regions(radii(2.0), NAMES))
    distance = mahalanobis(results.keypoints - results.truth, results.covariance)
    inside, labeled, groups = distance <= 2.0, results.labeled, np.array(results.groups)
    entry = metrics["regions"][1]
    own = {group: inside[groups == group][labeled[groups == group]].mean() for group in set(results.groups)}
    assert entry["groups"] == pytest.approx(own)
    bounds = np.quantile(results.confidence[labeled], [0, 0.25, 0.5, 0.75, 1])
    for low, high, quarter in zip(bounds[:-1], bounds[1:], entry["quarters"], strict=True):
        part = labeled & (results.confidence >= low) & ((results.confidence < high) | (high == bounds[-1]))
        shares = [inside[groups == group][part[groups == group]] for group in own]
        assert quarter["coverage"] == pytest.approx(np.mean([share.mean() for share in shares if len(share)]), abs=0.02)
    table = regions_table(metrics)
    assert table is not None
    names = [name for name, _ in table.rows]
    assert names[4:9] == [
        "confidence: quarter 1, lowest", "confidence: quarter 2", "confidence: quarter 3",
        "confidence: quarter 4, highest", "group with the fewest held",
    ]  # fmt: skip
    assert dict(table.rows)["group with the fewest held"][2][0].value == min(own.values())


def test_a_keypoint_without_a_radius_is_left_out_everywhere() -> None:
    metrics = evaluate(example_results(40), regions=Regions(radii(0.0), NAMES))
    assert "left_ear" in metrics["regions"][0]["keypoints"] and "left_ear" not in metrics["regions"][1]["keypoints"]
    table = regions_table(metrics)
    assert table is not None and dict(table.rows)["left_ear"][2:] == [(), ()]
    metrics_tables(metrics)


def test_fewer_keypoints_have_their_own_radii_and_no_joint_one() -> None:
    results = example_results(40).with_keypoints(["tail", "nose"])
    entry = evaluate(results, regions=Regions(np.array([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10.0]]), NAMES))["regions"][1]
    assert [part["radius"] for part in entry["keypoints"].values()] == [9, 6] and "joint" not in entry


def test_each_fold_is_measured_by_the_others() -> None:
    results = example_results(240)
    groups = [f"video{i % 24}" for i in range(240)]
    results = replace(results, groups=groups, images=[f"{group}/{i}.png" for i, group in enumerate(groups)])
    fold, resamples = np.arange(240) % 24 % 4, Resamples.of(results, 0, 0)
    entry = cross_validated_regions(results, fold, resamples)[1]
    distance = mahalanobis(results.keypoints - results.truth, results.covariance)
    inside = np.full(distance.shape, np.nan)
    for own in range(4):
        radii = region_radii(distance[fold != own], resamples.unit[fold != own], 0.9)
        inside[fold == own] = distance[fold == own] <= radii[:-1]
    inside[np.isnan(distance)] = np.nan
    shares = [np.nanmean(inside[resamples.unit == unit]) for unit in range(24)]
    assert entry["overall"]["coverage"] == pytest.approx(np.mean(shares)) and np.mean(shares) > 0.85
    every = region_radii(distance, resamples.unit, 0.9)
    assert [part["radius"] for part in entry["keypoints"].values()] == every[:-1].tolist()


def test_a_model_without_regions_has_none_to_show() -> None:
    metrics = evaluate(example_results(12))
    assert metrics["regions"] == [] and regions_table(metrics) is None
    assert Regions.of(Calibration(4), NAMES) is None


def checkpoint(**splits: list[str]) -> Any:
    calibration = Calibration(4)
    calibration.set(region_radii=torch.from_numpy(radii(2.0)))
    net, skeleton = SimpleNamespace(calibration=calibration), SimpleNamespace(names=NAMES)
    return SimpleNamespace(net=net, skeleton=skeleton, splits=splits or None, record={})


@pytest.mark.parametrize(
    ("model", "split", "images", "known"),
    [
        (checkpoint(val=["a.png"], test=["b.png"]), "test", ["b.png"], True),
        (checkpoint(val=["a.png"], test=["b.png"]), "all", ["b.png", "./a.png"], False),
        (checkpoint(val=["a.png"], test=["b.png"]), "all", ["new.png"], True),
        (checkpoint(), "val", ["val/0"], False),
        (checkpoint(), "test", ["test/0"], True),
    ],
)
def test_regions_are_not_measured_on_images_that_they_were_fitted_on(
    model: Any, split: str, images: list[str], known: bool
) -> None:
    regions, reason = held_out_regions(model, split, images)
    assert (regions is not None) == known and bool(reason) != known
