"""The tab of a trained model: keypoints of an image or a frame that is uploaded, or of a labeled image."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from softpoint.explorer.data_tab import AuditedSet
from softpoint.explorer.events import DRAGGED_BOX, LIVE, ONCE, follow
from softpoint.explorer.html import problem
from softpoint.explorer.model_page import FIRST, facts, show, show_maps
from softpoint.explorer.predictions import Seen, see
from softpoint.explorer.uploads import MAX_PIXELS, read_pixels
from softpoint.images.video import VIDEO_SUFFIXES, Video
from softpoint.inference.predictor import Predictor

Source = Path | Video | int  # an uploaded image, an opened video, or the row of a labeled subject
_UNUSABLE = (ValueError, OSError, ImportError)


def build(predictor: Predictor, name: str, data: AuditedSet | None = None) -> None:
    """Add the tab's controls and its result to the page; labeled images of `data` may be chosen."""
    crops, labeled = predictor.crops is not None, data is not None
    with gr.Row(equal_height=False, elem_classes="split"):
        with gr.Column(scale=1, min_width=280):
            seen, source = gr.State(None), gr.State(None)
            gr.HTML(facts(predictor, name), elem_classes="page-html")
            button = gr.UploadButton("Upload an image or a video", size="md", elem_id="model-upload")
            count = len(data.loaded.labels) if data else 1
            number = gr.Textbox("", max_lines=1, max_length=9, visible=labeled, elem_id="labeled",
                                label=f"Or a labeled subject (1 to {count})")  # fmt: skip
            frame = gr.Slider(0, 1, 0, step=1, label="Frame", visible=False, elem_id="frame")
            box = gr.Textbox("", label="Box: left, top, right, bottom (px)", visible=crops, max_lines=1,
                             max_length=60, info="Or drag over the image. Empty: the whole image.",
                             elem_id="box")  # fmt: skip
            temperature = gr.Slider(
                0.1, 10, 1, step=0.1, label="Temperature", info="On top of the head's own.",
                visible=hasattr(predictor.net.head, "temperature"), elem_id="model-temperature",
            )  # fmt: skip
            threshold = gr.Slider(0, 1, 0, step=0.01, label="Confidence threshold", elem_id="threshold")
            ellipses = gr.Checkbox(True, label="Ellipses of two standard deviations", elem_id="ellipses")
        with gr.Column(scale=3, min_width=320):
            result = gr.HTML(FIRST, elem_id="model", elem_classes="page-html words",
                             js_on_load=DRAGGED_BOX if crops else "")  # fmt: skip
            maps = gr.HTML("", elem_id="model-maps", elem_classes="page-html words")
    settings, looked = [temperature, threshold, ellipses], [seen, result, maps]
    follow([threshold, ellipses], partial(show, predictor), [seen, *settings], result)
    follow([temperature], partial(_read_again, predictor), [seen, *settings], [result, maps])
    changed = [source, frame, box, number, *looked]
    button.upload(partial(_receive, predictor), [button, *settings], changed, **ONCE)
    follow([frame, box], partial(_look_again, predictor, data), [source, frame, box, *settings], looked)
    if data:
        follow([number], partial(_choose, predictor, data), [number, *settings], changed)

    def drag(event: gr.EventData, seen: Seen | None, source: Source | None, *values: Any) -> list[Any]:
        corners = dragged_box(event._data, seen)
        frame, _, *settings = values
        return [corners, *_look_again(predictor, data, source, frame, corners, *settings)]

    if crops:
        result.box(drag, [seen, source, frame, box, *settings], [box, *looked], **LIVE)


def parse_box(words: str) -> np.ndarray | None:
    """Return the box that is written as "left, top, right, bottom", None for an empty text.

    Raises ValueError for another text.

    >>> parse_box("3, 5.5, 30, 40"), parse_box(" ")
    (array([ 3. ,  5.5, 30. , 40. ]), None)
    """
    if not words.strip():
        return None
    number = r"(-?\d{1,6}(?:\.\d{1,6})?)"
    match = re.fullmatch(rf"\s*{number}(?:(?:\s*,\s*|\s+){number}){{3}}\s*", words)
    numbers = [float(value) for value in re.findall(number, words)] if match else []
    if len(numbers) != 4 or numbers[2] <= numbers[0] or numbers[3] <= numbers[1]:
        raise ValueError(f"{words!r} is no box; write its left, top, right and bottom edge as 10, 20, 110, 220")
    return np.array(numbers)


