"""The tab of a trained model: keypoints of an uploaded image or frame, and what they are made of."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from softpoint.explorer.events import ONCE, follow
from softpoint.explorer.html import download, drawing, problem, table, text
from softpoint.explorer.predictions import Seen, files, read, see
from softpoint.explorer.uploads import MAX_PIXELS, read_pixels
from softpoint.functional.coordinates import grid_to_image
from softpoint.images.video import VIDEO_SUFFIXES, Video
from softpoint.inference.explanation import Explanation
from softpoint.inference.predictor import Predictor
from softpoint.viz import attention_panel, confidence_parts, draw_keypoints, heatmap_panels, palette
from softpoint.viz.colors import to_hex

_FIRST = (
    "<p>Upload an image or a video: its keypoints, their heatmaps and what their confidence is made of come here.</p>"
)
Result = Mapping[str, np.ndarray]
_KINDS = {".csv": "text/csv", ".json": "application/json"}


def build(predictor: Predictor, name: str) -> None:
    """Add the tab's controls and its result to the page."""
    with gr.Row(equal_height=False, elem_classes="split"):
        with gr.Column(scale=1, min_width=280):
            seen, video = gr.State(None), gr.State(None)
            gr.HTML(_facts(predictor, name), elem_classes="page-html")
            button = gr.UploadButton("Upload an image or a video", size="md", elem_id="model-upload")
            frame = gr.Slider(0, 1, 0, step=1, label="Frame", visible=False, elem_id="frame")
            has_temperature = hasattr(predictor.net.head, "temperature")
            temperature = gr.Slider(
                0.1, 10, 1, step=0.1, label="Temperature, on top of the head's own", visible=has_temperature,
                elem_id="model-temperature",
            )  # fmt: skip
            threshold = gr.Slider(0, 1, 0, step=0.01, label="Confidence threshold", elem_id="threshold")
            ellipses = gr.Checkbox(True, label="Ellipses of two standard deviations", elem_id="ellipses")
        with gr.Column(scale=3, min_width=320):
            result = gr.HTML(_FIRST, elem_id="model", elem_classes="page-html words")
    settings, outputs = [temperature, threshold, ellipses], [seen, video, frame, result]
    follow(settings, partial(show, predictor), [seen, *settings], result)
    button.upload(partial(_receive, predictor), [button, *settings], outputs, **ONCE)
    follow([frame], partial(_turn_to, predictor), [video, frame, *settings], [seen, result])


def show(
    predictor: Predictor, seen: Seen | None, temperature: float = 1.0, threshold: float = 0.0, ellipses: bool = True
) -> str:
    """Return the drawings, tables and files of what was seen, or the reason why there are none."""
    if seen is None:
        return _FIRST
    try:
        explanation = read(predictor, seen, temperature)
    except ValueError as error:
        return problem(error)
    result = explanation.prediction
    return "".join(
        (
            _keypoints(predictor, seen, result, threshold, ellipses),
            _confidence(predictor, result),
            _heatmaps(predictor, explanation),
            _attention(explanation),
            _downloads(predictor, seen, result, threshold),
        )
    )


def _keypoints(predictor: Predictor, seen: Seen, result: Result, threshold: float, ellipses: bool) -> str:
    kept = result["confidence"] >= threshold
    points = np.where(kept[:, None], grid_to_image(result["keypoints"].astype(float), seen.scale), np.nan)
    drawn = draw_keypoints(
        seen.image, points, confidence=result["confidence"], skeleton=predictor.skeleton, names=True,
        covariance=result["covariance"] * seen.scale**2 if ellipses else None,
    )  # fmt: skip
    rows: list[tuple[str, ...]] = [("keypoint", "x (px)", "y (px)", "confidence", "std (px)")]
    deviations = np.sqrt(np.trace(result["covariance"], axis1=1, axis2=2) / 2)
    columns = zip(result["keypoints"].tolist(), result["confidence"].tolist(), deviations.tolist(), strict=True)
    for name, ((x, y), confidence, deviation) in zip(predictor.skeleton.names, columns, strict=True):
        rows.append((name, f"{x:.2f}", f"{y:.2f}", f"{confidence:.3f}", f"{deviation:.2f}"))
    title = seen.name if seen.frame is None else f"{seen.name}, frame {seen.frame}"
    described = f"{title} with {int(kept.sum())} of {len(kept)} keypoints and their names"
    return f'{drawing(drawn, described)}<div class="tables">{table(rows, title, _colors(predictor))}</div>'


