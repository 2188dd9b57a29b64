"""What the tab of spatial softmax shows, without a browser."""

from __future__ import annotations

import html
import re

import numpy as np
import pytest

pytest.importorskip("gradio", reason="exploring needs gradio: pip install 'softpoint[explore]'")

from softpoint.demo import KINDS, analyze, feature_map
from softpoint.explorer.html import text
from softpoint.explorer.maps import SAMPLE, UPLOAD, chosen_map
from softpoint.explorer.softmax_tab import show
from softpoint.explorer.uploads import UploadedMaps


def points(page: str) -> dict[str, tuple[float, float]]:
    """The points of the panel of the softmax."""
    panel = page.split("</figure>")[1]
    found = re.findall(r'<g class="(\w+)" data-x="([^"]+)" data-y="([^"]+)">', panel)
    return {name: (float(x), float(y)) for name, x, y in found}


@pytest.mark.parametrize("kind", [*KINDS, SAMPLE])
def test_the_points_are_those_of_the_map(kind: str) -> None:
    page = show(kind=kind, temperature=0.7, window=5, size=24, seed=3, cell="4, 2")
    seen = analyze(chosen_map(kind, None, 24, 3, 0, 0).logits, 0.7, 5, (4, 2))
    assert points(page) == {
        name: pytest.approx(getattr(seen, name), abs=1e-4) for name in ("argmax", "fit", "expectation")
    }
    for number in (f"{seen.entropy:.4f}", f"{seen.information:.4f}", f"{seen.logit_statistics.std:.6g}"):
        assert f"<td>{number}</td>" in page
    assert page.count("<figure") == 8 == page.count('role="img"') and 'aria-label=""' not in page


@pytest.mark.parametrize("kind", ["random", SAMPLE])
def test_the_code_computes_what_is_shown(kind: str) -> None:
    page = show(kind=kind, temperature=2, window=7, size=16, seed=5, cell="3, 9")
    code = html.unescape(re.search(r"<code>(.*)</code>", page, re.DOTALL)[1])  # type: ignore[index]
    names: dict = {}
    exec(code, names)
    shown = points(page)
    for name in ("expectation", "fit", "argmax"):
        assert shown[name] == pytest.approx(tuple(names[name].tolist()), abs=1e-4)
    assert f"<td>{names['bits'].item():.4f}</td>" in page and f"<td>{names['information'].item():.4f}</td>" in page


def test_a_name_is_text_wherever_it_is_shown() -> None:
    name = "<img src=x onerror=alert(1)>${{x}}`.npy"
    page = show(UploadedMaps(name, feature_map("floor", (8, 9))[None, ..., None]), UPLOAD)
    assert "<img" not in page and not set("{}$`") & set(page) and text(name) in page


def test_a_large_map_is_drawn_small_with_its_points_in_place() -> None:
    maps = np.zeros((1, 700, 900, 1), np.float32)
    maps[0, 650, 40, 0] = 30
    page = show(UploadedMaps("a.npy", maps), UPLOAD)
    assert points(page)["argmax"] == (40, 650) and len(page) < 300_000 and 'viewBox="-0.5 -0.5 900 700"' in page


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"kind": UPLOAD}, "upload an image or a .npy file first"), ({"cell": "1;2"}, "is no cell"),
        ({"cell": "64, 0"}, "is not on a map of 64 columns"), ({"temperature": -1.0}, "temperature must be positive"),
        ({"window": 4}, "odd number"), ({"size": 0}, "is no size of a map"),
    ],
)  # fmt: skip
def test_a_setting_that_is_not_possible_is_explained(settings: dict, reason: str) -> None:
    page = show(**settings)
    assert page.startswith('<p class="problem" role="alert">') and reason in page
