"""Scenes of rigid flat shapes with named corners: the smallest task for a keypoint model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from softpoint.data.synthetic import canvas
from softpoint.data.synthetic.raster import Part, Point, Polygon, covers, paint
from softpoint.labels.skeleton import Skeleton


class Template(NamedTuple):
    """A shape as two convex pieces in a bright and a dark tone of one hue.

    The tones distinguish its corners even in a mirror, so that no corner needs a left and a right.
    """

    name: str
    hue: float
    vertices: dict[str, tuple[float, float]]
    bright: tuple[str, ...]
    dark: tuple[str, ...]
    keypoints: tuple[str, ...]


TEMPLATES = (
    Template(
        "triangle", 0.01, {"heel": (0, 0), "middle": (0.34, 0), "toe": (0.68, 0), "tip": (0, 1)},
        bright=("heel", "middle", "tip"), dark=("middle", "toe", "tip"), keypoints=("tip", "heel", "toe"),
    ),
    Template(
        "kite", 0.58, {"nose": (0, 0.36), "bright": (-0.42, 0.06), "dark": (0.42, 0.06), "tail": (0, -0.74)},
        bright=("nose", "bright", "tail"), dark=("nose", "dark", "tail"), keypoints=("nose", "tail", "bright", "dark"),
    ),
    Template(
        "bracket", 0.34,
        {"heel": (0, 0), "toe": (0.72, 0), "sole": (0.72, 0.3), "inner": (0.3, 0.3), "knee": (0.3, 1), "top": (0, 1)},
        bright=("heel", "inner", "knee", "top"), dark=("heel", "toe", "sole", "inner"),
        keypoints=("top", "heel", "toe"),
    ),
)  # fmt: skip

SKELETON = Skeleton(
    names=tuple(f"{shape.name}_{corner}" for shape in TEMPLATES for corner in shape.keypoints),
    edges=(
        ("triangle_tip", "triangle_heel"), ("triangle_heel", "triangle_toe"), ("triangle_toe", "triangle_tip"),
        ("kite_nose", "kite_bright"), ("kite_bright", "kite_tail"), ("kite_tail", "kite_dark"),
        ("kite_dark", "kite_nose"), ("bracket_top", "bracket_heel"), ("bracket_heel", "bracket_toe"),
    ),
)  # fmt: skip


class Shapes:
    """Scenes with one triangle, one kite and one bracket, and their ten corners.

    Raises ValueError for a difficulty outside [0, 1], for several `subjects`, or a size below 32 px.

    >>> scene = Shapes(difficulty=0.2).draw(np.random.default_rng(0), (48, 64))
    >>> scene.image.shape, scene.keypoints.shape, len(Shapes().skeleton)
    ((48, 64, 3), (10, 2), 10)
    """

    skeleton = SKELETON

    def __init__(self, difficulty: float = 0.5, subjects: None = None) -> None:
        if subjects is not None:
            raise ValueError(f"scene.subjects={subjects}: scene=shapes is one subject; scene=figure paints several")
        self.difficulty = canvas.check_difficulty(difficulty)

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> canvas.Scene:
        """Return one scene of size (height, width) in px, a function of the state of `rng`."""
        image = canvas.background(rng, size, self.difficulty)
        canvas.distract(rng, image, self.difficulty)
        outlines = self._place([self._outline(rng, shape, size) for shape in TEMPLATES], rng, size)
        layers = [
            [Polygon([outline[v] for v in piece]) for piece in (shape.bright, shape.dark)]
            for shape, outline in zip(TEMPLATES, outlines, strict=True)
        ]
        order = rng.permutation(len(TEMPLATES)).tolist()
        for i in order:
            paint(image, layers[i], self._colors(rng, TEMPLATES[i].hue))
        rods = canvas.occluders(rng, size, self.difficulty)
        canvas.cover(rng, image, rods)
        keypoints = np.array([outline[v] for t, outline in zip(TEMPLATES, outlines, strict=True) for v in t.keypoints])
        visibility = _visibility(keypoints, layers, order, rods)
        return canvas.Scene(canvas.photograph(rng, image, self.difficulty), keypoints, visibility)

    def _outline(self, rng: np.random.Generator, shape: Template, size: tuple[int, int]) -> np.ndarray:
        """Return vertices (V, 2) in px about the center of their bounding box, rotated, tilted and scaled."""
        angle, extent, tilt_x, tilt_y = rng.random(4).tolist()
        c, s = np.cos(2 * np.pi * angle), np.sin(2 * np.pi * angle)
        flat = np.array(list(shape.vertices.values())) @ np.array([[c, s], [-s, c]])
        tilt = np.array([tilt_x - 0.5, tilt_y - 0.5]) * 0.8 * self.difficulty
        flat = flat / (1 + flat @ tilt)[:, None]
        low, high = flat.min(0), flat.max(0)
        scale = (0.3 + 0.15 * extent) * min(size) / float((high - low).max())
        outline: np.ndarray = (flat - (low + high) / 2) * scale
        return outline

    def _place(
        self, outlines: list[np.ndarray], rng: np.random.Generator, size: tuple[int, int]
    ) -> list[dict[str, Point]]:
        """Move each outline inside the frame, to the placement with the largest gaps of a few random ones."""
        reach = np.array([outline.max(0) for outline in outlines])
        spare = np.array(size[::-1], dtype=np.float64) - 1 - 2 * reach
        tries = reach + rng.random((1 + round(11 * (1 - self.difficulty)), len(outlines), 2)) * spare
        gaps = ((tries - tries[:, [1, 2, 0]]) ** 2).sum(-1)
        centers = tries[int(gaps.min(1).argmax())]
        placed = [outline + center for outline, center in zip(outlines, centers, strict=True)]
        return [dict(zip(t.vertices, p.tolist(), strict=True)) for t, p in zip(TEMPLATES, placed, strict=True)]

    def _colors(self, rng: np.random.Generator, hue: float) -> list[canvas.Color]:
        """Return a bright and a dark tone near the shape's hue."""
        shift, saturation, value = ((rng.random(3) - 0.5) * (0.2 + 0.8 * self.difficulty)).tolist()
        hue += 0.07 * shift
        return [
            canvas.hsv(hue, 0.75 + 0.2 * saturation, 0.95 + 0.1 * value),
            canvas.hsv(hue, 0.9 + 0.2 * saturation, 0.55 + 0.1 * value),
        ]


def _visibility(
    keypoints: np.ndarray, layers: Sequence[Sequence[Part]], order: list[int], rods: Sequence[Part]
) -> np.ndarray:
    """Return the visibility (K,): 1 for a corner that a layer in front of its own covers, else 2."""
    own = np.array([order.index(i) for i, shape in enumerate(TEMPLATES) for _ in shape.keypoints])
    visibility = np.full(len(keypoints), 2, dtype=np.int64)
    for depth, parts in enumerate([*(layers[i] for i in order), rods]):
        for part in parts:
            visibility[covers(part, keypoints) & (own < depth)] = 1
    return visibility
