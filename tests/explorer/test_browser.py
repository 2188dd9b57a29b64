"""The explorer in a real browser."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from helpers.browser import Browser
from softpoint.demo import analyze, feature_map, intensity
from softpoint.viz import write_image

# The smallest contrast of each visible text with what is behind it, with the text: WCAG's AA is 4.5, or 3 if large.
CONTRAST = Path(__file__).with_name("contrast.js").read_text()
LEFT, RIGHT = "\ue012", "\ue014"


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


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_every_text_is_readable_and_every_control_named(browser: Browser, address: str, mode: str) -> None:
    browser.open(address, mode)
    until(lambda: ready(browser))
    for tab in browser.driver.find_elements("css selector", "button[role=tab]"):
        tab.click()
        until(lambda: tab.get_attribute("aria-selected") == "true")  # noqa: B023
        assert browser.run(CONTRAST) == []
        check_names(browser)
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
