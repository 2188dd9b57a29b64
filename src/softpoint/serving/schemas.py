"""What a request asks for, and what it is answered, as text and plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from softpoint.serving.errors import Refusal
from softpoint.suggest import did_you_mean

KEYS = ("box",)

# The rest that an export may answer, such as heatmaps, is no text.
_PARTS = ("confidence", "covariance", "visibility")


def asked_boxes(query: Sequence[tuple[str, str]], max_boxes: int) -> np.ndarray | None:
    """Boxes float32 (N, 4) of `box=LEFT,TOP,RIGHT,BOTTOM`, once a subject; None where there is none.

    Raises a Refusal: 422 for another key and for what is no box, 413 for more than `max_boxes`.

    >>> asked_boxes([("box", "10,20,200,240")], 4).tolist()
    [[10.0, 20.0, 200.0, 240.0]]
    """
    for key, _ in query:
        if key not in KEYS:
            raise Refusal(422, f"unknown query key {key[:100]!r}; {did_you_mean(key[:100], KEYS)}")
    if len(query) > max_boxes:
        raise Refusal(413, f"{len(query)} boxes are over max_boxes={max_boxes}; send several requests")
    return np.stack([_box(value) for _, value in query]) if query else None


def _box(text: str) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):
            box = np.array([float(word) for word in text.split(",")]).astype(np.float32)
    except ValueError:
        box = np.empty(0, np.float32)
    if box.shape != (4,) or not (np.isfinite(box).all() and (box[2:] > box[:2]).all()):
        raise Refusal(
            422, f"box={text[:100]!r} must be LEFT,TOP,RIGHT,BOTTOM in pixels, with an area: box=10,20,200,240"
        )
    return box


def told(
    names: Sequence[str], size: tuple[int, int], boxes: np.ndarray | None, answers: Sequence[Mapping[str, np.ndarray]]
) -> dict[str, Any]:
    """The answer to a request: `size` [h, w], and `keypoints`, or with boxes `subjects` of a `box` and `keypoints`."""
    sized: dict[str, Any] = {"size": list(size)}
    if boxes is None:
        return {"keypoints": _keypoints(names, answers[0])} | sized
    pairs = zip(boxes, answers, strict=True)
    return {"subjects": [{"box": box.tolist(), "keypoints": _keypoints(names, one)} for box, one in pairs]} | sized


def _keypoints(names: Sequence[str], answer: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    parts = [part for part in _PARTS if part in answer]
    return [
        {"name": name, "x": _plain(answer["keypoints"][k, 0]), "y": _plain(answer["keypoints"][k, 1])}
        | {part: _plain(answer[part][k]) for part in parts}
        for k, name in enumerate(names)
    ]


def _plain(value: Any) -> Any:
    """Numbers with the digits that a float32 has; null for what JSON has no word for.

    >>> _plain(np.float32([0.1, np.nan]))
    [0.1, None]
    """
    if np.ndim(value):
        return [_plain(part) for part in value]
    return float(f"{value:.8g}") if math.isfinite(value) else None
