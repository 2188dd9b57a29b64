"""The tab of spatial softmax: one map at a temperature and in a window, and all numbers of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import gradio as gr

from softpoint.demo.analysis import MapAnalysis, Statistics, analyze
from softpoint.demo.feature_maps import KINDS
from softpoint.demo.panels import MARKS
from softpoint.demo.sources import NamedMap, snippet
from softpoint.explorer.events import CLICKED_CELL, LIVE, ONCE, follow
from softpoint.explorer.html import code, problem, table
from softpoint.explorer.map_panels import legend, logits_panel, softmax_panel, window_panel
from softpoint.explorer.maps import SAMPLE, UPLOAD, chosen_map, one_thread
from softpoint.explorer.uploads import UploadedMaps, read_maps

Row = tuple[str, ...]
TEMPERATURES = (0.25, 0.5, 1.0, 2.0, 5.0)
_LARGE = 40_000  # cells from which on the strip of temperatures shows three


def build() -> None:
    """Add the tab's controls and its result to the page."""
    with gr.Row(equal_height=False, elem_classes="split"):
        with gr.Column(scale=1, min_width=280):
            upload = gr.State(None)
            kind = gr.Radio([(name.replace("_", " "), name) for name in (*KINDS, SAMPLE, UPLOAD)],
                            value="floor", label="Feature map", elem_id="kind")  # fmt: skip
            button = gr.UploadButton("Upload an image or a .npy file", size="md", elem_id="upload")
            temperature = gr.Slider(0.05, 10, 1, step=0.05, label="Temperature", elem_id="temperature")
            window = gr.Slider(3, 31, 9, step=2, label="Window (cells)", elem_id="window")
            size = gr.Slider(8, 128, 64, step=8, label="Size (cells)", elem_id="size")
            seed = gr.Number(0, precision=0, minimum=0, maximum=2**31, label="Seed", elem_id="seed")
            cell = gr.Textbox("", label="Cell x, y", info="Or click on the map. Empty: the largest cell.",
                              max_lines=1, max_length=20, elem_id="cell")  # fmt: skip
            sample = gr.Number(0, precision=0, minimum=0, label="Sample", visible=False, elem_id="sample")
            channel = gr.Number(0, precision=0, minimum=0, label="Channel", visible=False, elem_id="channel")
        with gr.Column(scale=3, min_width=320):
            result = gr.HTML(show(), elem_id="softmax", elem_classes="page-html", js_on_load=CLICKED_CELL)
    controls = [kind, temperature, window, size, seed, cell, sample, channel]
    follow(controls, show, [upload, *controls], result)
    result.cell(_click, [upload, *controls], [cell, result], **LIVE)
    button.upload(_receive, [button, temperature, window, size], [upload, kind, cell, sample, channel, result], **ONCE)


@one_thread()
def show(
    upload: UploadedMaps | None = None,
    kind: str = "floor",
    temperature: float = 1.0,
    window: int = 9,
    size: int = 64,
    seed: int | None = 0,
    cell: str = "",
    sample: int | None = 0,
    channel: int | None = 0,
) -> str:
    """Return the panels, tables and Python of one map, or the reason why there are none."""
    try:
        source = chosen_map(kind, upload, int(size), seed or 0, sample or 0, channel or 0)
        analysis = analyze(source.logits, temperature, int(window), chosen := parse_cell(cell))
        strip = [analyze(source.logits, t, int(window)) for t in strip_temperatures(source.logits.size)]
    except ValueError as error:
        return problem(error)
    return (
        _panels(analysis, source.name, chosen) + _tables(analysis) + _strip(strip) + _python(source, analysis, chosen)
    )


def parse_cell(words: str) -> tuple[int, int] | None:
    """Return the cell that is written as "x, y", or None for an empty text; ValueError for another text.

    >>> parse_cell("3, 5"), parse_cell(" ")
    ((3, 5), None)
    """
    if not words.strip():
        return None
    if (match := re.fullmatch(r"\s*\(?\s*(-?\d+)[\s,]+(-?\d+)\s*\)?\s*", words)) is None:
        raise ValueError(f"{words!r} is no cell; write its column and row as 3, 5, or leave it empty for the largest")
    return int(match[1]), int(match[2])


