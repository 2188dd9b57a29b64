"""Every number, recomputed from predictions.csv by a loop over its rows."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from helpers.results import NAMES, example_results, unlabeled
from softpoint.evaluation import Results, compare, evaluate
from softpoint.labels.plane import Plane
from softpoint.metrics import COLUMNS


def points_of(path: Path) -> list[dict]:
    """One entry per labeled point, from the file alone."""
    points = []
    for row in csv.DictReader(path.read_text().splitlines()):
        box = [float(row[f"box_{edge}"] or "nan") for edge in ("left", "top", "right", "bottom")]
        labeled = [name for name in NAMES if int(row[f"{name}_visibility"]) > 0]
        truth = {name: (float(row[f"{name}_true_x"]), float(row[f"{name}_true_y"])) for name in labeled}
        if math.isnan(box[0]) and truth:
            xs, ys = zip(*truth.values(), strict=True)
            box = [min(xs), min(ys), max(xs), max(ys)]
        ears = math.dist(truth["left_ear"], truth["right_ear"]) if {"left_ear", "right_ear"} <= {*truth} else None
        for name in labeled:
            points.append(
                {
                    "name": name,
                    "group": row["group"],
                    "state": int(row[f"{name}_visibility"]),
                    "error": math.dist(truth[name], (float(row[f"{name}_x"]), float(row[f"{name}_y"]))),
                    "scale": float(row["scale"]),
                    "side": math.sqrt((box[2] - box[0]) * (box[3] - box[1])),
                    "diagonal": math.hypot(float(row["height"]), float(row["width"])),
                    "ears": ears,
                }
            )
    return points


def expected(points: list[dict]) -> dict[str, float]:
    """The metrics of points, each by its definition."""
    errors = sorted(p["error"] for p in points)

    def mean(values: list[float]) -> float:
        return math.fsum(values) / len(values)

    def quantile(share: float) -> float:
        place = share * (len(errors) - 1)
        below = math.floor(place)
        return errors[below] + (place - below) * (errors[math.ceil(place)] - errors[below])

    # PCK at many thresholds, summed as an integral.
    grid = np.linspace(0, 0.2, 20001)
    relative = np.sort([p["error"] / p["scale"] for p in points])
    area = np.trapezoid(np.searchsorted(relative, grid, side="right") / len(points), grid) / 0.2
    metrics = {"epe": mean(errors), "median": quantile(0.5), "p95": quantile(0.95), "auc": float(area)}
    metrics |= {f"pck@{limit}px": mean([p["error"] <= limit for p in points]) for limit in (5, 10)}
    metrics |= {f"pck@{a}": mean([p["error"] <= a * p["scale"] for p in points]) for a in (0.05, 0.1, 0.2)}
    metrics["nme"] = mean([p["error"] / p["scale"] for p in points])
    metrics["nme_diagonal"] = mean([p["error"] / p["diagonal"] for p in points])
    if sided := [p["error"] / p["side"] for p in points if p["side"]]:
        metrics["nme_box"] = mean(sided)
    if eared := [p["error"] / p["ears"] for p in points if p["ears"]]:
        metrics["nme_pair"] = mean(eared)
    return metrics


def agree(metrics: dict, points: list[dict]) -> None:
    assert metrics["points"] == len(points)
    wanted = expected(points)
    assert {*metrics} - {"points", "coverage_50", "coverage_90"} == {*wanted}
    for name, value in wanted.items():
        assert metrics[name] == pytest.approx(value, rel=1e-9, abs=2e-4 if name == "auc" else 1e-12), name


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, list[dict]]:
    path = tmp_path_factory.mktemp("evaluated") / "predictions.csv"
    results = example_results(20)
    results.write(path)
    return evaluate(results, nme_pair=["left_ear", "right_ear"], oks_sigmas=0.1, draws=200), points_of(path)


def test_overall_metrics(written: tuple[dict, list[dict]]):
    metrics, points = written
    values = {name: entry["value"] for name, entry in metrics["overall"].items()}
    calibration = {name: values.pop(name) for name in ("ece", "coverage_50", "coverage_90", "rank_correlation")}
    oks = {name: values.pop(name) for name in ("oks_ap", "oks_ap50", "oks_ap75", "oks_ar")}
    agree(values | {"points": metrics["points"]}, points)
    assert np.isfinite([*calibration.values(), *oks.values()]).all()


def test_metrics_of_parts(written: tuple[dict, list[dict]]):
    metrics, points = written
    assert [*metrics["keypoints"]] == [*NAMES] and {*metrics["groups"]} == {p["group"] for p in points}
    for name, entry in metrics["keypoints"].items():
        agree(entry, [p for p in points if p["name"] == name])
    for group, entry in metrics["groups"].items():
        agree(entry, [p for p in points if p["group"] == group])
    agree(metrics["visible"], [p for p in points if p["state"] == 2])
    agree(metrics["occluded"], [p for p in points if p["state"] == 1])


def test_intervals_contain_their_values(written: tuple[dict, list[dict]]):
    metrics, _ = written
    for name, entry in metrics["overall"].items():
        assert entry["low"] <= entry["high"]
        if name != "rank_correlation":  # a resample repeats points, which moves this
            assert entry["low"] <= entry["value"] <= entry["high"], name


def test_the_interval_is_that_of_whole_groups_by_hand():
    results = example_results(120)
    groups = [f"video{i % 6}" for i in range(120)]
    shift = np.array([3.0 * (i % 6) for i in range(120)])[:, None, None]  # each video is harder than the one before
    results = replace(results, groups=groups, keypoints=results.keypoints + shift)
    errors, known = results.errors, np.isfinite(results.errors)
    counts = np.random.default_rng(3).multinomial(6, [1 / 6] * 6, size=400)
    sums = [[values[i::6][known[i::6]].sum() for i in range(6)] for values in (errors, np.ones_like(errors))]
    means = sorted(counts @ sums[0] / (counts @ sums[1]))
    beyond = stats.norm.sf(stats.t.ppf(0.975, 5) * math.sqrt(6 / 5))  # 0.24 %, not 2.5 %
    metrics = evaluate(results, draws=400, seed=3)
    epe = metrics["overall"]["epe"]
    assert [epe["low"], epe["high"]] == pytest.approx(np.quantile(means, [beyond, 1 - beyond]))
    assert metrics["resampled"]["unit"] == "groups" and metrics["resampled"]["units"] == 6
    assert metrics["notes"][0] == (
        "independent units: 6 groups of images, such as 'video0'; results on so few depend on the split: softpoint"
        " crossval tests on every labeled image"
    )
    comparison = compare(results, replace(results, keypoints=results.keypoints - shift), draws=400, seed=3)
    assert comparison["resampled"] == metrics["resampled"] and comparison["notes"] == metrics["notes"][:1]
    alone = evaluate(replace(results, groups=["all"] * 120), draws=400, seed=3)
    single = alone["overall"]["epe"]
    assert epe["high"] - epe["low"] > 3 * (single["high"] - single["low"])
    assert alone["notes"][0].startswith("independent units: 119 images, all of the group 'all'")


def test_a_subject_without_a_scale_of_its_own_is_counted():
    whole = example_results(8)
    mask = np.zeros((8, 4), bool)
    mask[:3, 1:] = True
    results = replace(example_results(8, **unlabeled(whole, mask)), boxes=None)
    results.scale[:3] = np.hypot(*results.size[:3].T)
    metrics = evaluate(results, draws=0)
    alone = int((results.labeled[:3].sum(1) == 1).sum())
    assert alone and metrics["notes"][1:] == [
        f"{alone} of 8 subjects have neither a box nor two labeled points: their scale is the diagonal of the image"
    ]
    assert (
        metrics["overall"]["nme_box"]["points"] == metrics["points"] - alone
        and "points" not in metrics["overall"]["epe"]
    )
    assert len(evaluate(whole, draws=0)["notes"]) == 1


def test_a_resample_without_labels_takes_no_interval_away():
    mask = np.zeros((20, 4), bool)
    mask[8:] = True
    few = evaluate(example_results(20, **unlabeled(example_results(20), mask)), draws=200)
    assert few["overall"]["ece"]["low"] <= few["overall"]["ece"]["value"] <= few["overall"]["ece"]["high"]
    mask[3:] = True  # leaves two of the six groups
    fewer = evaluate(example_results(20, **unlabeled(example_results(20), mask)), oks_sigmas=0.1, draws=50)
    assert all("low" not in entry for entry in fewer["overall"].values())


def test_settings_are_stated():
    metrics = evaluate(example_results(), oks_sigmas=0.1, nme_pair=["nose", "tail"], draws=300, seed=4)
    assert metrics["oks_sigmas"] == [0.1] * 4 and metrics["nme_pair"] == ["nose", "tail"]
    assert metrics["resampled"]["seed"] == 4 and metrics["resampled"]["draws_of_calibration"] == 200


def all_numbers(node: object) -> list[float]:
    if isinstance(node, dict):
        return [x for value in node.values() for x in all_numbers(value)]
    return [node] if isinstance(node, float) else []


@pytest.mark.parametrize("case", ["one image", "one point", "nothing labeled", "a keypoint never labeled", "no ears"])
def test_no_value_is_nan_and_absent_metrics_have_a_reason(case: str):
    results = example_results(1 if case == "one image" else 8)
    mask = np.zeros((len(results), 4), bool)
    mask[:, 1] = case in ("a keypoint never labeled", "no ears")
    mask |= case == "nothing labeled"
    mask[1:] |= case == "one point"
    mask[0, 1:] |= case == "one point"
    results = example_results(len(results), **unlabeled(results, mask))
    metrics = evaluate(results, nme_pair=["left_ear", "right_ear"], oks_sigmas=0.1, draws=50)
    assert np.isfinite(all_numbers(metrics)).all() and json.dumps(metrics, allow_nan=False)
    measured = {*metrics["overall"]}
    for name in COLUMNS:
        assert (name in measured) != (name in metrics["skipped"])
    assert metrics["skipped"]["absent_auroc"].startswith("the network predicts no visibility")
    if case == "one image":
        assert "low" not in metrics["overall"]["epe"]
        assert metrics["skipped"]["intervals"] == "only 1 independent image; at least 6 are needed"
    if case == "nothing labeled":
        assert not measured and metrics["points"] == 0
    if case == "a keypoint never labeled":
        assert metrics["keypoints"]["left_ear"] == {"points": 0} and "keypoints.left_ear" in metrics["skipped"]
    if case == "no ears":
        assert metrics["skipped"]["nme_pair"] == "no subject has both points of the pair"


def test_predicted_visibility_is_scored_with_an_interval(tmp_path: Path):
    results = example_results(60)
    absent = np.random.default_rng(1).random(results.visibility.shape) < 0.3
    results = replace(results, **unlabeled(results, absent), predicted_visibility=None)
    states = np.where(absent, -1, results.visibility)
    probability = np.random.default_rng(2).dirichlet([1, 1, 1], states.shape)
    results = replace(results, visibility=states, predicted_visibility=probability)
    results.write(tmp_path / "predictions.csv")
    metrics = evaluate(Results.read(tmp_path / "predictions.csv"), draws=50)
    known, truth = states != 0, np.where(states == -1, 0, states)
    right = probability.argmax(-1) == truth
    recalls = [right[known & (truth == state)].mean() for state in range(3)]
    entry = metrics["overall"]["balanced_accuracy"]
    assert entry["value"] == pytest.approx(np.mean(recalls)) and entry["low"] < entry["value"] < entry["high"]
    assert {"absent_auroc", "absent_ap", "occluded_auroc", "occluded_ap"} <= {*metrics["overall"]}
    worse = replace(results, predicted_visibility=np.full_like(probability, 1 / 3))
    difference = compare(results, worse, draws=50)["overall"]["absent_auroc"]
    assert difference["b"] == 0.5 and difference["a"] == metrics["overall"]["absent_auroc"]["value"]


def test_a_set_without_images_is_refused():
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluate(example_results(3).select([]))


def test_a_pair_that_names_no_two_keypoints_is_refused():
    with pytest.raises(ValueError, match="no keypoint is named 'left_ea'; did you mean 'left_ear'"):
        evaluate(example_results(), nme_pair=["left_ea", "right_ear"])
    with pytest.raises(ValueError, match="must name two keypoints"):
        evaluate(example_results(), nme_pair=["nose"])


def test_without_draws_there_are_values_alone():
    metrics = evaluate(example_results(), draws=0, oks_sigmas=0.1)
    assert all([*entry] == ["value"] for entry in metrics["overall"].values())


def test_a_plane_measures_errors_in_millimeters() -> None:
    results = example_results(16)
    tilted = Plane(np.array([[0.1, 0.01, 2.0], [0.0, 0.2, -1.0], [1e-4, 2e-4, 1.0]]))
    measured = evaluate(replace(results, plane=tilted), draws=0)
    errors = []
    for point, truth in zip(results.keypoints[results.labeled], results.truth[results.labeled], strict=True):
        (u, v), (x, y) = ((h[0] / h[2], h[1] / h[2]) for h in (tilted.matrix @ [*p, 1] for p in (point, truth)))
        errors.append(math.hypot(u - x, v - y))
    overall = measured["overall"]
    assert overall["epe_mm"]["value"] == pytest.approx(np.mean(errors))
    assert overall["p95_mm"]["value"] == pytest.approx(np.quantile(errors, 0.95))
    assert "epe_mm" in measured["keypoints"]["nose"] and measured["definitions"]["epe_mm"].endswith("in mm")
    assert not [name for name in evaluate(results, draws=0)["overall"] if name.endswith("_mm")]
    both = compare(replace(results, plane=Plane.of(0.5)), replace(results, plane=Plane.of(0.5)), draws=0)
    assert both["overall"]["epe_mm"]["a"] == pytest.approx(both["overall"]["epe"]["a"] / 2)
