"""One image through one network, kept as logits, so that a temperature is tried without predicting again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from softpoint.explorer.maps import one_forward, one_thread
from softpoint.inference.batch.predictions import Predictions, Row, above_threshold, rounded
from softpoint.inference.batch.writers import coco, table
from softpoint.inference.explanation import Explanation, explained
from softpoint.inference.predictor import NetworkInput, Predictor
from softpoint.models.attention_maps import collect_attention
from softpoint.types import AttentionMaps, Prediction
from softpoint.viz.image_ops import resize

_LARGEST = 1000  # pixels of the longer side of an image that is shown


@dataclass(frozen=True, eq=False)
class Seen:
    """What a network made of an image, which is kept no larger than it is shown."""

    name: str
    frame: int | None  # of a video
    size: tuple[int, int]  # height and width
    image: np.ndarray  # uint8 (h, w, 3), perhaps smaller than `size`
    box: np.ndarray | None  # (4,) in pixels of the original, of which the network saw no more
    network_input: NetworkInput
    prediction: Prediction
    attention: Mapping[str, list[AttentionMaps]]
    latest: dict[float, Explanation] = field(default_factory=dict)  # by temperature, the last one alone

    @property
    def scale(self) -> float:
        """Pixels of `image` for one of the original."""
        return float(self.image.shape[1] / self.size[1])


def see(
    predictor: Predictor, image: np.ndarray, name: str, frame: int | None = None, box: np.ndarray | None = None
) -> Seen:
    """Return what the network makes of an image uint8 (H, W, 3), or of a frame of a video, or of a box (4,) in it."""
    network_input = predictor.preprocess(image, box)
    with one_forward(), collect_attention(predictor.net.attention) as maps:
        ((_, prediction),) = predictor.batches([network_input], 1)
    height, width = image.shape[:2]
    scale = min(1.0, _LARGEST / max(height, width))
    small = image if scale == 1 else resize(image, (max(1, round(height * scale)), max(1, round(width * scale))))
    return Seen(name, frame, (height, width), small, box, network_input, prediction, maps)


@one_thread()
@torch.inference_mode()
def read(predictor: Predictor, seen: Seen, temperature: float = 1.0) -> Explanation:
    """Return the prediction of the image and what it is made of, at a temperature on top of the head's own.

    At 1 it is what the predictor answers; else the head reads its logits again, divided by the temperature.
    Raises ValueError for a temperature that is not positive.
    """
    if (known := seen.latest.get(temperature)) is not None:
        return known
    prediction = seen.prediction
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature must be positive, got {temperature:g}")
    if temperature != 1:
        head = predictor.net.head
        changed: Prediction = {**prediction, **head.read(prediction["logits"].float() / temperature)}
        prediction = predictor.net.calibration(changed, head.stride)
    explanation = next(explained(predictor, [seen.network_input], prediction, seen.attention))
    seen.latest.clear()
    seen.latest[temperature] = explanation
    return explanation


def files(predictor: Predictor, seen: Seen, result: Mapping[str, np.ndarray], threshold: float) -> dict[str, str]:
    """Return the content of each file to download, by its name, as `softpoint predict` writes them."""
    box = np.full(4, np.nan) if seen.box is None else seen.box
    row = Row(
        number=seen.frame or 0, subject=0, has_subject=True, time=float("nan"), size=seen.size, error="", box=box,
        keypoints=result["keypoints"].astype(float), confidence=result["confidence"],
        covariance=result["covariance"], visibility=result.get("visibility"),
    )  # fmt: skip
    names = (seen.name,) if seen.frame is None else None
    predictions = Predictions(
        predictor.skeleton, Path(seen.name), names, lambda: rounded(above_threshold([row], threshold)),
        has_boxes=seen.box is not None, has_visibility="visibility" in result,
    )  # fmt: skip
    with TemporaryDirectory() as folder:
        table.write(Path(folder) / "predictions.csv", predictions)
        coco.write(Path(folder) / "predictions_coco.json", predictions)
        return {path.name: path.read_text(encoding="utf-8") for path in sorted(Path(folder).iterdir())}
