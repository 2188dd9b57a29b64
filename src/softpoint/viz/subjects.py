"""Several subjects drawn on their image: those that are found, each in a color of its own, and those labeled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from softpoint.colors import palette
from softpoint.data.scenes import Scene
from softpoint.functional.coordinates import grid_to_image
from softpoint.labels.skeleton import Skeleton
from softpoint.types import FoundSubjects
from softpoint.viz.image_ops import enlarge, letterbox, resize, rgb_view
from softpoint.viz.primitives import draw_cross, draw_disc, draw_line, draw_polygon, draw_ring
from softpoint.viz.text import draw_tag, text_size

_LEGIBLE = 900  # pixels of the longer side up to which an image is enlarged
_LABELED, _CROWD, _FAULT = (255, 255, 255), (150, 150, 150), (255, 45, 45)
_FAR = 4.0  # image sizes beyond which a point is not drawn


def draw_found(
    image: np.ndarray,
    found: FoundSubjects,
    scene: Scene,
    skeleton: Skeleton,
    *,
    faults: Sequence[str] = (),
    missed: np.ndarray | None = None,
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Return a copy of `image` (H, W, 3) uint8 RGB with the subjects that are found in it, and its labels.

    A found subject has a color: its box, edges and points, which are crosses where the confidence is below 0.5, and
    its score. Labeled points are white rings, crowds gray boxes. A word of `faults`, such as "false", for each found
    subject, "" for a right one, marks those that are wrong by a red box, crossed out; labeled ones that are `missed`
    (N,) have a red box. The image is fitted into `size` (height, width) before they are drawn; by default a small one
    grows to at most 900 pixels.

    >>> nothing = FoundSubjects(*(np.empty((0, *shape)) for shape in [(1, 2), (1,), (1, 2, 2), (), (4,)]))
    >>> none = [np.empty((0, *shape)) for shape in [(1, 2), (1,), (4,), (4,)]]
    >>> scene = Scene(np.zeros((40, 60, 3), np.uint8), (40, 60), *none, "")
    >>> draw_found(scene.image, nothing, scene, Skeleton(("nose",)), size=(80, 160)).shape
    (80, 160, 3)
    """
    canvas, growth = _fitted(rgb_view(image), size)
    for crowd in scene.crowds:
        _draw_box(canvas, crowd, growth, _CROWD, "crowd")
    colors = palette(len(found.score)).tolist()
    for i, color in enumerate(colors):
        _draw_subject(canvas, grid_to_image(found.keypoints[i], growth), found.confidence[i], skeleton, color)
    for points in grid_to_image(scene.keypoints[scene.visibility > 0], growth):
        draw_ring(canvas, points, 1.7 * _radius(canvas), _LABELED)
    for i, color in enumerate(colors):
        fault = faults[i] if len(faults) else ""
        text = f"{fault} {found.score[i]:.2f}".strip()
        _draw_box(canvas, found.boxes[i], growth, _FAULT if fault else color, text, bool(fault))
    for box in scene.boxes[missed] if missed is not None else ():
        _draw_box(canvas, box, growth, _FAULT, "missed")
    return canvas if size is None else letterbox(canvas, size, 128)


def _fitted(image: np.ndarray, size: tuple[int, int] | None) -> tuple[np.ndarray, float]:
    """The image as it is drawn on, and how many of its pixels one of the original is."""
    height, width = image.shape[:2]
    if size is None:
        factor = max(1, _LEGIBLE // max(height, width))
        return enlarge(image, factor), float(factor)
    scale = min(size[0] / height, size[1] / width)
    return resize(image, (max(1, round(height * scale)), max(1, round(width * scale)))).copy(), scale


def _radius(canvas: np.ndarray) -> float:
    return max(2.5, 0.005 * float(np.hypot(*canvas.shape[:2])))


def _draw_subject(
    canvas: np.ndarray, points: np.ndarray, confidence: np.ndarray, skeleton: Skeleton, color: list[int]
) -> None:
    radius, near = _radius(canvas), np.abs(points).max(1) < _FAR * max(canvas.shape)
    for edge in skeleton.edges:
        i, j = (skeleton.index(name) for name in edge)
        if near[i] and near[j]:
            draw_line(canvas, points[i], points[j], color, max(1, round(radius / 3)))
    for point, sure in zip(points[near], confidence[near] >= 0.5, strict=True):
        if sure:
            draw_disc(canvas, point, radius, color)
        else:
            draw_cross(canvas, point, radius, color, 2)


def _draw_box(
    canvas: np.ndarray, box: np.ndarray, growth: float, color: Sequence[int], text: str, crossed: bool = False
) -> None:
    """Draw a box (left, top, right, bottom) of the image and a text above it, or below one that is crossed out."""
    left, top, right, bottom = grid_to_image(box.reshape(2, 2), growth).ravel().tolist()
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    width = max(2, round(_radius(canvas) / 2))
    draw_polygon(canvas, corners, color, width)
    if crossed:
        draw_line(canvas, corners[0], corners[2], color, width)
        draw_line(canvas, corners[1], corners[3], color, width)
    height = float(np.clip(0.012 * np.hypot(*canvas.shape[:2]), 9, 30))
    room = text_size(text, height)
    x, y = np.clip([left, bottom if crossed else top - room[1]], 0, np.array(canvas.shape[1::-1]) - room)
    draw_tag(canvas, text, (float(x), float(y)), height, color)
