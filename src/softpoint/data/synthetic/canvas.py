"""The common parts of synthetic scenes: background, clutter, occluders, light and camera."""

from __future__ import annotations

import colorsys
import math
from statistics import NormalDist
from typing import NamedTuple

import cv2
import numpy as np

from softpoint.data.synthetic.raster import Capsule, Color, shade

_STEPS = np.linspace(0, 1, 256)[:, None]


class Scene(NamedTuple):
    """An image with its keypoints."""

    image: np.ndarray  # uint8 (H, W, 3) RGB, C-contiguous
    keypoints: np.ndarray  # float64 (K, 2), (x, y) in px; an integer is the center of a pixel
    visibility: np.ndarray  # int64 (K,), as in COCO: 1 occluded, 2 visible; every keypoint of a scene is labeled


def check_difficulty(difficulty: float) -> float:
    """Return the difficulty; ValueError unless it is in [0, 1]."""
    if not 0 <= difficulty <= 1:
        raise ValueError(f"difficulty {difficulty} is outside [0, 1]; 0 is a plain background, 1 heavy clutter")
    return float(difficulty)


def hsv(hue: float, saturation: float, value: float) -> Color:
    """Return RGB in [0, 255] of a hue that wraps around at 1, with saturation and value clipped to [0, 1].

    >>> hsv(1.0, 1.0, 1.0)
    (255.0, 0.0, 0.0)
    """
    rgb = colorsys.hsv_to_rgb(hue % 1.0, min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0))
    return rgb[0] * 255, rgb[1] * 255, rgb[2] * 255


def background(rng: np.random.Generator, size: tuple[int, int], difficulty: float) -> np.ndarray:
    """Return a uint8 (H, W, 3) background: a pattern of two muted colors, whose contrast grows with the difficulty."""
    if min(size) < 32:
        raise ValueError(f"image size {tuple(size)} is too small for a scene; both sides must be at least 32")
    hue, saturation, value, turn, change = rng.random(5).tolist()
    first = np.array(hsv(hue, 0.35 * saturation, 0.3 + 0.65 * value))
    contrast = difficulty * (0.25 + 0.75 * change)
    other = np.array(hsv(hue + 0.5 * (turn - 0.5), 0.6 * (1 - saturation), 0.95 - 0.65 * value))
    ramp = (first + _STEPS * contrast * (other - first)).round().astype(np.uint8)
    if difficulty == 0:
        return np.full((*size, 3), ramp[0])
    pattern = _PATTERNS[int(rng.integers(len(_PATTERNS)))](rng, size)
    return cv2.LUT(cv2.merge([pattern] * 3), ramp[None])


