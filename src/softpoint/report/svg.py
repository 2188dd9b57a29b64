"""Figures inlined into a page: text stays text, colors follow the page's mode, and nothing else is left in."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from softpoint.viz.theme import HEX

_TAGS = ("svg", "g", "defs", "clipPath", "path", "rect", "use", "text", "tspan")
_ATTRIBUTES = ("id", "d", "x", "y", "width", "height", "transform", "clip-path", "href", "style")
_PROPERTIES = re.compile(r"fill|stroke|opacity|text-anchor|font-size")
# Characters that XML has none of, such as escapes of a terminal and halves of surrogate pairs.
_ILLEGAL = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SCALE = 1.35  # CSS pixels of a point, at which text is as large as that of the page
_DECIMALS = re.compile(r"(\.\d\d)\d+")


def inline_svg(text: str, prefix: str, label: str) -> str:
    """Return an SVG of `viz.figures.svg_text` as an element of HTML with the role of an image that `label` describes.

    Its ids begin with `prefix`, which differs for each figure of a page. Colors become variables, see `style_sheet`.
    """
    root = ElementTree.fromstring(_ILLEGAL.sub("\ufffd", text))
    box = root.attrib["viewBox"]
    width = round(float(box.split()[2]) * _SCALE)
    _clean(root, prefix)
    root.attrib = {"viewBox": box, "role": "img", "aria-label": _ILLEGAL.sub("\ufffd", label), "class": "plot"}
    root.attrib["style"] = f"max-width: {width}px"
    root.tail = None
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


def figure_colors(text: str) -> set[str]:
    """Return the colors of an SVG of matplotlib, as #RRGGBB."""
    return set(HEX.findall(" ".join(re.findall(r'style="([^"]*)"', text))))


def _clean(element: ElementTree.Element, prefix: str) -> None:
    """Keep the elements and attributes of drawings alone, in place."""
    element.tag = _local(element.tag)
    kept = {_local(name): value for name, value in element.attrib.items() if _local(name) in _ATTRIBUTES}
    element.attrib = {name: _attribute(name, value, prefix) for name, value in kept.items()}
    for child in list(element):
        if _local(child.tag) in _TAGS:
            _clean(child, prefix)
        else:
            element.remove(child)


def _attribute(name: str, value: str, prefix: str) -> str:
    if name == "id":
        return prefix + value
    if name in ("href", "clip-path"):  # within the figure, or nowhere
        target = re.fullmatch(r"#(\w+)|url\(#(\w+)\)", value)
        reference = f"#{prefix}{target[1] or target[2]}" if target else "#"
        return reference if name == "href" else f"url({reference})"
    if name == "style":
        parts = [part.strip() for part in value.split(";")]
        return HEX.sub(lambda m: f"var(--c-{m[0][1:]})", "; ".join(p for p in parts if _PROPERTIES.match(p)))
    return _DECIMALS.sub(r"\1", value)


def _local(name: str) -> str:
    return name.rpartition("}")[2]
