"""What a prediction is made of, drawn on the network's input: heatmaps, attention and the parts of each confidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from softpoint.colors import palette
from softpoint.functional.coordinates import grid_to_image
from softpoint.types import AttentionMaps
from softpoint.viz.grid import contact_sheet
from softpoint.viz.heatmap import blend_heatmap, fit_width
from softpoint.viz.primitives import draw_ring
from softpoint.viz.text import draw_text, shortened, text_size

_TILE_WIDTH, _LETTERS, _RING = 240, 11.0, 9.0  # pixels; a ring is open, so that the peak inside is seen
_INK, _TRACK, _BAR = (30, 30, 30), (228, 228, 228), (0, 114, 178)
_FLAT = 0.05  # a mask whose values differ by less than this is drawn as flat
_SURE = 0.9  # a confidence from which on there is no reason for doubt


def heatmap_panels(
    image: np.ndarray,
    heatmaps: np.ndarray,
    names: Sequence[str],
    confidence: np.ndarray,
    keypoints: np.ndarray | None = None,
    columns: int = 6,
    chosen: Sequence[int] | None = None,
) -> np.ndarray:
    """Return copies of `image` (H, W, 3) uint8 under each of `heatmaps` (K, h, w), titled "name: confidence".

    Each heatmap is scaled by its own maximum and spans the whole image; a ring in the keypoint's color is
    about its point of `keypoints` (K, 2). `chosen` are the indices of those to draw, by default all.

    >>> heatmap_panels(np.zeros((48, 64, 3), np.uint8), np.ones((2, 6, 8)), ["nose", "tail"], np.ones(2)).ndim
    3
    """
    points = np.full((len(names), 2), np.nan) if keypoints is None else keypoints
    if not len(heatmaps) == len(names) == len(confidence) == len(points):
        raise ValueError(
            f"{len(heatmaps)} heatmaps, {len(names)} names, {len(confidence)} confidences and {len(points)} keypoints"
            " must be as many each"
        )
    small = fit_width(image, _TILE_WIDTH)
    points = grid_to_image(points.astype(float), _TILE_WIDTH / image.shape[1])
    colors = palette(len(names)).tolist()
    tiles, titles = [], []
    for i in range(len(names)) if chosen is None else chosen:
        tiles.append(tile := blend_heatmap(small, heatmaps[i]))
        if np.isfinite(points[i]).all():
            draw_ring(tile, points[i], _RING, colors[i])
        value = f": {confidence[i]:.2f}"
        titles.append(shortened(names[i], _LETTERS, _TILE_WIDTH - text_size(value, _LETTERS)[0]) + value)
    return contact_sheet(tiles, columns, titles)


def attention_panel(image: np.ndarray, blocks: Mapping[str, AttentionMaps]) -> np.ndarray:
    """Return a row for each attention block: its mask over `image` (H, W, 3) uint8, its branches, and their weights.

    A mask is colored from its least to its largest value, which its title states; one that is nearly the same
    everywhere stays so. Raises ValueError for no block.

    >>> blocks = {"head": AttentionMaps(np.eye(4), np.ones((2, 4, 4)), np.array([0.3, 0.7]), ("3 x 3", "7 x 7"))}
    >>> attention_panel(np.zeros((48, 64, 3), np.uint8), blocks).ndim
    3
    """
    small = fit_width(image, _TILE_WIDTH)
    return stack([_attention_row(small, place, maps) for place, maps in blocks.items()])


def weight_bars(weights: Mapping[str, float], width: int) -> np.ndarray:
    """Return a white strip (h, width, 3) with a horizontal bar from 0 to 1 for each name, and its value.

    >>> weight_bars({"3 x 3": 0.25, "7 x 7": 0.75}, width=200).shape[1]
    200
    """
    line = text_size("Ag", _LETTERS)[1]
    strip = np.full((len(weights) * (2 * line) + line // 2, width, 3), 255, np.uint8)
    for i, (name, weight) in enumerate(weights.items()):
        top = 2 * i * line + 4
        draw_text(strip, f"{name}: {weight:.2f}", (2, top), _LETTERS, _INK)
        strip[top + line : top + line + 8, 4:-4] = _TRACK
        strip[top + line : top + line + 8, 4 : 4 + round(float(np.clip(np.nan_to_num(weight), 0, 1)) * (width - 8))] = (
            _BAR
        )
    return strip


def confidence_parts(parts: Mapping[str, np.ndarray], names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return a table as text, its header first, of the parts (K,) of each confidence, in words.

    They are `ConfidenceParts`, and `expected_error`, the mean length of an error in the lengths of those.

    >>> parts = {"in_image": 0.99, "within_radius": 0.32, "radius": 9.3, "spread": 5.0, "expected_error": 12.0}
    >>> confidence_parts({name: np.array([value]) for name, value in parts.items()}, ["nose"])[1][:4]
    ('nose', '0.32', '0.99 in the image x 0.32 within 9.3 px', 'expected error 12.0 px, heatmap 5.0 px wide')
    """
    rows: list[tuple[str, ...]] = [("keypoint", "confidence", "product of", "from", "why")]
    keys = ("in_image", "within_radius", "radius", "spread", "expected_error")
    for name, values in zip(names, np.stack([parts[key] for key in keys], axis=1).tolist(), strict=True):
        in_image, within, radius, spread, error = values
        product = f"{in_image:.2f} in the image x {within:.2f} within {radius:.1f} px"
        causes = f"expected error {error:.1f} px, heatmap {spread:.1f} px wide"
        rows.append((name, f"{in_image * within:.2f}", product, causes, confidence_reason(*values)))
    return rows


