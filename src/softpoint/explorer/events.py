"""Events of the page: settings that are answered at once, and clicks on a map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

# Each click on the first row of maps as a cell, by the matrix from the screen to the coordinates of the map.
CLICKED_CELL = """
element.addEventListener('click', (event) => {
  const map = event.target.closest('.pick svg');
  if (!map) return;
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(map.getScreenCTM().inverse());
  trigger('cell', {x: Math.round(point.x), y: Math.round(point.y)});
});
"""
# Nothing is offered to programs, and a newer setting replaces one that still waits.
LIVE: dict[str, Any] = {
    "show_progress": "hidden", "trigger_mode": "always_last", "api_visibility": "private", "concurrency_limit": None,
}  # fmt: skip
ONCE: dict[str, Any] = {"show_progress": "minimal", "api_visibility": "private", "concurrency_limit": 1}


def follow(
    controls: Sequence[Any], answer: Callable[..., Any], inputs: Sequence[Any], outputs: Any | Sequence[Any]
) -> None:
    """Call `answer` with the values of `inputs` whenever a visitor changes one of the `controls`."""
    gr.on([control.input for control in controls], answer, list(inputs), outputs, **LIVE)
