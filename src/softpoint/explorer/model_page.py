"""What is shown of one prediction: its points, parts and files, and the maps that it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from softpoint.colors import to_hex
from softpoint.explorer.html import download, drawing, problem, table, text
from softpoint.explorer.predictions import Seen, files, read
from softpoint.functional.coordinates import grid_to_image
from softpoint.inference.expected_distance import expected_distance, with_expected_error
from softpoint.inference.explanation import Explanation
from softpoint.inference.predictor import Predictor
from softpoint.viz import attention_panel, confidence_parts, draw_keypoints, heatmap_panels, palette
from softpoint.viz.primitives import draw_line

FIRST = (
    "<p>Upload an image or a video: its keypoints, their heatmaps and what their confidence is made of come here.</p>"
)
Result = Mapping[str, np.ndarray]
_KINDS = {".csv": "text/csv", ".json": "application/json"}
_FRAME = (255, 255, 255)


def show(
    predictor: Predictor, seen: Seen | None, temperature: float = 1.0, threshold: float = 0.0, ellipses: bool = True
) -> str:
    """Return the points, their confidence and the files of what was seen, or the reason why there are none."""
    if seen is None:
        return FIRST
    try:
        result = read(predictor, seen, temperature).prediction
    except ValueError as error:
        return problem(error)
    points = _keypoints(predictor, seen, result, threshold, ellipses)
    return points + _confidence(predictor, result) + _downloads(predictor, seen, result, threshold)


def show_maps(predictor: Predictor, seen: Seen | None, temperature: float = 1.0) -> str:
    """Return the heatmaps and attention of what was seen; nothing where `show` gives a reason."""
    if seen is None:
        return ""
    try:
        explanation = read(predictor, seen, temperature)
    except ValueError:
        return ""
    return _heatmaps(predictor, explanation) + _attention(explanation)


def facts(predictor: Predictor, name: str) -> str:
    """Return the network in a line."""
    height, width = predictor.size
    crops = ", trained on crops of single subjects: give it a box" if predictor.crops else ""
    return f"<p>{text(name)}: {len(predictor.skeleton)} keypoints, input {height} x {width} px{crops}.</p>"


def _keypoints(predictor: Predictor, seen: Seen, result: Result, threshold: float, ellipses: bool) -> str:
    kept = result["confidence"] >= threshold
    points = np.where(kept[:, None], grid_to_image(result["keypoints"].astype(float), seen.scale), np.nan)
    drawn = draw_keypoints(
        _framed(seen), points, confidence=result["confidence"], skeleton=predictor.skeleton, names=True,
        covariance=result["covariance"] * seen.scale**2 if ellipses else None,
    )  # fmt: skip
    kind, lengths = "std of the heatmap (px)", np.sqrt(np.trace(result["covariance"], axis1=1, axis2=2) / 2)
    if "error_scale" in result:
        kind, lengths = "expected error (px)", expected_distance(result["error_scale"], result["covariance"])
    rows: list[tuple[str, ...]] = [("keypoint", "x (px)", "y (px)", "confidence", kind)]
    columns = zip(result["keypoints"].tolist(), result["confidence"].tolist(), lengths.tolist(), strict=True)
    for name, ((x, y), confidence, length) in zip(predictor.skeleton.names, columns, strict=True):
        rows.append((name, f"{x:.2f}", f"{y:.2f}", f"{confidence:.3f}", f"{length:.2f}"))
    title = seen.name if seen.frame is None else f"{seen.name}, frame {seen.frame}"
    described = f"{title} with {int(kept.sum())} of {len(kept)} keypoints and their names"
    note = "<p>A cross has a confidence below 0.5.</p>" if (result["confidence"][kept] < 0.5).any() else ""
    return f'{drawing(drawn, described)}{note}<div class="tables">{table(rows, title, _colors(predictor))}</div>'


def _framed(seen: Seen) -> np.ndarray:
    """Return the image with a frame about the box that the network saw."""
    if seen.box is None:
        return seen.image
    image = seen.image.copy()
    left, top, right, bottom = grid_to_image(seen.box, seen.scale)
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        draw_line(image, start, end, _FRAME)
    return image


def _confidence(predictor: Predictor, result: Result) -> str:
    if "in_image" not in result:
        return "<p>The confidence is read from the heatmap: this network was not calibrated.</p>"
    rows = confidence_parts(with_expected_error(result), predictor.skeleton.names)
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
