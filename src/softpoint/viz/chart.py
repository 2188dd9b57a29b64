"""Charts of lines and points, as arrays."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike

from softpoint.viz.axis import Axis, fit_axis
from softpoint.viz.colors import palette
from softpoint.viz.strokes import band, bars, dots, stroke, to_pixels
from softpoint.viz.text import draw_text, fit_text, text_size

Series = tuple[ArrayLike, ArrayLike]

_PAPER, _INK, _GRAY, _GRID = 255, (35, 35, 35), (120, 120, 120), (228, 228, 228)
# The safe colors in the order in which they show on white paper; the yellow one is left out.
_ORDER = (4, 5, 2, 6, 0, 1)
_LEGEND = 30  # lines at most


def line_chart(
    series: Mapping[str, Series],
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    *,
    bands: Mapping[str, Series] | None = None,
    errors: Mapping[str, Series] | None = None,
    scatter: Collection[str] = (),
    dashed: Collection[str] = (),
    log_x: bool = False,
    log_y: bool = False,
    x_limits: tuple[float, float] | None = None,
    y_limits: tuple[float, float] | None = None,
    x_names: Sequence[str] = (),
    size: tuple[int, int] = (600, 960),
) -> np.ndarray:
    """A chart uint8 (H, W, 3) of `series`, each a name and its x and y of equal length.

    A series is a line, dots where its name is in `scatter`, and gray and dashed where it is in `dashed`, for
    what others are compared with. `bands` gives the (low, high) of a name's shade, `errors` those of its bars,
    each as long as its x. `x_names` are written at x = 0, 1, 2, ... in place of numbers. A line is broken where
    a value is not finite. Raises ValueError for lengths that differ, and for a name without a series.

    >>> line_chart({"nose": ([0, 1, 2], [0.0, 0.5, 1.0])}, "errors", "pixels", size=(300, 400)).shape
    (300, 400, 3)
    """
    lines = {name: _pair(name, xy) for name, xy in series.items()}
    spans = [_spans(which, given or {}, lines) for which, given in (("bands", bands), ("errors", errors))]
    _check_known({*scatter, *dashed}, lines)
    tall = [y for _, y in lines.values()] + [y for span in spans for pair in span.values() for y in pair]
    x = fit_axis([x for x, _ in lines.values()], log=log_x, limits=x_limits, names=x_names, room=0.02)
    y = fit_axis(tall, log=log_y, limits=y_limits)
    colors = dict(zip(lines, _colors(lines, dashed), strict=True))
    canvas = np.full((*size, 3), _PAPER, np.uint8)
    box = _frame(canvas, title, x_label, y_label, x, y, _legend_width(lines, size))
    plot = canvas[box[1] : box[3], box[0] : box[2]].copy()
    for name, (low, high) in spans[0].items():
        band(plot, x.place(lines[name][0]), y.place(low), y.place(high), colors[name])
    for name, (low, high) in spans[1].items():
        bars(plot, x.place(lines[name][0]), y.place(low), y.place(high), colors[name])
    for name, (across, up) in lines.items():
        points = to_pixels(plot, x.place(across), y.place(up))
        if name in scatter:
            dots(plot, points, colors[name])
        else:
            stroke(plot, points, colors[name], name in dashed)
    canvas[box[1] : box[3], box[0] : box[2]] = plot
    cv2.rectangle(canvas, box[:2], (box[2] - 1, box[3] - 1), _GRAY, 1)
    if len(lines) > 1:
        _legend(canvas, box, colors, scatter, dashed)
    return canvas


def _pair(name: str, xy: Series) -> tuple[np.ndarray, np.ndarray]:
    x, y = (np.asarray(values, float) for values in xy)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"series {name!r} has x of shape {x.shape} and y of shape {y.shape}; give as many of each")
    return x, y


def _spans(
    which: str, given: Mapping[str, Series], lines: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    _check_known(given, lines)
    spans = {name: _pair(name, span) for name, span in given.items()}
    for name, (low, _) in spans.items():
        if low.shape != lines[name][0].shape:
            raise ValueError(f"{which} of {name!r} has {len(low)} values, but its x has {len(lines[name][0])}")
    return spans


def _check_known(names: Collection[str], lines: Collection[str]) -> None:
    if unknown := sorted(set(names) - set(lines)):
        raise ValueError(f"there is no series {unknown[0]!r} in the chart; it has {', '.join(lines) or 'none'}")


def _colors(names: Collection[str], dashed: Collection[str]) -> list[tuple[int, ...]]:
    """A color each, dark enough for white paper; what is dashed is gray and uses none up."""
    ranked = palette(max(len(names), 1) + 7)
    ranked = np.concatenate([ranked[list(_ORDER)], ranked[7:]]).astype(float)
    light = ranked @ (0.299, 0.587, 0.114)
    ranked *= np.minimum(1, 165 / light)[:, None]
    free = iter(ranked.round().astype(int).tolist())
    return [_GRAY if name in dashed else tuple(next(free)) for name in names]


def _frame(
    canvas: np.ndarray, title: str, x_label: str, y_label: str, x: Axis, y: Axis, legend: int
) -> tuple[int, int, int, int]:
    """Everything about the plot: title, grid, numbers, labels; its left, top, right and bottom."""
    height, width = canvas.shape[:2]
    small, big = _letters(canvas)
    line = text_size("Ag", small)[1]
    written = [text for _, text in y.ticks()]
    left = 14 + (line + 6) * bool(y_label) + max((text_size(text, small)[0] for text in written), default=0)
    top = 12 + (text_size("Ag", big)[1] + 8) * bool(title)
    right, bottom = width - 22 - legend, height - 14 - line - (line + 4) * bool(x_label)
    box = left, top, max(right, left + 20), max(bottom, top + 20)
    draw_text(canvas, fit_text(title, width - left - 8, big), (left - 2, 8), big, _INK)
    _x_ticks(canvas, box, x, small)
    _y_ticks(canvas, box, y, small)
    words = fit_text(x_label, width, small)
    draw_text(canvas, words, ((box[0] + box[2] - text_size(words, small)[0]) / 2, height - line - 6), small, _INK)
    _upright(canvas, y_label, (6, (box[1] + box[3]) / 2), small)
    return box


def _x_ticks(canvas: np.ndarray, box: tuple[int, int, int, int], axis: Axis, small: float) -> None:
    ticks = axis.ticks()
    room = (box[2] - box[0]) / max(len(axis.names), 1)
    for value, text in ticks:
        at = box[0] + float(axis.place(np.array([value]))[0]) * (box[2] - box[0] - 1)
        if not axis.names:
            cv2.line(canvas, (round(at), box[1]), (round(at), box[3] - 1), _GRID, 1)
        words = fit_text(text, room, small) if axis.names else text
        draw_text(canvas, words, (max(0.0, at - text_size(words, small)[0] / 2), box[3] + 5), small, _INK)


def _y_ticks(canvas: np.ndarray, box: tuple[int, int, int, int], axis: Axis, small: float) -> None:
    for value, text in axis.ticks():
        at = box[3] - 1 - float(axis.place(np.array([value]))[0]) * (box[3] - box[1] - 1)
        cv2.line(canvas, (box[0], round(at)), (box[2] - 1, round(at)), _GRID, 1)
        wide, tall = text_size(text, small)
        draw_text(canvas, text, (box[0] - wide - 5, max(0.0, at - tall / 2)), small, _INK)


def _upright(canvas: np.ndarray, text: str, place: tuple[float, float], height: float) -> None:
    """Words from bottom to top, the middle of their left side at `place`."""
    text = fit_text(text, canvas.shape[0] - 8, height)
    if text:
        wide, tall = text_size(text, height)
        tile = np.full((tall, wide, 3), _PAPER, np.uint8)
        draw_text(tile, text, (0, 0), height, _INK)
        tile, top, left = np.rot90(tile), max(0, round(place[1] - wide / 2)), round(place[0])
        canvas[top : top + tile.shape[0], left : left + tile.shape[1]] = tile[: canvas.shape[0] - top]


def _letters(canvas: np.ndarray) -> tuple[float, float]:
    """Pixels of a capital letter, in the chart and in its title."""
    small = float(np.clip(0.012 * canvas.shape[1], 8, 20))
    return small, 1.25 * small


def _legend_width(lines: Collection[str], size: tuple[int, int]) -> int:
    small = float(np.clip(0.012 * size[1], 8, 20))
    if len(lines) < 2:
        return 0
    return round(min(0.3 * size[1], max(text_size(name, small)[0] for name in lines) + 3.5 * small))


def _legend(
    canvas: np.ndarray,
    box: tuple[int, int, int, int],
    colors: Mapping[str, Sequence[int]],
    scatter: Collection[str],
    dashed: Collection[str],
) -> None:
    small, _ = _letters(canvas)
    line = min(text_size("Ag", small)[1] + 4, (box[3] - box[1]) // min(len(colors), _LEGEND))
    left, names = box[2] + 10, list(colors)
    shown = names if len(names) <= _LEGEND else names[: _LEGEND - 1]
    for i, name in enumerate(shown):
        at = box[1] + (i + 0.5) * line
        ends = np.array([(left, at), (left + 2 * small, at)])
        if name in scatter:
            dots(canvas, ends.mean(0, keepdims=True), colors[name])
        else:
            stroke(canvas, ends, colors[name], name in dashed)
        words = fit_text(name, canvas.shape[1] - left - 2.5 * small - 4, small)
        draw_text(canvas, words, (left + 2.5 * small, at - text_size("Ag", small)[1] / 2), small, _INK)
    if len(shown) < len(names):
        at = box[1] + (len(shown)) * line
        draw_text(canvas, f"and {len(names) - len(shown)} more", (left, at), small, _GRAY)
