"""The part of a report about found subjects shows its own numbers, and every image with what is wrong in it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.browser import Browser
from helpers.pages import HOSTILE, check_closed, numbers_in
from helpers.results import example_results
from helpers.subjects import NOTHING, SIZE, found_at, points_at, random_results, results_of, scene_of
from softpoint.evaluation import evaluate
from softpoint.evaluation.console import finding_tables
from softpoint.evaluation.subjects import SubjectResults, measure_subjects
from softpoint.evaluation.subjects.matching import by_distance, match_subjects
from softpoint.labels.skeleton import Skeleton
from softpoint.report import evaluation_page
from softpoint.report.subjects import choose_images, overlays
from softpoint.tables import console


def page_of(found: SubjectResults) -> tuple[str, dict[str, Any]]:
    results = example_results(12)
    metrics = evaluate(results, draws=20) | {"finding": measure_subjects(found, draws=50)}
    return evaluation_page(results, metrics, gray, [], found=(found, gray)), metrics


def gray(index: int) -> np.ndarray:
    return np.full((*SIZE, 3), 90, np.uint8)


def test_every_number_is_that_of_metrics_json() -> None:
    text, metrics = page_of(random_results(0, images=40, crowds=True).with_groups([f"{i}" for i in range(40)]))
    page, finding = check_closed(text), json.loads(json.dumps(metrics["finding"]))
    shown = {value for value, _ in page.numbers}
    rates = [
        {name: row[name] for name in ("precision", "recall", "false_per_image") if name in row}
        for row in (*finding["oks"]["curve"], *finding["distances"])
    ]
    expected = [finding["average_precision"], finding["oks"]["overall"], finding["distance"]["overall"], rates]
    assert {*numbers_in(expected)} <= shown
    assert shown <= {*numbers_in(json.loads(json.dumps(metrics)))}
    assert len(page.named("figure")) > 12


def test_a_page_without_any_found_subject_is_whole() -> None:
    text, _ = page_of(results_of((scene_of(points_at((60, 60))), found_at(NOTHING, []))))
    check_closed(text)
    text, metrics = page_of(results_of((scene_of(NOTHING), found_at(NOTHING, []))))
    check_closed(text)
    assert "oks_ap" in metrics["finding"]["skipped"]


def test_text_of_anyone_stays_text() -> None:
    found = random_results(1, images=20)
    found = replace(
        found,
        skeleton=Skeleton((HOSTILE[0], HOSTILE[3])),
        images=[f"{i}{HOSTILE[i % 4]}" for i in range(20)],
        groups=[HOSTILE[i % 3] for i in range(20)],
    )
    text, _ = page_of(found)
    check_closed(text)
    assert "<script" not in text


def test_the_worst_images_come_first_and_say_why() -> None:
    labeled = points_at((60, 60), (200, 150))
    images = [
        (scene_of(labeled), found_at(labeled + 1, [0.9, 0.8])),
        (scene_of(labeled), found_at(labeled[:1], [0.9])),
        (scene_of(labeled), found_at(points_at((60, 60), (61, 60), (340, 250)), [0.9, 0.8, 0.7])),
        (scene_of(NOTHING), found_at(NOTHING, [])),
        (scene_of(labeled), found_at(np.concatenate([labeled, labeled[:1]]), [0.9, 0.8, 0.7])),
    ]
    results = results_of(*images)
    outcomes = match_subjects(results, by_distance())
    chosen = choose_images(results, outcomes, 0.5)
    assert list(chosen.values()) == [[2, 1, 4], [0]]
    drawn = overlays(results, outcomes, [2, 1, 4, 0], 0.5, gray)
    assert [overlay.verdict for overlay in drawn] == [
        "1 missed, 1 false, 1 doubled, mean error 0.00 px",
        "1 missed, mean error 0.00 px",
        "1 doubled, mean error 0.00 px",
        "mean error 1.41 px",
    ]
    assert choose_images(results, outcomes, 0.95)["Missed and false subjects, the worst images first"] == [0, 1, 2, 4]


def test_the_console_prints_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    finding = measure_subjects(random_results(0, images=20, crowds=True), draws=20)
    console().print(finding_tables(finding))
    printed = capsys.readouterr().out
    assert f"{finding['oks']['overall']['recall']['value']:.3f}" in printed and "crowded" in printed
    assert "oks_sigmas is not set: OKS is measured with 0.05" in printed


def test_a_browser_shows_the_part_without_complaint(browser: Browser, tmp_path: Path) -> None:
    text, _ = page_of(random_results(0, images=12, crowds=True))
    (path := tmp_path / "page.html").write_text(text)
    browser.open(path, "dark", width=400)
    wide = browser.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0 and browser.complaints() == []
