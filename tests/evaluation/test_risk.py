"""A stated risk is read, measured over groups, written, and refused in words where the data cannot show it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.results import NAMES, example_results
from softpoint.evaluation import Results, evaluate
from softpoint.evaluation.console import metrics_tables
from softpoint.evaluation.files import write_evaluation
from softpoint.evaluation.reliability_plots import risk_figure
from softpoint.evaluation.risk import Risk, describe_risk, measure_risk, read_threshold
from softpoint.metrics.risk import choose_threshold


def many(count: int = 600) -> Results:
    """Subjects of an image each, whose unsure points alone are off by more than 5 px."""
    rng = np.random.default_rng(1)
    results = example_results(count)
    off = rng.choice([1.0, 30.0], (count, len(NAMES)))
    keypoints = np.nan_to_num(results.truth) + off[..., None] * [1.0, 0.0]
    images = [f"{i}.png" for i in range(count)]
    confidence = np.where(off > 5, rng.uniform(0, 0.6, off.shape), rng.uniform(0.5, 1, off.shape))
    return example_results(count, images=images, groups=images, keypoints=keypoints, confidence=confidence)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("5px", "must name an error and a rate"),
        ({"error": "5px"}, "risk has no rate"),
        ({"rate": 0.1}, "risk has no error"),
        ({"error": "5px", "rat": 0.1}, r"risk\.rat: did you mean 'rate'"),
        ({"error": "5 miles", "rate": 0.1}, "each value must be a number"),
        ({"error": 0, "rate": 0.1}, "the error must be positive"),
        ({"error": 1, "rate": 1}, "the rate between 0 and 1"),
        ({"error": 1, "rate": 0.1, "confidence": 95}, "the confidence from 0.5 to below 1"),
    ],
)
def test_a_risk_that_says_nothing_is_refused(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Risk.parse(value)


def test_the_threshold_is_that_of_all_labeled_points_by_image() -> None:
    results, risk = many(), Risk.parse({"error": "5px", "rate": 0.05})
    entry = measure_risk(results, risk)
    labeled = results.labeled
    owner = np.broadcast_to(np.arange(600)[:, None], labeled.shape)[labeled]
    assert entry["threshold"] == choose_threshold(
        results.confidence[labeled], (results.errors > 5)[labeled], owner, 0.05, 0.95
    )
    assert 0.45 < entry["threshold"] <= 0.6 and entry["units"] == 600 and entry["unit"] == "images"
    text = describe_risk(entry)
    assert text.startswith(f"accept={entry['threshold']:g}: with 95 % confidence, at most 5 % of accepted points")
    accepted = labeled & (results.confidence >= entry["threshold"])
    row = next(row for row in entry["curve"] if row["threshold"] == entry["threshold"])
    assert row["points"] == accepted.sum() and row["bound"] < 0.05


def test_an_error_may_be_a_part_of_the_subject() -> None:
    results = many()
    pixels, part = (measure_risk(results, Risk(e, px, 0.05)) for e, px in ((24.0, True), (0.3, False)))
    assert [row["wrong"] for row in pixels["curve"]] != [row["wrong"] for row in part["curve"]]
    fixed = replace(results, scale=np.full(600, 80.0))
    assert measure_risk(fixed, Risk(0.3, False, 0.05))["curve"] == measure_risk(fixed, Risk(24.0, True, 0.05))["curve"]


def test_too_few_units_and_too_many_errors_are_told_apart() -> None:
    few = measure_risk(many().select(range(40)), Risk(5.0, True, 0.02))
    assert few["threshold"] is None
    assert describe_risk(few).startswith(
        "no threshold: 40 images are too few to show with 95 % confidence that at most"
    )
    assert str(few["needed_units"]) in describe_risk(few)
    wrong = measure_risk(many(), Risk(0.5, True, 0.05))
    assert wrong["threshold"] is None and "the smallest bound is 100.0 %" in describe_risk(wrong)


def test_files_console_and_figure_show_what_was_found(tmp_path: Path) -> None:
    results = many()
    metrics = evaluate(results, draws=0, risk=Risk(5.0, True, 0.05))
    write_evaluation(tmp_path, results, metrics)
    metrics_tables(metrics)
    risk_figure(metrics["risk"])
    header, *rows = (tmp_path / "risk_coverage.csv").read_text().splitlines()
    assert header == "threshold,accepted,wrong,bound,points" and len(rows) == len(metrics["risk"]["curve"]) == 51
    threshold, content = read_threshold(tmp_path / "metrics.json")
    assert threshold == metrics["risk"]["threshold"] and content["images"] == 600
    write_evaluation(tmp_path, results, evaluate(results, draws=0))
    assert not (tmp_path / "risk_coverage.csv").exists()
    with pytest.raises(ValueError, match=r"is no metrics\.json of softpoint evaluate risk="):
        read_threshold(tmp_path / "metrics.json")


def test_a_file_without_a_usable_threshold_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    with pytest.raises(FileNotFoundError, match="there is no such file; give a number"):
        read_threshold(path)
    for content, message in (
        ("[", "is no metrics"), ("[1]", "is no metrics"), ('{"risk": {}}', "is no metrics"),
        ('{"risk": {"threshold": "high"}}', "is no metrics"), ('{"risk": {"threshold": null}}', "found no threshold"),
        (json.dumps({"risk": {"threshold": 3}}), "is no probability"),
    ):  # fmt: skip
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            read_threshold(path)
