"""Pieces of a page as HTML. All text in them is escaped, and images are inside the page: nothing is fetched."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from softpoint.viz.image_ops import rgb_view

# Components fill in templates with these, also in a text that a stranger chose, such as a file's name.
_TEMPLATES = str.maketrans({"{": "&#123;", "}": "&#125;", "$": "&#36;", "`": "&#96;"})


def text(content: object) -> str:
    """Return a text as HTML, without markup of its own.

    >>> text("<b>${x}")
    '&lt;b&gt;&#36;&#123;x&#125;'
    """
    readable = str(content).encode("utf-8", "replace").decode()
    return html.escape(readable).translate(_TEMPLATES)


def image_address(image: np.ndarray, kind: str = "png") -> str:
    """Return an image uint8 (H, W, 3) RGB as an address that holds all of it; `kind` is png or jpg.

    >>> image_address(np.zeros((1, 1, 3), np.uint8))[:30]
    'data:image/png;base64,iVBORw0K'
    """
    settings = [cv2.IMWRITE_PNG_COMPRESSION, 1] if kind == "png" else [cv2.IMWRITE_JPEG_QUALITY, 90]
    _, data = cv2.imencode(f".{kind}", rgb_view(image)[..., ::-1], settings)
    return f"data:image/{'png' if kind == 'png' else 'jpeg'};base64,{base64.b64encode(data.tobytes()).decode()}"


def drawing(image: np.ndarray, description: str) -> str:
    """Return an image uint8 (H, W, 3) with a description for those who do not see it."""
    return f'<img class="drawing" src="{image_address(image, "jpg")}" alt="{text(description)}">'


def table(rows: Iterable[Sequence[object]], caption: str = "", colors: Sequence[str] | None = None) -> str:
    """Return a table whose first row is its header; `colors` put a square before each further row.

    >>> table([("point", "x"), ("argmax", 3)])
    '<table><tr><th>point</th><th>x</th></tr><tr><th>argmax</th><td>3</td></tr></table>'
    """
    header, *others = rows
    lines = ["".join(f"<th>{text(cell)}</th>" for cell in header)]
    for i, (first, *cells) in enumerate(others):
        square = f'<span class="square" style="background:{colors[i]}"></span>' if colors is not None else ""
        lines.append(f"<th>{square}{text(first)}</th>" + "".join(f"<td>{text(cell)}</td>" for cell in cells))
    title = f"<caption>{text(caption)}</caption>" if caption else ""
    return f"<table>{title}{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def code(lines: str, name: str) -> str:
    """Return lines of code, which the keyboard reaches, because it may have to scroll them."""
    return f'<pre class="code" tabindex="0" role="region" aria-label="{text(name)}"><code>{text(lines)}</code></pre>'


def problem(error: object) -> str:
    """Return an error, which a screen reader speaks at once."""
    return f'<p class="problem" role="alert">{text(error)}</p>'


def download(name: str, content: str, kind: str, label: str) -> str:
    """Return a link that saves a text as a file."""
    data = base64.b64encode(content.encode()).decode()
    return f'<a class="download" download="{text(name)}" href="data:{kind};base64,{data}">{text(label)}</a>'