def confidence_reason(in_image: float, within_radius: float, radius: float, spread: float, expected: float) -> str:
    """Return one sentence on the smaller factor of a confidence, with lengths in pixels.

    >>> confidence_reason(0.99, 0.32, 9.3, 5.0, 12.0)
    'the expected error exceeds the radius'
    """
    if not np.isfinite(in_image * within_radius):
        return "not predicted"
    if in_image * within_radius >= _SURE:
        return "sure: in the image, and its error is far below the radius"
    if in_image < within_radius:
        return "a faint heatmap: it may not be in the image"
    if expected > radius:
        return "the expected error exceeds the radius"
    return f"the expected error is {expected / radius:.0%} of the radius, and some are far larger"


def draw_table(rows: Sequence[Sequence[str]], colors: np.ndarray | None = None) -> np.ndarray:
    """Return a white image (h, w, 3) of a table of texts whose first row is its header.

    `colors` (K, 3) put a square in the color of its keypoint before each further row.

    >>> draw_table([("keypoint", "confidence"), ("nose", "0.32")]).shape[2]
    3
    """
    pad, height = round(2 * _LETTERS), text_size("Ag", _LETTERS)[1] + 4
    widths = [max(text_size(row[i], _LETTERS)[0] for row in rows) + pad for i in range(len(rows[0]))]
    table = np.full((height * len(rows) + pad, pad + sum(widths), 3), 255, np.uint8)
    for i, row in enumerate(rows):
        top = i * height + pad // 2
        for column, text in enumerate(row):
            draw_text(table, text, (pad + sum(widths[:column]), top), _LETTERS, _INK)
        if i and colors is not None:
            table[top + 3 : top + height - 5, 4 : pad - 6] = colors[i - 1]
    table[height + pad // 2 - 2, pad:] = _TRACK
    return table


def stack(images: Sequence[np.ndarray]) -> np.ndarray:
    """Return images (h, w, 3) below each other, with white to the right of those that are narrower.

    >>> stack([np.zeros((2, 3, 3), np.uint8), np.zeros((1, 5, 3), np.uint8)]).shape
    (3, 5, 3)
    """
    if not images:
        raise ValueError("there is nothing to draw")
    width = max(image.shape[1] for image in images)
    margins = [((0, 0), (0, width - image.shape[1]), (0, 0)) for image in images]
    return np.concatenate(
        [np.pad(image, margin, constant_values=255) for image, margin in zip(images, margins, strict=True)]
    )


def _attention_row(image: np.ndarray, place: str, maps: AttentionMaps) -> np.ndarray:
    """Return the mask of a block, the masks of its branches, and bars of its router's weights."""
    tiles, titles = [_blend_mask(image, maps.mask)], [f"{place}: mask {_range(maps.mask)}"]
    for name, branch in zip(maps.names, maps.branches, strict=True):
        tiles.append(_blend_mask(image, branch))
        titles.append(f"{name}: {_range(branch)}")
    row = contact_sheet(tiles, len(tiles), titles)
    if not len(maps.router_weights):
        return row
    bars = weight_bars(dict(zip(maps.names, maps.router_weights.tolist(), strict=True)), _TILE_WIDTH)
    canvas = np.full((max(len(row), len(bars)), row.shape[1] + bars.shape[1] + 8, 3), 255, np.uint8)
    canvas[: len(row), : row.shape[1]] = row
    canvas[8 : 8 + len(bars), row.shape[1] : -8] = bars[: len(canvas) - 8]
    return canvas


def _blend_mask(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    low = float(mask.min())
    return blend_heatmap(image, (mask - low) / max(float(mask.max()) - low, _FLAT), top=1.0)


def _range(mask: np.ndarray) -> str:
    return f"{mask.min():.2f} to {mask.max():.2f}"
