"""What the tab of attention shows, without a browser."""

from __future__ import annotations

import html
import re

import pytest

pytest.importorskip("gradio", reason="exploring needs gradio: pip install 'softpoint[explore]'")

from softpoint.explorer.attention_tab import TENSOR, show
from softpoint.explorer.maps import SAMPLE, UPLOAD


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": TENSOR, "seed": 4}, {"kind": SAMPLE, "gate": "hardsigmoid", "kernels": "5", "dilation": 3},
        {"kind": "floor", "kernels": "3 9", "dilation": 0, "router": 2, "size": 24},
    ],
)  # fmt: skip
def test_the_code_computes_the_masks_and_weights_that_are_shown(settings: dict) -> None:
    page = show(temperature=1.7, **settings)
    code = html.unescape(re.search(r"<code>(.*)</code>", page, re.DOTALL)[1])  # type: ignore[index]
    names: dict = {}
    exec(code, names)
    mask = names["mask"].detach()
    numbers = [value.item() for value in (mask.mean(), mask.std(correction=0), mask.min(), mask.max())]
    (row,) = re.findall(r"<th>T = 1.7</th>(.*?)</tr>", page)
    assert [float(n) for n in re.findall(r"<td>(.*?)</td>", row)] == pytest.approx(numbers, abs=1.1e-5)
    for name, weight in zip(names["names"], names["weights"][0].tolist(), strict=True):
        assert f"<th>{name}</th><td>{weight:.5f}</td>" in page
    assert page.count("<figure") == 2 + len(names["names"]) + 1 + 5


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"kind": UPLOAD}, "upload an image"), ({"kernels": "3;7"}, "write their sides as 3, 7"),
        ({"kernels": "", "dilation": 0}, "at least one branch"), ({"kernels": "33"}, "sides of up to 31"),
        ({"temperature": 0.0}, "temperature must be positive"), ({"router": 0}, "router_hidden must be at least 1"),
        ({"router": 10**6}, "width is up to 64, got"), ({"gate": "relu"}, "gate &#x27;relu&#x27; is unknown"),
        ({"kind": "floor", "size": 5000}, "is no size of a map"),
        ({"kind": TENSOR, "size": 5000}, "up to 65536 cells"),
    ],
)  # fmt: skip
def test_a_setting_that_is_not_possible_is_explained(settings: dict, reason: str) -> None:
    page = show(**settings)
    assert page.startswith('<p class="problem" role="alert">') and reason in page
