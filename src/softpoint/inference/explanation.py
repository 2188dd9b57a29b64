"""What predictions are made of: the network's input, heatmaps, attention and the parts of each confidence, in pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from torch import Tensor

from softpoint.functional import grid_to_image, spatial_softmax
from softpoint.inference.expected_distance import with_expected_error
from softpoint.inference.flip_tta import FlipAverage
from softpoint.inference.predictor import NetworkInput, Predictor
from softpoint.labels.skeleton import Skeleton
from softpoint.models.attention_maps import collect_attention
from softpoint.types import AttentionMaps, Prediction
from softpoint.viz import (
    attention_panel,
    confidence_parts,
    contact_sheet,
    draw_keypoints,
    heatmap_panels,
    palette,
)
from softpoint.viz.explain import draw_table, stack
from softpoint.viz.image_ops import resize, rgb_view
from softpoint.viz.text import text_line

_PER_PAGE = 24  # keypoints
_INPUT_SIDE = 736  # pixels of the longer side of the input on a page
_LETTERS = 12  # pixels of a capital letter in a title
_MARGIN = 6  # pixels above and left of a line of text
_GRAY = 128  # beyond the input, where the network sees its mean color
_UNCALIBRATED = (
    "Not calibrated: confidences are what the head reads from its heatmaps, no probabilities, and ellipses are those of"
    " the heatmaps."
)


class Explanation(NamedTuple):
    """One prediction and what it is made of, which a page shows."""

    image: np.ndarray  # uint8 (H, W, 3), the network's input, with what it pads
    heatmaps: np.ndarray  # (K, h, w), which span the image
    attention: dict[str, AttentionMaps]  # by place, which span the image; of its mirror, flipped back, where averaged
    keypoints: np.ndarray  # (K, 2) in pixels of `image`
    covariance: np.ndarray  # (K, 2, 2) in pixels^2 of `image`
    prediction: dict[str, np.ndarray]  # in original pixels, as `Predictor` returns it
    calibrated: bool


def explain(predictor: Predictor, inputs: Iterable[NetworkInput], batch_size: int = 1) -> Iterator[Explanation]:
    """Yield what the prediction for each of the inputs of `Predictor.preprocess` is made of.

    Predictions have the same bits as those of `Predictor.predict` with this batch size. A predictor with `explain` adds
    the parts of each confidence.
    """
    with collect_attention(predictor.net.attention) as maps:
        for batch, prediction in predictor.batches(inputs, batch_size):
            yield from explained(predictor, batch, prediction, maps)


def explained(
    predictor: Predictor,
    batch: Sequence[NetworkInput],
    prediction: Prediction,
    attention: Mapping[str, Sequence[AttentionMaps]],
) -> Iterator[Explanation]:
    """Yield what a prediction for a batch of inputs, in their pixels, is made of."""
    heatmaps = _array(spatial_softmax(prediction["logits"].float()))
    keypoints, covariance = _array(prediction["keypoints"]), _array(prediction["covariance"])
    mirrors, calibrated = isinstance(predictor.net, FlipAverage), predictor.net.calibration.fitted
    for i, result in enumerate(predictor.postprocess_each(batch, prediction)):
        image, cells = _padded(batch[i].image, heatmaps[i], predictor)
        maps = _attention_of(i, attention, mirrors)
        yield Explanation(image, cells, maps, keypoints[i], covariance[i], result, calibrated)


def explanation_pages(explanation: Explanation, skeleton: Skeleton, title: str) -> list[np.ndarray]:
    """Return images uint8 RGB: points, attention, heatmaps and parts of the confidence, of 24 keypoints on each."""
    image, names, confidence = explanation.image, skeleton.names, explanation.prediction["confidence"]
    pages = []
    for start in range(0, len(names), _PER_PAGE):
        chosen = range(start, min(start + _PER_PAGE, len(names)))
        panels = [_points(explanation, skeleton, title, chosen)]
        if explanation.attention and not start:
            panels.append(_titled(attention_panel(image, explanation.attention), "Attention by block"))
        maps = heatmap_panels(image, explanation.heatmaps, names, confidence, explanation.keypoints, chosen=chosen)
        panels.append(_titled(maps, "Heatmaps, and the confidence of each point"))
        if "in_image" in explanation.prediction:
            panels.append(_parts(explanation.prediction, names, chosen))
        elif not explanation.calibrated:
            panels.append(_line(_UNCALIBRATED))
        pages.append(stack(panels))
    return pages


def _attention_of(i: int, attention: Mapping[str, Sequence[AttentionMaps]], mirrors: bool) -> dict[str, AttentionMaps]:
    """The maps of the i-th image of a batch and, where mirrors follow the images, of its mirror, flipped back."""
    maps = {}
    for place, values in attention.items():
        maps[place] = values[i]
        if mirrors:
            mirror = values[len(values) // 2 + i]
            mask, branches = mirror.mask[..., ::-1], mirror.branches[..., ::-1]
            maps[f"mirror, {place}"] = mirror._replace(mask=mask, branches=branches)
    return maps


def _padded(image: np.ndarray, heatmaps: np.ndarray, predictor: Predictor) -> tuple[np.ndarray, np.ndarray]:
    """Return an input as uint8 and its heatmaps, both extended as far as the network extends the input."""
    stride, cell = predictor.net.stride, predictor.net.head.stride
    height, width = (-(-length // stride) * stride for length in image.shape[:2])
    canvas = np.full((height, width, 3), _GRAY, np.uint8)
    canvas[: image.shape[0], : image.shape[1]] = rgb_view(np.round(255 * image).clip(0, 255).astype(np.uint8))
    margins = [(0, max(0, full // cell - has)) for full, has in zip((height, width), heatmaps.shape[1:], strict=True)]
    return canvas, np.pad(heatmaps, [(0, 0), *margins])


def _points(explanation: Explanation, skeleton: Skeleton, title: str, chosen: Sequence[int]) -> np.ndarray:
    """Return the input with the chosen points and their names, and beside it with the ellipses, which may cover it."""
    height, width = explanation.image.shape[:2]
    factor = _INPUT_SIDE / max(height, width)
    image = resize(explanation.image, (max(1, round(factor * height)), max(1, round(factor * width))))
    points = np.full(explanation.keypoints.shape, np.nan)
    points[list(chosen)] = grid_to_image(explanation.keypoints[list(chosen)].astype(np.float64), factor)
    confidence = explanation.prediction["confidence"]
    draw = partial(draw_keypoints, image, points, confidence=confidence, skeleton=skeleton, upscale=1)
    ellipses = draw(covariance=explanation.covariance.astype(np.float64) * factor**2)
    pair = [
        _titled(draw(names=True), "points; a cross has confidence below 0.5"),
        _titled(ellipses, "ellipses of two standard deviations"),
    ]
    part = f"; keypoints {chosen[0] + 1} to {chosen[-1] + 1} of {len(skeleton)}" * (len(chosen) < len(skeleton))
    return _titled(contact_sheet(pair, 2), f"{title}: the network's input, {width} x {height}{part}")


def _parts(prediction: dict[str, np.ndarray], names: Sequence[str], chosen: Sequence[int]) -> np.ndarray:
    parts = {name: values[list(chosen)] for name, values in with_expected_error(prediction).items()}
    table = confidence_parts(parts, [names[i] for i in chosen])
    return _titled(draw_table(table, palette(len(names))[list(chosen)]), "Confidence, in pixels of the original image")


def _titled(panel: np.ndarray, title: str) -> np.ndarray:
    """Return a panel below a line of text, as wide as that needs."""
    return stack([_line(title), panel])


def _line(text: str) -> np.ndarray:
    return np.pad(text_line(text, _LETTERS), ((_MARGIN, 0), (_MARGIN, 0), (0, 0)), constant_values=255)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.float().cpu().numpy()