def noise(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Return a uint8 (H, W) field of noise summed over octaves, each half as strong and twice as fine."""
    octaves = int(rng.integers(1, 5))
    field: np.ndarray = np.zeros((2, 2), np.float32)
    for octave in range(octaves):
        cells = 3 << octave
        finer = rng.standard_normal((cells, cells), dtype=np.float32) * np.float32(60 / (1 << octave))
        field = finer + np.asarray(cv2.resize(field, (cells, cells), interpolation=cv2.INTER_CUBIC))
    coarse: np.ndarray = np.clip(field + 128, 0, 255).astype(np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def gradient(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Return a uint8 (H, W) field that is bilinear between four random corners."""
    return cv2.resize(_bytes(rng, 2, 2), size[::-1], interpolation=cv2.INTER_LINEAR)


def stripes(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Return a uint8 (H, W) field of smooth parallel stripes in a random direction."""
    phase = _phase(rng, size, float(rng.uniform(0, np.pi)))
    return np.take(_WAVE, phase)


def checker(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Return a uint8 (H, W) field of tilted squares."""
    angle = float(rng.uniform(0, np.pi))
    one, two = _phase(rng, size, angle), _phase(rng, size, angle + np.pi / 2)
    return np.where((one ^ two) & 128, np.uint8(255), np.uint8(0))


_PATTERNS = (noise, noise, gradient, stripes, checker)
_WAVE = (127.5 + 127.5 * np.sin(np.arange(256) * (2 * np.pi / 256))).round().astype(np.uint8)


def _bytes(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return np.frombuffer(rng.bytes(int(np.prod(shape))), np.uint8).reshape(shape)


def _phase(rng: np.random.Generator, size: tuple[int, int], angle: float) -> np.ndarray:
    """Return the position of each pixel along a direction, uint8 (H, W), with a period of 8 to 40 % of the side."""
    step = 256 / (min(size) * rng.uniform(0.08, 0.4))
    x = np.arange(size[1], dtype=np.float32) * np.float32(step * np.cos(angle))
    y = np.arange(size[0], dtype=np.float32) * np.float32(step * np.sin(angle))
    return (x.astype(np.int32) + y.astype(np.int32)[:, None]).astype(np.uint8)


def distract(rng: np.random.Generator, image: np.ndarray, difficulty: float) -> None:
    """Draw muted ellipses, strokes and polygons into the background, not placed exactly."""
    side = min(image.shape[:2])
    for _ in range(int(rng.integers(0, 1 + round(10 * difficulty)) if difficulty else 0)):
        kind = int(rng.integers(3))
        center = rng.random(2) * image.shape[1::-1]
        hue, saturation, value, angle, *reach = rng.random(6).tolist()
        color = hsv(hue, 0.55 * saturation, 0.2 + 0.8 * value)
        axes = [side * (0.03 + 0.12 * r) for r in reach]
        if kind == 0:
            box = (center.tolist(), (2 * axes[0], 2 * axes[1]), angle * 180)
            cv2.ellipse(image, box, color, -1, cv2.LINE_AA)
        elif kind == 1:
            way = np.array([np.cos(6.3 * angle), np.sin(6.3 * angle)]) * 3 * axes[0]
            start, end = (center - way).astype(int).tolist(), (center + way).astype(int).tolist()
            cv2.line(image, start, end, color, 1 + int(side * 0.02 * reach[1]), cv2.LINE_AA)
        else:
            turns = np.linspace(0, 2 * np.pi, 7 + int(4 * angle), endpoint=False)
            radii = (0.5 + rng.random(len(turns))) * axes[0]
            blob = center + np.stack([np.cos(turns), np.sin(turns)], 1) * radii[:, None]
            cv2.fillPoly(image, [blob.round().astype(np.int32)], color, cv2.LINE_AA)


def occluders(rng: np.random.Generator, size: tuple[int, int], difficulty: float) -> list[Capsule]:
    """Return at most three short rods, which are painted in front of everything."""
    side = min(size)
    rods = []
    for _ in range(int((rng.random(3) < 0.4 * difficulty).sum())):
        center = rng.random(2) * size[::-1]
        angle, length, thick, taper = rng.random(4).tolist()
        half = np.array([np.cos(np.pi * angle), np.sin(np.pi * angle)]) * side * (0.05 + 0.1 * length)
        radius = side * (0.02 + 0.025 * thick)
        rods.append(Capsule(center - half, center + half, radius, radius * (0.7 + 0.6 * taper)))
    return rods


def cover(rng: np.random.Generator, image: np.ndarray, rods: list[Capsule]) -> None:
    """Paint the occluders in grays that no target has."""
    for rod in rods:
        hue, saturation, value = rng.random(3).tolist()
        edge, core = (hsv(hue, 0.15 * saturation, v * (0.25 + 0.6 * value)) for v in (0.7, 1.1))
        shade(image, rod, edge, core, rim=rod.radius)


def photograph(rng: np.random.Generator, image: np.ndarray, difficulty: float) -> np.ndarray:
    """Return the image under uneven light, through a slightly soft lens, with sensor noise."""
    if difficulty == 0:
        return image
    size = image.shape[1::-1]
    shade = _bytes(rng, 3, 3) * (0.55 * difficulty) + 128 * (1 - 0.55 * difficulty)
    light = cv2.resize(shade.astype(np.uint8), size, interpolation=cv2.INTER_LINEAR)
    image = cv2.multiply(image, cv2.merge([light] * 3), scale=1 / 128)
    softness, gamma, grain = rng.random(3).tolist()
    tint = 1 + 0.16 * difficulty * (rng.random(3) - 0.5)
    curve = 255 * _STEPS ** math.exp(difficulty * 0.8 * (gamma - 0.5)) * tint
    image = cv2.LUT(image, np.minimum(curve, 255).round().astype(np.uint8)[None])
    blur = difficulty * softness * max(1.1, min(size) / 180)
    if blur > 0.3:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    hiss = (128 + 20 * difficulty * grain * _NORMAL).round().astype(np.uint8)
    return cv2.addWeighted(image, 1, cv2.LUT(_bytes(rng, *image.shape), hiss), 1, -128)


# A normal deviate for each value of a byte: noise then costs one table look-up per channel.
_NORMAL = np.array([NormalDist().inv_cdf((level + 0.5) / 256) for level in range(256)])
