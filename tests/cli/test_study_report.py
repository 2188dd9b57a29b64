"""Pages of studies are made of the predictions of all folds, and of all variants that were measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.studies import IMAGES, measured, results_of
from helpers.subjects import random_results
from softpoint import report as pages
from softpoint.cli import study_report
from softpoint.evaluation import Results
from softpoint.evaluation.subjects import write_subjects
from softpoint.studies.runs import Trial
from softpoint.studies.summaries import comparison, cross_validation

FACTS = {"command": "softpoint study", "data": "set", "on": "set", "title": "Heads", "seeds": [0, 1], "study": "heads"}


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a page is made of; images hold the number of their name, and no checkpoint is read."""
    kept: dict[str, Any] = {}
    names = ("results", "metrics", "load", "facts", "warnings", "command", "title")
    for page in ("evaluation_page", "comparison_page"):
        monkeypatch.setattr(pages, page, lambda *a, **k: kept.update(zip(names, a, strict=True), **k) or "page")
    monkeypatch.setattr(study_report, "_model_facts", lambda trial: [("checkpoint", trial.name)])
    monkeypatch.setattr(study_report, "_reader", lambda _: lambda name: np.full((2, 2, 3), IMAGES.index(name)))
    monkeypatch.setattr(study_report, "here", str)
    monkeypatch.setattr("softpoint.cli.report.here", str)
    return kept


def trial(folder: Path, variant: str, seed: int, fold: int | None, results: Results | None) -> Trial:
    made = Trial(variant, seed, fold, (), folder / f"{variant}{seed}{fold}", failed=None if results else "no memory")
    return measured(made, results) if results else made


def test_all_folds_are_on_one_page(given: dict[str, Any], tmp_path: Path) -> None:
    folds = [trial(tmp_path, "", 0, i, results_of(IMAGES[i::3], 2.0) if i else None) for i in range(3)]
    summary, results = cross_validation(folds, FACTS)
    study_report.write_folds_page(tmp_path, folds, summary, results)
    assert (tmp_path / "report.html").read_text() == "page"
    assert given["metrics"]["overall"] == summary["overall"] and given["results"] is results
    assert [int(given["load"](i)[0, 0, 0]) for i in range(8)] == [1, 4, 7, 10, 2, 5, 8, 11]
    assert given["warnings"] == ["fold 0, seed 0 failed and is left out: no memory"]
    assert given["title"] == "Cross-validation on set, 2 folds" and given["facts"][-1] == (
        "checkpoint",
        "fold 1, seed 0",
    )


def test_what_the_folds_found_is_on_the_page(given: dict[str, Any], tmp_path: Path) -> None:
    folds = [trial(tmp_path, "", 0, i, results_of(IMAGES[i::2], 2.0)) for i in range(2)]
    found = replace(random_results(0, images=12), images=IMAGES)
    for i, one in enumerate(folds):
        write_subjects(one.evaluation / "subjects.csv", found.select(range(i, 12, 2)))
    study_report.write_folds_page(tmp_path, folds, *cross_validation(folds, FACTS))
    shown, load = given["found"]
    assert shown.images == IMAGES[::2] + IMAGES[1::2] and "finding" in given["metrics"]
    assert [int(load(i)[0, 0, 0]) for i in (0, 1, 6)] == [0, 2, 1]


def test_variants_are_compared_for_the_first_seed(given: dict[str, Any], tmp_path: Path) -> None:
    errors = {"plain": 2.0, "broken": None, "worse": 6.0}
    trials = [
        trial(tmp_path, variant, seed, None, None if error is None else results_of(IMAGES, error, seed))
        for seed in (0, 1)
        for variant, error in errors.items()
    ]
    summary = comparison(trials, {variant: ["lr=1"] for variant in errors}, {}, FACTS)
    study_report.write_variants_page(tmp_path, "set", trials, summary)
    assert (tmp_path / "set.html").read_text() == "page" and list(given["results"]) == ["A", "B"]
    epe = given["metrics"]["B"]["overall"]["epe"]
    for key, variant in (("a", "plain"), ("b", "worse")):
        assert epe[key] == summary["variants"][variant]["seeds"]["0"]["epe"] and given["metrics"]["B"][key] == variant
    assert given["facts"]["B"] == [("variant", "worse"), ("changes", "lr=1"), ("checkpoint", "worse, seed 0")]
    assert len(given["warnings"]) == 2 and int(given["load"](7)[0, 0, 0]) == 7
    study_report.write_variants_page(tmp_path, "alone", trials[:2], summary)
    assert not (tmp_path / "alone.html").exists()
