"""Panels that show a map: logits in gray, a softmax in color, points and covariance on it."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from softpoint.demo.analysis import MapAnalysis

# Label, marker, size and color of each point, which also differ in shape; the smaller are drawn on the larger.
MARKS = {
    "argmax": ("argmax", "s", 15.0, "#009e73"),
    "fit": ("soft-argmax in a window (Gaussian fit)", "x", 11.0, "white"),
    "expectation": ("soft-argmax of the whole map (mean)", "o", 5.0, "#56b4e9"),
}
ELLIPSE = "two-sigma ellipse of the covariance"
_OUTLINE = [withStroke(linewidth=3.4, foreground="black")]

Limits = tuple[float | None, float | None]


class Drawing(NamedTuple):
    """A figure and a sentence that describes it to those who do not see it."""

    figure: Figure
    text: str


def show_logits(axes: Axes, logits: np.ndarray, bar: bool = False, limits: Limits = (None, None)) -> None:
    """Draw logits (H, W) in gray, white the highest, with a color bar where `bar` is true."""
    _show(axes, logits, "gray", limits, bar)


def show_softmax(axes: Axes, analysis: MapAnalysis, marks: Collection[str] = MARKS, bar: bool = False) -> None:
    """Draw a softmax from black at 0 to pale yellow at its maximum, with points and the ellipse of two sigma."""
    _show(axes, analysis.softmax, "inferno", (0.0, None), bar)
    axes.plot(*ellipse(analysis), color=MARKS["expectation"][3], lw=1.2, path_effects=_OUTLINE, label=ELLIPSE)
    for name in MARKS:
        if name in marks:
            label, marker, size, color = MARKS[name]
            (line,) = axes.plot(*getattr(analysis, name), marker, color=color, ms=size, mew=2, label=label, zorder=4)
            line.set(markerfacecolor="none" if marker == "s" else color, path_effects=_OUTLINE)


def ellipse(analysis: MapAnalysis, sigmas: float = 2.0) -> np.ndarray:
    """Return the outline (2, 73) of the ellipse of the covariance about the expectation."""
    angle = np.linspace(0, 2 * np.pi, 73)
    values, vectors = np.linalg.eigh(analysis.covariance)
    circle = sigmas * np.stack((np.cos(angle), np.sin(angle)))
    outline: np.ndarray = np.array(analysis.expectation)[:, None] + vectors * np.sqrt(values.clip(0)) @ circle
    return outline


def name_marks(axes: Axes) -> None:
    """Name the marks of one panel below the figure."""
    handles, labels = axes.get_legend_handles_labels()
    axes.figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))


def bare(axes: Axes) -> None:
    """Leave the ticks of a small panel out."""
    axes.set(xticks=[], yticks=[])


def _show(axes: Axes, values: np.ndarray, colors: str, limits: Limits, bar: bool) -> None:
    height, width = values.shape
    image = axes.imshow(values, cmap=colors, vmin=limits[0], vmax=limits[1], interpolation="nearest")
    axes.grid(False)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.spines[:].set_visible(False)
    if bar:
        axes.figure.colorbar(image, cax=axes.inset_axes((1.03, 0, 0.05, 1)))