def dragged_box(corners: dict[str, Any], seen: Seen | None) -> str:
    """Return the box between two corners, in parts of the image, as it is written in pixels."""
    height, width = seen.size if seen else (1, 1)
    places = np.array([corners["start"], corners["end"]], float).reshape(2, 2).clip(0, 1) * (width, height)
    return ", ".join(f"{value - 0.5:.1f}" for value in (*places.min(0), *places.max(0)))


def _look(predictor: Predictor, data: AuditedSet | None, source: Source, frame: float, box: str) -> Seen:
    """Return what is seen of an upload, a frame of it, or a labeled image, in a box if there is one."""
    crop = parse_box(box)
    if isinstance(source, int):
        assert data
        name = data.loaded.labels.images[source]
        return see(predictor, data.loaded.image_folder.read(name), name, box=crop)
    path = _path(source)
    if not path.exists():
        raise ValueError(f"{path.name} is kept for ten minutes alone; upload it again")
    if isinstance(source, Video):
        return see(predictor, source.read(int(frame)), path.name, int(frame), crop)
    return see(predictor, read_pixels(path, predictor.channels), path.name, box=crop)


def _path(source: Path | Video) -> Path:
    return source.path if isinstance(source, Video) else source


def _opened(path: Path) -> Path | Video:
    """Return an upload, opened once if it is a video: its frames are counted by reading it to its end."""
    return Video(path, MAX_PIXELS) if path.suffix.lower() in VIDEO_SUFFIXES else path


def _read_again(predictor: Predictor, seen: Seen | None, temperature: float = 1.0, *settings: Any) -> list[str]:
    return [show(predictor, seen, temperature, *settings), show_maps(predictor, seen, temperature)]


def _look_again(
    predictor: Predictor, data: AuditedSet | None, source: Source | None, frame: float, box: str, *settings: Any
) -> list[Any]:
    """Return what is seen in another frame or box, the result and its maps; a reason in place of the result."""
    if source is None:
        return [gr.skip(), FIRST, ""]
    try:
        seen = _look(predictor, data, source, frame, box)
    except _UNUSABLE as error:
        reason = str(error) if isinstance(source, int) else _named_alone(error, _path(source))
        return [gr.skip(), problem(reason), ""]
    return [seen, *_read_again(predictor, seen, *settings)]


def _named_alone(error: Exception, path: Path) -> str:
    return str(error).replace(str(path), path.name)


def _receive(predictor: Predictor, path: str, *settings: Any) -> list[Any]:
    """Return the upload, the slider of its frames, no box, no labeled image, and what is seen; see `_look_again`."""
    skipped = [gr.skip()] * 4
    try:
        source = _opened(Path(path))
        frames = len(source) if isinstance(source, Video) else 0
    except _UNUSABLE as error:
        return [*skipped, gr.skip(), problem(_named_alone(error, Path(path))), ""]
    looked = _look_again(predictor, None, source, 0, "", *settings)
    if not isinstance(looked[0], Seen):
        return [*skipped, *looked]
    slider = gr.Slider(0, maximum=max(1, frames - 1), value=0, visible=frames > 0, label=f"Frame (0 to {frames - 1})")
    return [source, slider, "", "", *looked]


def _choose(predictor: Predictor, data: AuditedSet, number: str, *settings: Any) -> list[Any]:
    """Return a labeled subject as `_receive` an upload, with its own box where the network needs one."""
    if not number.strip():
        return [gr.skip()] * 7
    count = len(data.loaded.labels)
    if not number.strip().isdecimal() or not 1 <= int(number) <= count:
        return [*[gr.skip()] * 5, problem(f"{number!r} is no labeled subject; write a number from 1 to {count}"), ""]
    row = int(number) - 1
    box = data.boxes(predictor.crops.get("boxes"))[row] if predictor.crops else np.full(4, np.nan)
    written = ", ".join(f"{edge:.1f}" for edge in box) if np.isfinite(box).all() else ""
    looked = _look_again(predictor, data, row, 0, written, *settings)
    return [row, gr.Slider(visible=False), written, gr.skip(), *looked]
