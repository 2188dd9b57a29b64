"""Events of the page: settings that are answered at once, and clicks on a map."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from softpoint.explorer.guard import in_a_line
from softpoint.explorer.html import text

_log = logging.getLogger(__name__)

# Each click on the first row of maps as a cell, by the matrix from the screen to the coordinates of the map.
CLICKED_CELL = """
element.addEventListener('click', (event) => {
  const map = event.target.closest('.pick svg');
  if (!map) return;
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(map.getScreenCTM().inverse());
  trigger('cell', {x: Math.round(point.x), y: Math.round(point.y)});
});
"""
# A box that is drawn over the first image, by its corners in parts of the image.
DRAGGED_BOX = """
let start = null;
const place = (event, image) => {
  const {left, top, width, height} = image.getBoundingClientRect();
  return [(event.clientX - left) / width, (event.clientY - top) / height];
};
element.addEventListener('pointerdown', (event) => {
  const image = element.querySelector('img.drawing');
  if (!image || event.target !== image) return;
  event.preventDefault();
  start = place(event, image);
});
window.addEventListener('pointerup', (event) => {
  const image = element.querySelector('img.drawing');
  if (start && image) {
    const end = place(event, image);
    if (Math.abs(end[0] - start[0]) > 0.01 && Math.abs(end[1] - start[1]) > 0.01) trigger('box', {start, end});
  }
  start = null;
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


class OneLineErrors(gr.Blocks):
    """A page that answers an event which fails with one line, and logs that, in place of a traceback."""

    async def process_api(self, *arguments: Any, **settings: Any) -> dict[str, Any]:
        """Return the answer to an event. Raises gradio's error, which the visitor sees, for one that fails."""
        try:
            return await super().process_api(*arguments, **settings)
        except Exception as error:  # of values that no control sends, mostly
            frame = traceback.extract_tb(error.__traceback__)[-1]
            reason = in_a_line(error.message if isinstance(error, gr.Error) else error)
            _log.warning("no answer to an event: %s (%s, line %d)", reason, frame.filename, frame.lineno)
            _log.debug("the event", exc_info=True)
            raise gr.Error(text(f"no answer to these values: {reason}"), print_exception=False) from None
