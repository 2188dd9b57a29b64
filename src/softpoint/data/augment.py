"""Random changes that make few labelled images go far: our own geometry, colours by albumentations."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import cv2
import numpy as np

from softpoint.data import geometry

# The normal distribution in 256 equally likely values: a random byte looks its noise up, which takes a
# fifth of the time of a true draw.
_QUANTILES = np.array([NormalDist().inv_cdf((byte + 0.5) / 256) for byte in range(256)])

# How many patches hide something when `dropout` is on.
_PATCHES = (1, 4)


class Augment:
    """Draws one geometric matrix and one change of colour per image; every number is a largest strength.

    Geometry: `rotate` and `shear` in degrees, `scale` (smallest, largest) factor, `translate` and
    `perspective` (of each corner) as fractions of the side, drawn for a fraction `probability` of the
    images; `flip` is the chance of a left-right mirror.
    Colour, each step on a fraction `recolor_probability` of the images: `brightness`, `contrast`,
    `saturation` and `gamma` as relative changes, `hue` as a fraction of the colour circle, `blur` the
    sigma in pixels, `noise` the sigma as a fraction of white, `compression` the JPEG quality given up,
    `dropout` the side of the occluding patches as a fraction of the image's side; 0 leaves a step out.
    Raises ValueError for a number out of range.
    """

    def __init__(
        self,
        *,
        flip: float = 0.0,
        rotate: float = 0.0,
        scale: Sequence[float] = (1.0, 1.0),
        translate: float = 0.0,
        shear: float = 0.0,
        perspective: float = 0.0,
        probability: float = 1.0,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        hue: float = 0.0,
        gamma: float = 0.0,
        blur: float = 0.0,
        noise: float = 0.0,
        compression: float = 0.0,
        dropout: float = 0.0,
        recolor_probability: float = 0.5,
    ) -> None:
        self.flip = _within("flip", flip, 1)
        self.rotate = _within("rotate", rotate, 180)
        self.scale = _scale(scale)
        self.translate = _within("translate", translate, 1)
        self.shear = _within("shear", shear, 45)
        # Beyond a quarter of the side the four corners may no longer form a convex shape.
        self.perspective = _within("perspective", perspective, 0.25)
        self.probability = _within("probability", probability, 1)
        self.brightness = _within("brightness", brightness, 1)
        self.contrast = _within("contrast", contrast, 1)
        self.saturation = _within("saturation", saturation, 1)
        self.hue = _within("hue", hue, 0.5)
        self.gamma = _within("gamma", gamma, 2)
        self.blur = _within("blur", blur, 10)
        self.noise = _within("noise", noise, 1)
        self.compression = _within("compression", compression, 0.95)
        self.dropout = _within("dropout", dropout, 0.9)
        self.recolor_probability = _within("recolor_probability", recolor_probability, 1)
        self._compose: Any = None

    def matrix(self, rng: np.random.Generator, size: tuple[int, int], can_flip: bool) -> tuple[np.ndarray, bool]:
        """A (3, 3) matrix from an input of `size` (H, W) to its changed self, and whether it mirrors.

        Only a skeleton with known pairs `can_flip`: a mirror turns a left ear into a right ear. The same
        numbers are drawn whatever the settings, so that changing one of them does not reshuffle the rest.
        """
        gate, coin, spread = *rng.random(2), rng.uniform(-1, 1, 14)
        flips = bool(can_flip and coin < self.flip)
        matrix = geometry.mirror(size[1]) if flips else np.eye(3)
        return (self._move(spread, size) @ matrix if gate < self.probability else matrix), flips

    def _move(self, spread: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """The geometric change that 14 numbers in [-1, 1] ask for."""
        height, width = size
        centre = ((width - 1) / 2, (height - 1) / 2)
        low, high = self.scale
        # Even in the logarithm: enlarging by a quarter is as likely as shrinking by a quarter.
        scale = math.exp(np.interp(spread[1], (-1, 1), (math.log(low), math.log(high))))
        turn = geometry.rotate(spread[0] * self.rotate, centre) @ geometry.zoom(scale, centre)
        lean = geometry.shear(spread[2] * self.shear, spread[3] * self.shear, centre)
        shift = geometry.translate(spread[4] * self.translate * width, spread[5] * self.translate * height)
        if not self.perspective:  # an exactly affine matrix takes the faster warp
            return shift @ lean @ turn
        corners = spread[6:].reshape(4, 2) * self.perspective * [width, height]
        return shift @ geometry.perspective(size, corners) @ lean @ turn

    def recolor(self, rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
        """The uint8 image (H, W, 3) with other colours, noise, blur or patches; points stay in place."""
        if self._recolors and self._compose is None:
            self._compose = self._build()
        if self._recolors:
            # Compose.set_random_seed would give every transform the same seed, and all would draw alike.
            self._compose.set_random_state(rng, random.Random(int(rng.integers(2**63))))
            image = self._compose(image=image)["image"]
        if self.noise and rng.random() < self.recolor_probability:
            image = _add_noise(rng, image, rng.uniform(0, self.noise))
        return image

    @property
    def _recolors(self) -> bool:
        """Whether albumentations has anything to do."""
        jitter = self.brightness or self.contrast or self.saturation or self.hue
        return bool(jitter or self.gamma or self.blur or self.compression or self.dropout)

    def _build(self) -> Any:
        # Without this, importing it asks the network for its newest version.
        os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
        import albumentations as A

        p, steps = self.recolor_probability, []
        if self.brightness or self.contrast or self.saturation or self.hue:
            steps.append(A.ColorJitter(self.brightness, self.contrast, self.saturation, self.hue, p=p))
        if self.gamma:
            steps.append(A.RandomGamma((100 / (1 + self.gamma), 100 * (1 + self.gamma)), p=p))
        if self.blur:
            # From a tenth on: the kernel of a sigma of 0 divides by it.
            steps.append(A.GaussianBlur(blur_limit=0, sigma_limit=(self.blur / 10, self.blur), p=p))
        if self.compression:
            steps.append(A.ImageCompression("jpeg", (round(100 * (1 - self.compression)), 100), p=p))
        if self.dropout:
            sides = (self.dropout / 4, self.dropout)
            steps.append(A.CoarseDropout(_PATCHES, sides, sides, fill="random_uniform", p=p))
        return A.Compose(steps)

    def __getstate__(self) -> dict[str, Any]:
        # A worker builds its own transforms: they carry the generator of the last image.
        return self.__dict__ | {"_compose": None}


def _within(name: str, value: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        raise ValueError(f"augment.{name}={value!r} is not a number from 0 to {most}; 0 turns it off")
    return float(value)


def _scale(scale: Sequence[float]) -> tuple[float, float]:
    try:
        low, high = (float(factor) for factor in scale)
    except (TypeError, ValueError):
        low = high = 0.0
    if not 0.1 <= low <= high <= 10:
        wanted = "a smallest and a largest factor between 0.1 and 10"
        raise ValueError(f"augment.scale={scale!r} is not {wanted}; [1, 1] turns it off")
    return low, high


def _add_noise(rng: np.random.Generator, image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian noise on every value of a uint8 image, `sigma` as a fraction of white.

    Ours, because albumentations draws it from OpenCV's global generator and reseeds that one.
    """
    table = (255 * sigma * _QUANTILES).round().astype(np.int16)
    noise = table[np.frombuffer(rng.bytes(image.size), np.uint8)].reshape(image.shape)
    return cv2.add(image, noise, dtype=cv2.CV_8U)
