"""Several trainings are summarized in one result, and every number follows from their files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from helpers.studies import IMAGES, measured, results_of
from helpers.subjects import random_results
from helpers.training import read_csv
from softpoint.evaluation import Results
from softpoint.evaluation.subjects import measure_subjects, write_subjects
from softpoint.metrics.calibration import ece as calibration_error
from softpoint.paths import write_json
from softpoint.studies.charts import comparison_chart
from softpoint.studies.markdown import update_page
from softpoint.studies.reports import write_comparison, write_cross_validation
from softpoint.studies.runs import Trial
from softpoint.studies.summaries import comparison, cross_validation, mean_interval

FACTS = {"command": "softpoint x", "hardware": "a machine", "data": "mice", "budget": "3 epochs per training run"}
STUDY = FACTS | {"study": "heads", "title": "Heads", "on": "mice", "seeds": [0, 1, 2]}


def mean_error(*parts: Results) -> float:
    """From the arrays alone."""
    error = np.concatenate([np.linalg.norm(p.keypoints - p.truth, axis=-1).ravel() for p in parts])
    return float(error[np.isfinite(error)].mean())


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> list[Trial]:
    """Three folds with two seeds each, of which one failed."""
    root = tmp_path_factory.mktemp("folds")
    trials = [Trial("", seed, fold, (), root / f"{seed}{fold}") for seed in (0, 1) for fold in range(3)]
    outcomes = [measured(t, results_of(IMAGES[t.fold :: 3], 1.0 + t.seed, 7 * t.seed)) for t in trials[:-1]]
    return [*outcomes, replace(trials[-1], failed="out of memory")]


def test_an_interval_covers_as_often_as_its_level() -> None:
    rng = np.random.default_rng(0)
    intervals = [mean_interval(sample) for sample in rng.normal(3.0, 2.0, (2000, 3)).tolist()]
    inside = np.mean([i["low"] <= 3.0 <= i["high"] for i in intervals])
    assert inside == pytest.approx(0.95, abs=0.015)
    assert mean_interval([-1.0, -0.9, -0.8])["high"] == pytest.approx(-0.9 + 4.3027 * 0.1 / 3**0.5, abs=1e-4)


def test_folds_pool_every_point(folds: list[Trial]) -> None:
    summary, together = cross_validation(folds, FACTS)
    parts = [outcome.results() for outcome in folds[:-1]]
    assert summary["overall"]["epe"]["value"] == pytest.approx(mean_error(*parts))
    assert summary["seeds"]["0"]["epe"] == pytest.approx(mean_error(*parts[:3]))
    assert sorted(together.images[:12]) == sorted(IMAGES) and summary["images"] == 12
    assert summary["overall"]["epe"]["low"] < summary["overall"]["epe"]["value"] < summary["overall"]["epe"]["high"]
    assert {"ece", "coverage_90"} <= summary["overall"].keys()
    assert [entry["level"] for entry in summary["regions"]] == [0.5, 0.9]
    assert summary["minutes"] == pytest.approx(5 * 1.5) and summary["command"] == FACTS["command"]
    of_fold = [mean_error(parts[0]), mean_error(parts[3])]
    assert summary["folds"]["0"]["epe"]["mean"] == pytest.approx(np.mean(of_fold))
    assert summary["folds"]["0"]["epe"]["spread"] == pytest.approx(np.std(of_fold, ddof=1))
    assert summary["folds"]["2"]["epe"]["spread"] is None
    assert summary["failed"] == [{"run": "fold 2, seed 1", "why": "out of memory"}]


def test_files_of_a_cross_validation(folds: list[Trial], tmp_path: Path) -> None:
    summary, together = cross_validation(folds, FACTS)
    text = write_cross_validation(tmp_path, summary, together, "mice")
    assert json.loads((tmp_path / "crossval.json").read_text()) == summary
    shown = next(line for line in text.splitlines() if " epe " in line).replace(" ", "").split("|")[2:-1]
    assert shown[0] == "epe" and {"ece", "coverage_90"} < {*shown} and len(shown) == len({*shown})
    again = Results.read(tmp_path / "predictions.csv")
    assert mean_error(again) == pytest.approx(summary["overall"]["epe"]["value"], rel=1e-12)
    rows = read_csv(tmp_path / "folds.csv")
    assert [row["failed"] for row in rows] == [""] * 5 + ["out of memory"]
    assert float(rows[0]["epe"]) == summary["runs"][0]["epe"] and rows[5]["epe"] == ""
    assert rows[1]["epe_low"] == rows[1]["epe_high"] == ""  # of four images
    assert all(cv2.imread(str(tmp_path / f"{name}.png")) is not None for name in ("crossval", "reliability"))
    assert f"| all folds | {summary['overall']['epe']['value']:.2f} (" in text
    assert "fold 2, seed 1: out of memory" in text and (tmp_path / "crossval.md").read_text() == text


def test_confidences_are_judged_by_the_fraction_that_they_are_about(tmp_path: Path) -> None:
    trials = [Trial("", 0, fold, (), tmp_path / str(fold)) for fold in range(2)]
    outcomes = [measured(trial, results_of(IMAGES[trial.fold :: 2], 1.0)) for trial in trials]
    for trial, fraction in ((trials[0], 0.02), (trials[1], 0.1), (trials[1], 0.02)):
        metrics = trial.metrics() | {"confidence_fraction": fraction}
        (trial.evaluation / "metrics.json").write_text(json.dumps(metrics))
        if fraction == 0.1:
            with pytest.raises(ValueError, match=r"cannot be pooled: fold 0, seed 0 0\.02, fold 1, seed 0 0\.1"):
                cross_validation(outcomes, FACTS)
    summary, together = cross_validation(outcomes, FACTS)
    ece = summary["overall"]["ece"]["value"]
    assert summary["confidence_fraction"] == 0.02
    assert ece == calibration_error(together, 0.02) != calibration_error(together)


def test_an_image_in_two_folds_is_refused(tmp_path: Path) -> None:
    trials = [Trial("", 0, fold, (), tmp_path / str(fold)) for fold in range(2)]
    outcomes = [measured(trial, results_of(IMAGES[:7], 1.0)) for trial in trials[:1]]
    outcomes.append(measured(trials[1], results_of(IMAGES[6:], 1.0)))
    with pytest.raises(ValueError, match=f"fold 0, seed 0 and fold 1, seed 0 both tested {IMAGES[6]}: the labels or"):
        cross_validation(outcomes, FACTS)


def test_a_long_failure_is_whole_in_the_page_and_one_line_in_the_table(tmp_path: Path) -> None:
    done = measured(Trial("", 0, 0, (), tmp_path / "0"), results_of(IMAGES[:1], 1.0))
    lost = Trial("", 0, 1, (), tmp_path / "1", failed="2 images:\n- a.png\n- b.png")
    summary, together = cross_validation([done, lost], FACTS)
    text = write_cross_validation(tmp_path, summary, together, "mice")
    assert "- fold 1, seed 0: 2 images:\n  - a.png\n  - b.png\n" in text
    assert read_csv(tmp_path / "folds.csv")[1]["failed"] == "2 images:"
    assert summary["failed"][0]["why"] == lost.failed
    assert (
        "There are no intervals: only 1 independent image; at least 6 are needed." in text
    )  # and no chart fails of it


def test_nothing_to_pool_names_the_first_failure(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none of 1 folds.*fold 0, seed 0: no space"):
        cross_validation([Trial("", 0, 0, (), tmp_path, failed="no space")], FACTS)


def heads(root: Path, seeds: int, folds: int | None = None) -> list[Trial]:
    """Two variants, the second a pixel better; a third that failed."""
    outcomes = []
    for seed in range(seeds):
        for fold in [None] if folds is None else range(folds):
            images = IMAGES if fold is None else IMAGES[fold::folds]
            for variant, error in (("plain", 3.0), ("fine", 2.0)):
                trial = Trial(variant, seed, fold, (), root / variant / f"{seed}{fold}")
                outcomes.append(measured(trial, results_of(images, error, seed)))
            outcomes.append(Trial("broken", seed, fold, (), root / "broken", failed="no such head"))
    return outcomes


VARIANTS = {"plain": [], "fine": ["head=fine"], "broken": ["head=no"]}


def test_variants_are_paired_by_seed(tmp_path: Path) -> None:
    outcomes = heads(tmp_path, 3)
    summary = comparison(outcomes, VARIANTS, {"fine": {"step": 1.5, "parameters": 2e6}}, STUDY)["variants"]
    plain = [mean_error(results_of(IMAGES, 3.0, seed)) for seed in range(3)]
    fine = [mean_error(results_of(IMAGES, 2.0, seed)) for seed in range(3)]
    assert summary["plain"]["epe"] == pytest.approx(mean_interval(plain))
    expected = mean_interval(np.subtract(fine, plain).tolist())
    assert summary["fine"]["difference"] == pytest.approx(expected | {"excludes_zero": True})
    assert "difference" not in summary["plain"] and summary["fine"]["seeds"]["2"]["epe"] == pytest.approx(fine[2])
    assert summary["fine"]["cost"] == {"step": 1.5, "parameters": 2e6} and summary["plain"]["cost"] == {}
    assert summary["fine"]["means"]["minutes"] == 1.5
    assert "epe" not in summary["broken"] and summary["broken"]["failed"][0]["why"] == "no such head"


def test_folds_of_a_seed_count_together(tmp_path: Path) -> None:
    outcomes = heads(tmp_path, 2, folds=3)
    summary = comparison(outcomes, VARIANTS, {}, STUDY)["variants"]
    parts = [results_of(IMAGES[fold::3], 2.0, 1) for fold in range(3)]
    assert summary["fine"]["seeds"]["1"]["epe"] == pytest.approx(mean_error(*parts))
    assert summary["fine"]["means"]["minutes"] == pytest.approx(3 * 1.5)
    # A seed without one of its folds is another test set: it does not count.
    lost = replace(outcomes[1], failed="stopped")
    summary = comparison([outcomes[0], lost, *outcomes[2:]], VARIANTS, {}, STUDY)["variants"]
    assert list(summary["fine"]["seeds"]) == ["1"] and list(summary["plain"]["seeds"]) == ["0", "1"]


def test_one_seed_is_paired_by_image(tmp_path: Path) -> None:
    summary = comparison(heads(tmp_path, 1), VARIANTS, {}, STUDY | {"seeds": [0]})["variants"]
    difference = summary["fine"]["difference"]
    by_point = results_of(IMAGES, 2.0).errors - results_of(IMAGES, 3.0).errors
    assert difference["value"] == pytest.approx(np.nanmean(by_point)) and difference["high"] < 0
    assert summary["fine"]["epe"]["low"] < summary["fine"]["epe"]["value"]


def test_files_of_a_comparison(tmp_path: Path) -> None:
    summary = comparison(heads(tmp_path / "runs", 2), VARIANTS, {"plain": {"step": 1.0}}, STUDY)
    text = write_comparison(tmp_path, summary)
    assert {path.name for path in tmp_path.glob("mice.*")} == {
        f"mice.{suffix}" for suffix in ("csv", "json", "md", "png", "svg")
    }
    assert json.loads((tmp_path / "mice.json").read_text()) == summary
    rows = read_csv(tmp_path / "mice.csv")
    assert [(row["variant"], row["seed"]) for row in rows] == [(v, s) for v in VARIANTS for s in "01"]
    assert float(rows[2]["epe"]) == summary["variants"]["fine"]["seeds"]["0"]["epe"] and rows[4]["failed"]
    assert "| broken | failed |" in text and "- broken, seed 0: no such head" in text
    assert "a machine" in text and "fine: `head=fine`" in text
    axes = comparison_chart(summary).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["plain", "fine"]
    means, seeds = axes.lines[0].get_xdata(), axes.lines[3].get_xdata()
    assert list(means) == [summary["variants"][name]["epe"]["value"] for name in ("plain", "fine")]
    assert list(seeds) == [scores["epe"] for scores in summary["variants"]["plain"]["seeds"].values()]


def test_a_section_is_replaced_in_place(tmp_path: Path) -> None:
    page = tmp_path / "results.md"
    for name, body in (("a", "first"), ("b", "second"), ("a", "again")):
        update_page(page, name, body)
    text = page.read_text()
    assert text.index("again") < text.index("second") and "first" not in text and text.count("begin") == 2
    assert text.startswith("# Results\n")
    page.write_text("<!-- a: begin -->")
    with pytest.raises(ValueError, match="without '<!-- a: end -->'"):
        update_page(page, "a", "")


def test_a_file_is_never_half_written(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"x": float("nan")})
    assert json.loads(path.read_text()) == {"x": 1} and len(list(tmp_path.iterdir())) == 1


def test_what_the_folds_find_is_pooled(tmp_path: Path) -> None:
    every = random_results(0, images=12, crowds=True)
    trials = [Trial("", seed, fold, (), tmp_path / f"{seed}{fold}") for seed in range(2) for fold in range(2)]
    outcomes = [measured(trial, results_of(IMAGES[trial.fold :: 2], 1.0)) for trial in trials]
    assert "finding" not in cross_validation(outcomes, FACTS)[0]
    for trial in outcomes:
        write_subjects(trial.evaluation / "subjects.csv", every.select(range(trial.fold, 12, 2)))
    summary, together = cross_validation(outcomes, FACTS)
    folds_first = every.select([*range(0, 12, 2), *range(1, 12, 2)])
    assert summary["finding"] == measure_subjects(folds_first)  # of the first seed alone
    assert summary["finding"]["subjects"] == measure_subjects(every)["subjects"]
    text = write_cross_validation(tmp_path / "out", summary, together, "bees")
    recall = summary["finding"]["oks"]["overall"]["recall"]["value"]
    assert f"| recall | {recall:.3f}" in text and "In whole images, by the models of one seed" in text
