"""Figures of spatial softmax, each with a sentence that describes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from softpoint.demo.analysis import MapAnalysis, analyze
from softpoint.demo.panels import MARKS, Drawing, bare, name_marks, show_logits, show_softmax
from softpoint.viz.figures import new_figure, styled

MAX_CHANNELS, MAX_SAMPLES = 6, 4  # that a figure shows


@styled
def softmax_figure(analysis: MapAnalysis, name: str) -> Drawing:
    """Return a map, its softmax with points and ellipse, and the window about the largest cell."""
    figure, (left, middle, right) = new_figure(3, (11, 3.9))
    show_logits(left, analysis.logits, bar=True)
    left.set(title=f"{name}: logits", xlabel="x (cells)", ylabel="y (cells)")
    show_softmax(middle, analysis, bar=True)
    middle.set(title=f"spatial softmax, T = {analysis.temperature:g}", xlabel="x (cells)")
    show_softmax(right, analysis)
    x, y = analysis.argmax
    half = analysis.window / 2
    corners = np.array([[-half, half, half, -half, -half], [-half, -half, half, half, -half]])
    right.plot(x + corners[0], y + corners[1], color="white", ls="--", lw=1)
    right.set(xlim=(x - half - 1, x + half + 1), ylim=(y + half + 1, y - half - 1))
    right.set(title=f"window of {analysis.window} x {analysis.window} cells", xlabel="x (cells)")
    name_marks(middle)
    points = "; ".join(f"{label} at {_text(getattr(analysis, key), 2)}" for key, (label, *_) in MARKS.items())
    height, width = analysis.logits.shape
    text = (
        f"Feature map ({name}) of {height} x {width} cells beside its spatial softmax at temperature "
        f"{analysis.temperature:g}: {points}; entropy {analysis.entropy:.2f} bits."
    )
    return Drawing(figure, text)


@styled
def temperature_figure(analyses: Sequence[MapAnalysis], name: str) -> Drawing:
    """Return a map, and its softmax at several temperatures with points and ellipse."""
    figure, panels = new_figure(1 + len(analyses), (2.1 * (1 + len(analyses)), 3.2))
    _show_map(panels[0], analyses[0].logits, name)
    for axes, analysis in zip(panels[1:], analyses, strict=True):
        _show_points(axes, analysis)
        axes.set_title(f"T = {analysis.temperature:g}")
    name_marks(panels[1])
    means = ", ".join(f"{_text(a.expectation)} at T = {a.temperature:g}" for a in analyses)
    fits = list(dict.fromkeys(_text(a.fit) for a in analyses))
    text = (
        f"Spatial softmax of a feature map ({name}) at {len(analyses)} temperatures. The soft-argmax of the whole map "
        f"is {means}; that in a window is {' or '.join(fits)}."
    )
    return Drawing(figure, text)


@styled
def kinds_figure(maps: Mapping[str, np.ndarray], temperatures: Sequence[float], window: int = 9) -> Drawing:
    """Return a grid: a row per map (H, W), which is its first panel, and its softmax at each temperature."""
    figure, panels = new_figure(1 + len(temperatures), (2.2 * (1 + len(temperatures)), 2.55 * len(maps)), len(maps))
    for row, (name, logits) in enumerate(maps.items()):
        first, *others = panels[row * (1 + len(temperatures)) :]
        _show_map(first, logits, name)
        for temperature, axes in zip(temperatures, others, strict=False):
            _show_points(axes, analyze(logits, temperature, window))
            axes.set_title(f"T = {temperature:g}" if row == 0 else "")
    name_marks(panels[1])
    listed = ", ".join(f"{temperature:g}" for temperature in temperatures)
    text = (
        f"Grid of {len(maps)} feature maps ({', '.join(maps)}) by the temperatures {listed}: the softmax of "
        "each spreads as the temperature rises."
    )
    return Drawing(figure, text)


@styled
def channels_figure(maps: np.ndarray, temperature: float = 1.0, window: int = 9) -> Drawing:
    """Return a column per channel of maps (H, W, C): its logits above its softmax."""
    count = min(maps.shape[-1], MAX_CHANNELS)
    figure, panels = new_figure(count, (max(2.4 * count, 6.5), 5.6), 2)
    for channel in range(count):
        analysis = analyze(maps[..., channel], temperature, window)
        above, below = panels[channel], panels[channel + count]
        show_logits(above, analysis.logits)
        above.set_title(f"channel {channel}")
        bare(above)
        _show_points(below, analysis)
    name_marks(panels[count])
    text = (
        f"{count} of {maps.shape[-1]} channels of a map of shape {maps.shape}, each with its own spatial softmax at "
        f"temperature {temperature:g} below."
    )
    return Drawing(figure, text)


@styled
def batch_figure(maps: np.ndarray, temperature: float = 1.0, window: int = 9) -> Drawing:
    """Return a grid of the softmax of maps (N, H, W, C): a row per sample and a column per channel."""
    rows, columns = min(len(maps), MAX_SAMPLES), min(maps.shape[-1], MAX_CHANNELS)
    figure, panels = new_figure(columns, (max(2.4 * columns, 6.5), 2.7 * rows), rows)
    for i, axes in enumerate(panels):
        row, channel = divmod(i, columns)
        analysis = analyze(maps[row, ..., channel], temperature, window)
        _show_points(axes, analysis)
        axes.set_title(f"channel {channel}" if row == 0 else "")
        axes.set_ylabel(f"sample {row}" if channel == 0 else "")
    name_marks(panels[0])
    text = (
        f"Spatial softmax at temperature {temperature:g} of {rows} of {len(maps)} samples by {columns} of "
        f"{maps.shape[-1]} channels of a batch of shape {maps.shape}: one point per sample and channel."
    )
    return Drawing(figure, text)


def _show_map(axes: Axes, logits: np.ndarray, name: str) -> None:
    show_logits(axes, logits)
    axes.set(title=name, xlabel=f"logits {logits.min():.1f} to {logits.max():.1f}")
    bare(axes)


def _show_points(axes: Axes, analysis: MapAnalysis) -> None:
    """Draw a softmax in a small panel, and its mean, entropy and maximum below."""
    show_softmax(axes, analysis, ("expectation", "fit"))
    below = f"mean {_text(analysis.expectation)}\nentropy {analysis.entropy:.1f} bits\nmax {analysis.softmax.max():.2g}"
    axes.set_xlabel(below, fontsize=9)
    bare(axes)


def _text(point: tuple[float, float], digits: int = 1) -> str:
    return f"({point[0]:.{digits}f}, {point[1]:.{digits}f})"
