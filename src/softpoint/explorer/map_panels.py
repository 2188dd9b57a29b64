"""Panels that show a map in a page: its cells as an image, and points and ellipses in the coordinates of its cells."""

from __future__ import annotations

import numpy as np

from softpoint.demo.analysis import MapAnalysis
from softpoint.demo.panels import ELLIPSE, MARKS, ellipse
from softpoint.explorer.html import image_address, text
from softpoint.viz import colorize
from softpoint.viz.image_ops import resize

_LARGEST = 256  # cells of a side that are drawn one by one; a larger map is shown smaller
Box = tuple[float, float, float, float]  # left, top, width and height in cells


def logits_panel(
    logits: np.ndarray, title: str, limits: tuple[float, float] | None = None, cell: tuple[int, int] | None = None
) -> str:
    """Return a map (H, W) in gray, white at its largest value, or between `limits`; a frame is about `cell` (x, y)."""
    low, high = limits or (float(logits.min()), float(logits.max()))
    unit = ((_small(logits) - low) / max(high - low, 1e-12)).clip(0, 1)
    gray = np.repeat(np.round(255 * unit).astype(np.uint8)[..., None], 3, axis=2)
    return _panel(gray, logits.shape, title, f"{title}: values from {low:.3g} to {high:.3g}", _frame(cell))


def softmax_panel(
    analysis: MapAnalysis, title: str, marks: tuple[str, ...] = tuple(MARKS), cell: tuple[int, int] | None = None
) -> str:
    """Return a softmax with its points and the ellipse of two sigma; a frame is about `cell` (x, y)."""
    points = "; ".join(f"{MARKS[name][0]} at {place(getattr(analysis, name))}" for name in marks)
    drawn = _drawn(analysis, marks) + _frame(cell)
    return _panel(_colors(analysis), analysis.softmax.shape, title, f"{title}: {points}", drawn)


def window_panel(analysis: MapAnalysis, title: str) -> str:
    """Return the window about the largest cell, and a margin of a cell or more."""
    x, y = analysis.argmax
    side, margin = analysis.window, max(1, analysis.window // 5)
    view = (x - side / 2 - margin, y - side / 2 - margin, side + 2.0 * margin, side + 2.0 * margin)
    frame = f'<rect class="window" x="{x - side / 2:g}" y="{y - side / 2:g}" width="{side}" height="{side}"/>'
    described = f"{title}: soft-argmax at {place(analysis.fit)}, largest cell at {place(analysis.argmax)}"
    marks = _drawn(analysis, tuple(MARKS), view[2])
    return _panel(_colors(analysis), analysis.softmax.shape, title, described, frame + marks, view)


def legend() -> str:
    """Return the names of the marks beside them."""
    rows = [(_mark(name, 8, 8, 200), MARKS[name][0]) for name in MARKS]
    color = MARKS["expectation"][3]
    rows.append((f'<ellipse class="outline" cx="8" cy="8" rx="7" ry="4"/><ellipse cx="8" cy="8" rx="7" ry="4" '
                 f'fill="none" stroke="{color}" stroke-width="1.2"/>', ELLIPSE))  # fmt: skip
    entries = (
        f'<li><svg viewBox="0 0 16 16" aria-hidden="true"><rect width="16" height="16" fill="#444"/>{mark}</svg>'
        f"{text(name)}</li>"
        for mark, name in rows
    )
    return f'<ul class="legend">{"".join(entries)}</ul>'


def place(point: tuple[float, float]) -> str:
    """Return a point in words.

    >>> place((1.0, 2.346))
    '(1.00, 2.35)'
    """
    return f"({point[0]:.2f}, {point[1]:.2f})"


def _panel(
    colors: np.ndarray, size: tuple[int, ...], title: str, described: str, marks: str = "", view: Box | None = None
) -> str:
    height, width = size
    left, top, across, down = view or (-0.5, -0.5, width, height)
    return (
        f'<figure class="panel"><figcaption>{text(title)}</figcaption>'
        f'<svg viewBox="{left:g} {top:g} {across:g} {down:g}" role="img" aria-label="{text(described)}">'
        f'<image href="{image_address(colors)}" x="-0.5" y="-0.5" width="{width}" height="{height}" '
        f'preserveAspectRatio="none"/>{marks}</svg></figure>'
    )


def _colors(analysis: MapAnalysis) -> np.ndarray:
    return colorize(_small(analysis.softmax))


def _small(values: np.ndarray) -> np.ndarray:
    if max(values.shape) <= _LARGEST:
        return values
    height, width = (max(1, round(length * _LARGEST / max(values.shape))) for length in values.shape)
    return resize(values, (height, width))


def _frame(cell: tuple[int, int] | None) -> str:
    """Return a frame about a cell, a cell away from it."""
    return "" if cell is None else f'<rect class="cell" x="{cell[0] - 1.5}" y="{cell[1] - 1.5}" width="3" height="3"/>'


def _drawn(analysis: MapAnalysis, marks: tuple[str, ...], extent: float | None = None) -> str:
    """Return the ellipse and the points, in sizes for a view of `extent` cells."""
    extent = extent or float(max(analysis.softmax.shape))
    outline = " ".join(f"{x:.3f},{y:.3f}" for x, y in ellipse(analysis).T)
    color = MARKS["expectation"][3]
    lines = (
        f'<polygon points="{outline}" fill="none" stroke="{stroke}" stroke-width="{width * extent:.4g}"/>'
        for stroke, width in (("black", 0.016), (color, 0.007))
    )
    places = {name: getattr(analysis, name) for name in marks}
    return "".join(lines) + "".join(_mark(name, x, y, extent) for name, (x, y) in places.items())


def _mark(name: str, x: float, y: float, extent: float) -> str:
    """Return a square, a cross or a disc, in its color on a black rim, as large as a view of `extent` cells needs."""
    _, shape, size, color = MARKS[name]
    half = size * extent / 500
    drawn = {
        "s": f'<rect x="{x - half:.3f}" y="{y - half:.3f}" width="{2 * half:.3f}" height="{2 * half:.3f}"',
        "x": f'<path d="M{x - half:.3f} {y - half:.3f}l{2 * half:.3f} {2 * half:.3f}m0 {-2 * half:.3f}'
        f'l{-2 * half:.3f} {2 * half:.3f}"',
        "o": f'<circle cx="{x:.3f}" cy="{y:.3f}" r="{half:.3f}"',
    }[shape]
    fill = color if shape == "o" else "none"
    strokes = (("black", 0.02), (color, 0.009))
    layers = "".join(f'{drawn} fill="{fill}" stroke="{c}" stroke-width="{w * extent:.4g}"/>' for c, w in strokes)
    return f'<g class="{name}" data-x="{x:.4f}" data-y="{y:.4f}">{layers}</g>'
