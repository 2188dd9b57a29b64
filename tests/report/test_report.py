"""The report of an evaluation: its numbers are those of metrics.json, and it holds nothing but itself."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.browser import Browser
from helpers.pages import HOSTILE, check_closed, numbers_in
from helpers.results import example_results, unlabeled
from softpoint.cli.report import write_report
from softpoint.colors import contrast, line_colors, palette, to_hex
from softpoint.evaluation import Results, compare, evaluate
from softpoint.images.decode import read_image
from softpoint.labels.skeleton import Skeleton
from softpoint.report import comparison_page, evaluation_page
from softpoint.report.gallery import mean_errors
from softpoint.viz.figures import COLORS
from softpoint.viz.theme import PALETTE, dark_twin


def blank(results: Results) -> Callable[[int], np.ndarray]:
    """Images of the sizes that the results state."""
    return lambda i: np.full((*results.size[i], 3), 90, np.uint8)


def page_of(results: Results, **more: Any) -> tuple[str, dict[str, Any]]:
    metrics = evaluate(results, draws=50, about={"split": "test", "data": "labels.csv"})
    return evaluation_page(results, metrics, blank(results), more.pop("facts", []), **more), metrics


def test_every_number_is_that_of_metrics_json() -> None:
    results = example_results(40)
    text, metrics = page_of(results)
    page, known = check_closed(text), set(numbers_in(json.loads(json.dumps(metrics))))
    shown = {value for value, _ in page.numbers}
    assert shown <= known and all(float(t) == pytest.approx(v, abs=0.006) for v, t in page.numbers)
    expected = set(numbers_in([metrics["overall"], metrics["confidence_quarters"]]))
    brief = ("points", "epe", "median", "p95", "pck@0.05", "pck@0.1", "nme_box")
    for entry in (*metrics["keypoints"].values(), *metrics["groups"].values(), metrics["visible"], metrics["occluded"]):
        expected |= {entry[name] for name in brief if name in entry}
    assert expected - {entry["points"] for entry in metrics["overall"].values() if "points" in entry} <= shown
    cases = [float(error) for error in re.findall(r"<figcaption>([\d.]+) px", text)]
    order = np.sort(mean_errors(results))[::-1]
    chosen = [*order[:8], *order[18:22], *order[-4:]]
    assert cases == pytest.approx(chosen, abs=0.006) and len(page.named("img")) == 16


def test_text_of_anyone_stays_text() -> None:
    results = example_results(30)
    results = replace(
        results,
        skeleton=Skeleton(HOSTILE),
        groups=[f"{HOSTILE[i % 3]}{i % 6}" for i in range(30)],
        images=[f'{i}/"><img src=x onerror=alert(1)>$a$.png' for i in range(30)],
    )
    text, _ = page_of(results, facts=[("network", HOSTILE[0])], warnings=[HOSTILE[1]], command=HOSTILE[2])
    page = check_closed(text)
    for name in HOSTILE[:3]:
        assert page.text.count(name) >= 3  # in the tables, the legend, and a group or a fact
    assert "onerror=alert(1)>$a$.png" in page.text
    drawn = re.findall(r"<text [^>]*>([^<]*)</text>", text)
    assert html.escape(HOSTILE[0], quote=False) in drawn and html.escape(HOSTILE[2], quote=False) in drawn
    text.encode()  # no half of a surrogate pair is left


def wide(results: Results, keypoints: int) -> Results:
    """The results with so many keypoints, repeated."""
    order, K = np.arange(keypoints) % len(results.skeleton), len(results.skeleton)
    parts = {
        name: value[:, order]
        for name, value in vars(results).items()
        if isinstance(value, np.ndarray) and value.ndim > 1 and value.shape[1] == K and name not in ("boxes",)
    }
    return replace(results, **parts, skeleton=Skeleton(tuple(f"point {k}" for k in range(keypoints))))


@pytest.mark.parametrize(("count", "keypoints"), [(1, 1), (1, 200), (12, 1), (12, 2)])
def test_any_number_of_keypoints_and_images(count: int, keypoints: int) -> None:
    results = wide(example_results(count), keypoints)
    page = check_closed(page_of(results)[0])
    assert len(page.named("details")) >= (2 if keypoints == 200 else 0)
    assert {row["aria-label"] for row in page.named("svg")} and len(page.named("img")) == results.labeled.any(1).sum()


def test_a_split_without_a_labeled_point() -> None:
    results = example_results(5)
    results = replace(results, **unlabeled(results, np.ones((5, 4), bool)))
    page = check_closed(page_of(results)[0])
    assert not page.named("svg") and not page.named("img") and "no point is labeled" in page.text


def test_a_large_split_makes_no_larger_page() -> None:
    results = example_results(25_000)
    metrics = evaluate(results, draws=0)
    text = evaluation_page(results, metrics, blank(results), [])
    assert len(check_closed(text).named("img")) == 16 and len(text) < 1_500_000


def test_many_groups_are_cut_to_the_worst() -> None:
    results = example_results(400)
    names = [f"group {i}" for i in range(400)]
    page = check_closed(page_of(replace(results, groups=names, images=names))[0])
    assert "300 rows, those of the largest errors of 400; metrics.json has all" in page.text


def test_a_comparison_has_the_numbers_of_each_pair() -> None:
    models = {letter: example_results(30, spread=spread) for letter, spread in zip("ABC", (3, 4, 9), strict=True)}
    models = {letter: replace(models["A"], keypoints=part.keypoints) for letter, part in models.items()}
    pairs = {x: compare(models["A"], models[x], draws=50, about={"a": "one.ckpt", "b": HOSTILE[0]}) for x in "BC"}
    facts = {letter: [("checkpoint", letter)] for letter in models}
    page = check_closed(comparison_page(models, pairs, blank(models["A"]), facts))
    keys = ("a", "b", "difference", "low", "high", "p_a_better")

    def numbers(entries: list[dict[str, Any]]) -> list[float]:
        return [entry[key] for entry in entries for key in keys if key in entry]

    expected = [x for pair in pairs.values() for x in numbers([*pair["overall"].values()])]
    parts = [part for kind in ("keypoints", "groups") for pair in pairs.values() for part in pair[kind].values()]
    expected += [x for part in parts for x in (part["points"], *numbers([part["epe"]]))]
    assert [value for value, _ in page.numbers] == expected and len(parts) == 2 * (4 + 6)
    assert len(page.named("img")) == 3 * 6 and "C is <script>" in " ".join(page.text.split())
    bold = len(page.named("strong")) - 3 - 2  # the names of the models and the verdicts
    entries = [e for pair in pairs.values() for e in pair["overall"].values()] + [part["epe"] for part in parts]
    clear = [entry for entry in entries if entry.get("low", 0) * entry.get("high", 0) > 0]
    assert bold == len(clear) > 0


def test_colors_are_readable_in_both_modes() -> None:
    def rgb(color: str) -> list[int]:
        return [*bytes.fromhex(color[1:])]

    for mode in (0, 1):
        behind = [rgb(PALETTE[name][mode]) for name in ("background", "surface", "caution")]
        for name in ("text", "muted", "link"):
            assert min(contrast(rgb(PALETTE[name][mode]), back) for back in behind) >= 4.5, (name, mode)
    edge = [contrast(rgb(PALETTE["caution-edge"][i]), rgb(PALETTE["background"][i])) for i in (0, 1)]
    assert min(edge) >= 3
    white, black = (rgb(color) for color in PALETTE["background"])
    for color in {*line_colors(128), *COLORS, "#000000", "#737373"}:
        assert contrast(rgb(dark_twin(color)), black) >= 3
    assert all(contrast(rgb(color), white) >= 3 for color in line_colors(128))
    for color in map(to_hex, palette(128).tolist()):
        assert contrast(rgb(dark_twin(color)), black) >= 3


def test_a_browser_shows_it(browser: Browser, tmp_path: Path) -> None:
    text, metrics = page_of(example_results(40), warnings=["it is not calibrated"], command="softpoint evaluate")
    path = tmp_path / "report.html"
    path.write_text(text, encoding="utf-8")
    browser.requests()
    for mode, width in (("light", 1200), ("dark", 1200), ("light", 400)):
        browser.open(path, mode, width)
        assert browser.complaints() == [] and browser.requests() == [path.as_uri()]
        assert browser.run("return document.documentElement.scrollWidth") <= width
        browser.screenshot(tmp_path / "shot.png")
        corner = read_image(tmp_path / "shot.png")[2, 2]
        assert tuple(corner) == tuple(bytes.fromhex(PALETTE["background"][mode == "dark"][1:]))
    targets = browser.run("return [...document.querySelectorAll('nav a')].map(a => a.getAttribute('href'))")
    assert len(targets) == 8 and all(browser.run(f"return !!document.querySelector('{t}')") for t in targets)
    shown = browser.run("return [...document.querySelectorAll('main img')].filter(i => i.naturalWidth == 480).length")
    assert browser.run("return document.querySelectorAll('svg[role=img] text').length") > 40 and shown <= 16
    assert f"{metrics['overall']['epe']['value']:.2f}" in browser.run("return document.body.innerText")
    browser.open(path, "dark")
    tick = "getComputedStyle(document.querySelector('svg text')).fill"
    assert browser.run(f"return {tick}") == "rgb(232, 234, 237)"


def test_a_page_that_cannot_be_made_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def page() -> str:
        raise ValueError("a.png cannot be read")

    write_report(tmp_path / "report.html", page)
    assert "report.html was not written: a.png cannot be read" in caplog.text and not [*tmp_path.iterdir()]