def _confidence(predictor: Predictor, result: Result) -> str:
    if "in_image" not in result:
        return "<p>The confidence is read from the heatmap: this network was not calibrated.</p>"
    rows = confidence_parts(result, predictor.skeleton.names)
    return f"<h3>What each confidence is made of</h3><div class=scroll>{table(rows, '', _colors(predictor))}</div>"


def _heatmaps(predictor: Predictor, explanation: Explanation) -> str:
    names, confidence = predictor.skeleton.names, explanation.prediction["confidence"]
    panels = heatmap_panels(explanation.image, explanation.heatmaps, names, confidence, explanation.keypoints)
    described = f"Heatmaps over the network's input, one for each of {', '.join(names)}"
    return f"<h3>Heatmaps</h3>{drawing(panels, described)}"


def _attention(explanation: Explanation) -> str:
    if not explanation.attention:
        return ""
    rows: list[tuple[str, ...]] = [("block", "mask mean", "std", "min", "max", "router weights")]
    for place, (mask, _, weights, names) in explanation.attention.items():
        listed = ", ".join(f"{name}: {weight:.3f}" for name, weight in zip(names, weights.tolist(), strict=False))
        rows.append((place, *(f"{value:.3f}" for value in (mask.mean(), mask.std(), mask.min(), mask.max())), listed))
    described = f"Attention masks of {', '.join(explanation.attention)}, their branches and router weights"
    panel = drawing(attention_panel(explanation.image, explanation.attention), described)
    return f"<h3>Attention</h3>{panel}<div class=scroll>{table(rows)}</div>"


def _downloads(predictor: Predictor, seen: Seen, result: Result, threshold: float) -> str:
    links = (
        download(name, content, _KINDS[Path(name).suffix], f"Download {name}")
        for name, content in files(predictor, seen, result, threshold).items()
    )
    return f"<h3>Files</h3><p>{' '.join(links)}</p>"


def _colors(predictor: Predictor) -> list[str]:
    return [to_hex(color) for color in palette(len(predictor.skeleton)).tolist()]


def _facts(predictor: Predictor, name: str) -> str:
    height, width = predictor.size
    crops = ", trained on crops of single subjects; here it sees the whole image" if predictor.crops else ""
    return f"<p>{text(name)}: {len(predictor.skeleton)} keypoints, input {height} x {width} px{crops}.</p>"


def _receive(predictor: Predictor, path: str, *settings: Any) -> list[Any]:
    """Return what is seen, the video, its slider and the result; of a file that cannot be used, the message alone."""
    try:
        if Path(path).suffix.lower() in VIDEO_SUFFIXES:
            video = _open(path)
            seen = see(predictor, video.read(0), video.path.name, 0)
            slider = gr.Slider(0, maximum=max(1, len(video) - 1), value=0, visible=True)
            return [seen, path, slider, show(predictor, seen, *settings)]
        seen = see(predictor, read_pixels(path), Path(path).name)
    except (ValueError, OSError, ImportError) as error:
        return [gr.skip(), gr.skip(), gr.skip(), problem(str(error).replace(path, Path(path).name))]
    return [seen, None, gr.Slider(visible=False), show(predictor, seen, *settings)]


def _turn_to(predictor: Predictor, path: str | None, frame: float, *settings: Any) -> tuple[Any, str]:
    """Return what is seen in a frame of the uploaded video, and the result."""
    if path is None:
        return gr.skip(), _FIRST
    if not Path(path).exists():
        return gr.skip(), problem(f"{Path(path).name} is kept for ten minutes alone; upload it again")
    try:
        seen = see(predictor, _open(path).read(int(frame)), Path(path).name, int(frame))
    except (ValueError, OSError) as error:
        return gr.skip(), problem(str(error).replace(path, Path(path).name))
    return seen, show(predictor, seen, *settings)


def _open(path: str) -> Video:
    return Video(Path(path), MAX_PIXELS)
