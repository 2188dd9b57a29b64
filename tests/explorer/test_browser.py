"""The explorer in a real browser."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from helpers.browser import Browser
from helpers.training import NAMES
from softpoint.colors import contrast
from softpoint.demo import analyze, feature_map, intensity
from softpoint.images.decode import read_image
from softpoint.inference import load_predictor
from softpoint.viz import write_image

# The smallest contrast of each visible text with what is behind it, with the text: WCAG's AA is 4.5, or 3 if large.
CONTRAST = Path(__file__).with_name("contrast.js").read_text()
UP, RIGHT, DOWN, ENTER = "\ue013", "\ue014", "\ue015", "\ue007"
# Name, kind, place and size of each visible control, and how far to the right a slider is.
CONTROLS = """
const seen = c => c.checkVisibility() && c.getBoundingClientRect().width && !c.closest('.tab-wrapper');
return [...document.querySelectorAll('input:not([type=file]), textarea, button')].filter(seen).map(c => {
  const shown = c.role === 'combobox' ? c.closest('.wrap-inner').parentElement : c;
  const {x, y, width, height} = shown.getBoundingClientRect();
  return [c.ariaLabel || c.name || c.innerText, c.type, x, y, width, height, (c.value - c.min) / (c.max - c.min) || 0];
});
"""


@pytest.fixture
def page(browser: Browser, address: str) -> Browser:
    """The page as it is opened, and nothing asked for or complained of before."""
    browser.complaints(), browser.requests()
    browser.open(address)
    until(lambda: ready(browser))
    return browser


def ready(page: Browser) -> bool:
    """Whether the result and the last of the controls are there."""
    needed = ("#softmax .panel", "#temperature input[type=range]", "#cell input", "input[type=file]")
    return bool(page.run(f"return {list(needed)}.every(part => document.querySelector(part))"))


def until(condition: Callable[[], Any]) -> Any:
    """Wait for a condition and return its value."""
    for _ in range(300):
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError("the page did not change in 15 s")


def point(page: Browser, name: str, panel: int = 2) -> tuple[float, float] | None:
    """A point as it is drawn in one of the panels."""
    found = page.run(
        f"const g = document.querySelector('#softmax .panel:nth-of-type({panel}) g.{name}');"
        "return g && [Number(g.dataset.x), Number(g.dataset.y)]"
    )
    return found and tuple(found)


def test_the_mean_moves_with_the_slider_and_the_fit_stays(page: Browser, address: str) -> None:
    mean, slider = point(page, "expectation"), "#temperature input[type=range]"
    page.run(f"document.querySelector('{slider}').focus()")
    page.driver.switch_to.active_element.send_keys(RIGHT * 10)
    value = float(page.run(f"return document.querySelector('{slider}').value"))
    assert value == pytest.approx(1.5)
    seen = analyze(feature_map("floor"), value)
    until(lambda: point(page, "expectation") == pytest.approx(seen.expectation, abs=1e-3))
    assert point(page, "fit") == pytest.approx(seen.fit, abs=1e-3) and point(page, "expectation") != mean
    entropy = f"{seen.entropy:.4f}"
    assert entropy in page.run("return document.querySelector('#softmax').innerText")
    assert page.complaints() == []
    assert {url.split("/")[2] for url in page.requests()} == {address.split("/")[2]}


def test_a_click_tells_the_information_of_its_cell(page: Browser) -> None:
    box = page.run(
        "const svg = document.querySelector('#softmax .panel:nth-of-type(2) svg'); svg.scrollIntoView();"
        "const {x, y, width, height} = svg.getBoundingClientRect(); return [x, y, width, height]"
    )
    place = {"x": box[0] + box[2] * 10.5 / 64, "y": box[1] + box[3] * 20.5 / 64}
    for kind in ("mousePressed", "mouseReleased"):
        page.command("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)
    seen = analyze(feature_map("floor"), cell=(10, 20))
    until(lambda: f"{seen.information:.4f}" in page.run("return document.querySelector('#softmax').innerText"))
    assert page.run("return document.querySelector('#cell textarea, #cell input').value") == "10, 20"


def test_an_upload_is_shown_to_its_visitor_alone_and_a_bad_one_explained(
    page: Browser, address: str, tmp_path: Path
) -> None:
    image = np.full((90, 120, 3), 20, np.uint8)
    cv2.circle(image, (90, 30), 12, (255, 255, 255), cv2.FILLED)
    write_image(tmp_path / "disc.png", image)
    (tmp_path / "words.png").write_text("no image")
    seen = analyze(intensity(image, 64))
    choose = page.driver.find_element("css selector", "input[type=file]").send_keys
    choose(str(tmp_path / "disc.png"))
    until(lambda: point(page, "expectation") == pytest.approx(seen.expectation, abs=1e-3))
    choose(str(tmp_path / "words.png"))
    alert = until(lambda: page.run("const p = document.querySelector('#softmax [role=alert]'); return p?.innerText"))
    assert "words.png: the image cannot be decoded" in alert
    assert page.complaints() == []
    first = page.driver.current_window_handle
    page.driver.switch_to.new_window("tab")
    try:
        page.open(address)
        until(lambda: ready(page))
        page.run("document.querySelector('#kind input[value=\"my file\"]').click()")
        alert = until(lambda: page.run("return document.querySelector('#softmax [role=alert]')?.innerText"))
        assert "first" in alert
    finally:
        page.driver.close()
        page.driver.switch_to.window(first)


def show_tab(page: Browser, name: str) -> None:
    """Go to a tab and wait for it."""
    (tab,) = (t for t in page.driver.find_elements("css selector", "button[role=tab]") if t.text == name)
    tab.click()
    until(lambda: tab.get_attribute("aria-selected") == "true")


def words(page: Browser, part: str) -> str:
    return page.run(f"return document.querySelector('{part}')?.innerText ?? ''")


def press(page: Browser, part: str, keys: str) -> None:
    """Type into a control, which has the focus then."""
    page.run(f"document.querySelector('{part}').focus()")
    page.driver.switch_to.active_element.send_keys(keys)


def test_the_model_tab_shows_an_upload_at_any_temperature_and_threshold(page: Browser, run: Path) -> None:
    from softpoint.explorer.predictions import files as written
    from softpoint.explorer.predictions import read, see

    predictor = load_predictor(run / "checkpoints" / "best.ckpt", explain=True)
    path = next((run.parent / "moved").rglob("*.png"))
    seen = see(predictor, read_image(path), path.name)
    show_tab(page, "Model")
    assert "Upload" in words(page, "#model")
    page.driver.find_elements("css selector", "input[type=file]")[-1].send_keys(str(path))
    for temperature, steps in ((1.0, 0), (2.0, 10)):
        press(page, "#model-temperature input[type=range]", RIGHT * steps)
        expected = read(predictor, seen, temperature).prediction
        for name, (x, y), value in zip(NAMES, expected["keypoints"], expected["confidence"], strict=True):
            line = f"{name}\t{x:.2f}\t{y:.2f}\t{value:.3f}"
            until(lambda: line in words(page, "#model"))  # noqa: B023
    assert "What each confidence is made of" in words(page, "#model")
    alts = page.run("return [...document.querySelectorAll('#model-maps img')].map(image => image.alt)")
    assert [alt.split()[0] for alt in alts] == ["Heatmaps", "Attention"]
    kept = int((expected["confidence"] >= 0.5).sum())
    press(page, "#threshold input[type=range]", RIGHT * 50)
    until(
        lambda: page.run("return document.querySelector('#model img').alt").endswith(
            f"{kept} of 4 keypoints and their names"
        )
    )
    links = page.run("return [...document.querySelectorAll('#model a.download')].map(a => [a.download, a.href])")
    files = {name: base64.b64decode(address.split(",")[1]).decode() for name, address in links}
    assert files == written(predictor, seen, expected, 0.5)
    press(page, "#labeled input", "3")
    until(lambda: "img02.png" in words(page, "#model caption"))
    assert page.complaints() == []


def test_the_data_tab_is_filtered_by_split_keypoint_and_error(page: Browser) -> None:
    show_tab(page, "Data")
    until(lambda: "1 of 12" in words(page, "#data"))
    press(page, "#split input", DOWN + ENTER)  # any, train, val, test
    (count,) = until(lambda: re.findall(r"1 of (\d):", words(page, "#data")))
    press(page, "#number input", UP)
    until(lambda: f"2 of {count}:" in words(page, "#data"))
    assert "error (px)" not in words(page, "#data")
    page.driver.find_element("css selector", "#measure").click()
    until(lambda: "error (px)" in words(page, "#data"))
    press(page, "#least input", "9999")
    until(lambda: "no image is so" in words(page, "#data"))
    assert page.complaints() == []


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_every_text_is_readable_and_every_control_seen_and_named(
    browser: Browser, address: str, mode: str, tmp_path: Path
) -> None:
    browser.open(address, mode)
    until(lambda: ready(browser))
    for tab in browser.driver.find_elements("css selector", "button[role=tab]"):
        tab.click()
        until(lambda: tab.get_attribute("aria-selected") == "true")  # noqa: B023
        assert browser.run(CONTRAST) == []
        check_names(browser)
        check_edges(browser, tmp_path / "page.png")
    browser.open(address, mode, 420)
    until(lambda: ready(browser))
    assert browser.run("return document.documentElement.scrollWidth") <= 420


def check_names(browser: Browser) -> None:
    """Every visible control has a name, and every image a description."""
    controls = "input:not([type=file]), textarea, button"
    assert browser.run(
        f"return [...document.querySelectorAll('{controls}')].filter(c => c.checkVisibility() &&"
        " !(c.labels?.length || c.ariaLabel || c.innerText || c.title)).map(c => c.outerHTML)"
    ) == []  # fmt: skip
    images = "[...document.querySelectorAll('main img, svg[role=img]')].filter(i => i.checkVisibility())"
    assert browser.run(f"return {images}.filter(i => !(i.alt || i.ariaLabel)).map(i => i.outerHTML)") == []


def check_edges(browser: Browser, path: Path) -> None:
    """Every visible control has an edge, and every slider a track and a thumb, with WCAG's contrast of 3."""
    height = browser.run("return document.documentElement.scrollHeight")
    size = {"width": 1200, "height": max(1000, height), "deviceScaleFactor": 1, "mobile": False}
    browser.command("Emulation.setDeviceMetricsOverride", **size)
    browser.run("document.activeElement.blur()")
    browser.screenshot(path)
    pixels = read_image(path)
    for name, kind, x, y, width, tall, part in browser.run(CONTROLS):
        row, before = pixels[round(y + tall / 2)], pixels[round(y + tall / 2), round(x) - 3]
        if kind == "range":  # the thumb, and the track on the side where it is not
            thumb, track = x + 8 + part * (width - 16), x + (width - 4 if part < 0.5 else 4)
            above = pixels[round(y + tall / 2 - 14), round(thumb)]
            seen = min(contrast(tuple(row[round(place)]), tuple(above)) for place in (thumb, track))
        else:
            seen = max(contrast(tuple(row[round(x) + i]), tuple(before)) for i in range(-2, 4))
        assert seen >= 3, f"{name}: {seen:.2f}"