def strip_temperatures(cells: int) -> Sequence[float]:
    """Return the temperatures that are compared: fewer where each takes long.

    >>> strip_temperatures(64 * 64), strip_temperatures(10**6)
    ((0.25, 0.5, 1.0, 2.0, 5.0), (0.25, 1.0, 5.0))
    """
    return TEMPERATURES if cells < _LARGE else TEMPERATURES[::2]


def _panels(analysis: MapAnalysis, name: str, cell: tuple[int, int] | None) -> str:
    side = analysis.window
    panels = (
        logits_panel(analysis.logits, f"{name}: logits", cell=cell),
        softmax_panel(analysis, f"spatial softmax, T = {analysis.temperature:g}", cell=cell),
        window_panel(analysis, f"window of {side} x {side} cells"),
    )
    return f'<div class="panels pick">{"".join(panels)}</div>{legend()}'


def _tables(analysis: MapAnalysis) -> str:
    points: list[Row] = [("point", "x (cells)", "y (cells)")]
    for key, (label, *_) in MARKS.items():
        points.append((label, *(f"{value:.4f}" for value in getattr(analysis, key))))
    points.append(("standard deviation", *(f"{value:.4f}" for value in analysis.std)))
    cells: list[Row] = [("over all cells", "logits", "softmax")]
    for field in fields(Statistics):
        values = (getattr(part, field.name) for part in (analysis.logit_statistics, analysis.softmax_statistics))
        cells.append((field.name, *(f"{value:.6g}" for value in values)))
    x, y = analysis.cell
    spread = [("of the softmax", "value"), ("entropy (bits)", f"{analysis.entropy:.4f}")]
    spread.append((f"information of cell ({x}, {y}) (bits)", f"{analysis.information:.4f}"))
    spread.append((f"probability of cell ({x}, {y})", f"{analysis.softmax[y, x]:.4g}"))
    for label, value in zip(("xx", "xy", "yy"), analysis.covariance[[0, 0, 1], [0, 1, 1]], strict=True):
        spread.append((f"covariance {label} (cells²)", f"{value:.4f}"))
    return f'<div class="tables">{table(points)}{table(cells)}{table(spread)}</div>'


def _strip(analyses: Sequence[MapAnalysis]) -> str:
    panels = (
        softmax_panel(a, f"T = {a.temperature:g}: {a.entropy:.1f} bits", ("fit", "expectation")) for a in analyses
    )
    return f'<h3>Over temperatures</h3><div class="panels strip">{"".join(panels)}</div>'


def _python(source: NamedMap, analysis: MapAnalysis, cell: tuple[int, int] | None) -> str:
    lines = snippet(source, analysis.temperature, analysis.window, cell)
    return "<h3>The same in Python</h3>" + code(lines, "Python code")


def _click(event: gr.EventData, upload: UploadedMaps | None, *values: Any) -> tuple[str, str]:
    """Return the clicked cell and what is shown of it."""
    cell = ", ".join(str(int(event._data[axis])) for axis in ("x", "y"))
    kind, temperature, window, size, seed, _, sample, channel = values
    return cell, show(upload, kind, temperature, window, size, seed, cell, sample, channel)


def _receive(path: str, temperature: float, window: int, size: int) -> list[Any]:
    """Return the upload, the choice of it, no cell, and the numbers of its maps, which are seen if there are several.

    Of a file that cannot be used, everything stays as it is but the message.
    """
    try:
        upload = read_maps(path)
    except (ValueError, OSError) as error:
        return [*[gr.skip()] * 5, problem(error)]
    numbers = [
        gr.Number(0, maximum=count - 1, visible=count > 1, label=f"{name} (0 to {count - 1})")
        for name, count in zip(("Sample", "Channel"), upload.counts, strict=True)
    ]
    return [upload, UPLOAD, "", *numbers, show(upload, UPLOAD, temperature, window, size)]
