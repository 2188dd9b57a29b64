"""The style of charts, and their files: matplotlib figures, drawn without a display."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from softpoint.paths import atomic_write

# Okabe and Ito's colors, distinct for color-blind readers, from the darkest; sky blue and yellow are too pale for
# lines on white.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
REFERENCE: dict[str, Any] = {
    "color": "0.45",
    "linestyle": "--",
    "linewidth": 1.2,
}  # a line that others are compared with
STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "0.5",
    "axes.grid": True,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "grid.color": "0.9",
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "svg.hashsalt": "softpoint",  # equal data make equal files
    "text.parse_math": False,  # names of keypoints and data sets may hold dollar signs
}
# A decorator of functions that draw a figure in this style.
styled = rc_context(STYLE)  # type: ignore[arg-type]


def new_figure(panels: int = 1, size: tuple[float, float] = (7, 4), rows: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure of `size` (width, height) in inches, and its `rows` of panels, from left to right in each."""
    figure = Figure(figsize=size)
    return figure, list(figure.subplots(rows, panels, squeeze=False).flat)


def number_log_axis(axis: Axis) -> None:
    """Number a logarithmic axis in plain numbers, with more of them on a short axis; call it after plotting."""
    low, high = axis.get_view_interval()
    if high > 4 * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 12 * low else (1, 1.5, 2, 3, 4, 5, 7)))
    else:
        axis.set_major_locator(MaxNLocator(5))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


@styled
def write_figure(path: Path, figure: Figure, description: str | None = None) -> None:
    """Write the figure as `path`.png, at 150 dots per inch, and as `path`.svg, with a description inside for readers
    who do not see it.
    """
    png, svg = (path.with_name(f"{path.name}.{suffix}") for suffix in ("png", "svg"))
    about = {} if description is None else {"Description": description}
    with _any_names(), atomic_write(png) as temporary_png, atomic_write(svg) as temporary_svg:
        figure.savefig(temporary_png, dpi=150, metadata=about)
        figure.savefig(temporary_svg, metadata={"Date": None, **about})


@styled
def figure_image(figure: Figure, dpi: int = 100) -> np.ndarray:
    """Return the figure as an image (H, W, 3) uint8 on white.

    >>> figure_image(new_figure(size=(2, 1))[0]).shape
    (100, 200, 3)
    """
    canvas: Any = FigureCanvasAgg(figure)
    figure.set_dpi(dpi)
    with _any_names():
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


@styled
def svg_text(figure: Figure) -> str:
    """Return the figure as SVG without a background, in which text stays text."""
    file = io.StringIO()
    with _any_names(), rc_context({"svg.fonttype": "none"}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return file.getvalue()


@contextmanager
def _any_names() -> Iterator[None]:
    """Ignore warnings of names in a script that the font lacks, and of names as long as the figure."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # drawn as a box
        warnings.filterwarnings("ignore", "constrained_layout not applied")
        yield
