"""Reads pages of reports."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

LIMIT = 15_000_000  # bytes of a page
HOSTILE = ("<script>alert(1)</script>", '"a\' onload="x()', "$x^2$ & {{ 7*7 }}", "\x1b[31m\u202e\ud800</svg>")


class Page(HTMLParser):
    """What a page holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.numbers: list[tuple[float, str]] = []  # exact, and as text
        self.text = ""
        self._number: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._number = dict(attrs)["value"] if tag == "data" else None

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._number is not None:
            self.numbers.append((float(self._number), data))
            self._number = None

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def numbers_in(content: Any) -> Iterator[float]:
    if isinstance(content, dict | list):
        for value in content.values() if isinstance(content, dict) else content:
            yield from numbers_in(value)
    elif isinstance(content, int | float):
        yield float(content)


def check_closed(text: str) -> Page:
    """Assert that a page needs nothing from outside, runs nothing and has every target of its references once."""
    page = Page(text)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        assert tag not in {"script", "iframe", "object", "embed", "form", "base", "foreignobject", "animate", "set"}
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "action", "poster", "srcset"):
            target = attributes.get(name)
            assert target is None or target.startswith("data:") or target.removeprefix("#") in ids, (tag, target)
        for target in re.findall(r"url\(([^)]*)\)", " ".join(str(value) for value in attributes.values())):
            assert target.removeprefix("#") in ids
    assert "://" not in re.sub(r"data:image/[^\"]*", "", text) and "@import" not in text
    (policy,) = [meta["content"] for meta in page.named("meta") if "http-equiv" in meta]
    assert policy is not None and policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
    assert len(text.encode()) < LIMIT
    return page
