"""Random augmentation of images and keypoints.

`Augment` draws a matrix and a `Color`, and `apply_color` applies a `Color` to an image. `device_augment` applies the
same draws to whole batches on their device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Annotated, Any, NamedTuple, get_type_hints

import cv2
import numpy as np

from softpoint.data import geometry
from softpoint.data.pixel_transforms import apply_pixel_transforms, check_pixel_transforms

# A probability of a mirror that the labels decide, and that of labels that have mirrored or symmetric poses.
AUTO, FLIP = "auto", 0.5

# Largest number of patches per image when `dropout` is on.
PATCHES = 4

# Rec. 601: RGB to luma and two axes of color, in which saturation is a length and hue an angle.
_YIQ = np.array([[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])
_RGB = np.linalg.inv(_YIQ)

# The normal distribution as 256 equally likely values with a deviation of 1: looking noise up by random bytes takes a
# tenth of the time of drawing it.
_QUANTILES = np.array([NormalDist().inv_cdf((byte + 0.5) / 256) for byte in range(256)])
_QUANTILES /= _QUANTILES.std()


class Patch(NamedTuple):
    """A rectangle of one color over the image: its sides, and its place in the room left, as fractions."""

    x: float
    y: float
    width: float
    height: float
    color: tuple[int, int, int]  # RGB, 0 to 255

    def box(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return left, top, right and bottom of its pixels in an image of `size` (H, W); at least one pixel.

        >>> Patch(0.5, 0.0, 0.25, 0.1, (0, 0, 0)).box((10, 21))
        (8, 0, 13, 1)
        """
        height, width = max(1, round(self.height * size[0])), max(1, round(self.width * size[1]))
        left, top = int(self.x * (size[1] - width + 1)), int(self.y * (size[0] - height + 1))
        return left, top, left + width, top + height


@dataclass(frozen=True)
class Color:
    """Changes to the pixels of one image, in their order; each default changes nothing."""

    brightness: float = 1.0  # factor
    contrast: float = 1.0  # factor on the distance from the image's mean gray
    saturation: float = 1.0  # factor on the distance from gray
    hue: float = 0.0  # fraction of the color circle, from red towards yellow
    gamma: float = 1.0  # exponent
    patches: tuple[Patch, ...] = ()
    blur: float = 0.0  # sigma in pixels
    noise: float = 0.0  # sigma as a fraction of white
    seed: int = 0  # of the noise and of the pixel transforms


@dataclass(kw_only=True, eq=False)
class Augment:
    """Draws one geometric matrix and one change of color per image; each number is the largest strength of its step.

    The annotation of a number states how large it may be; the smallest is 0.

    Geometry: `rotate` and `shear` in degrees, `scale` (smallest, largest) factor, `translate` and `perspective` (of
    each corner) as fractions of the side, for a fraction `probability` of the images; `flip` is the probability of a
    left-right mirror, or "auto", which is 0 until `decide_flip`.
    Color, each step for another fraction `recolor_probability` of the images: `brightness`, `contrast`, `saturation`
    and `gamma` as relative changes, `hue` as a fraction of the color circle, `blur` as sigma in pixels, `noise` as
    sigma as a fraction of white, `dropout` as the side of occluding patches as a fraction of the image's; 0 leaves a
    step out. `pixel` lists pixel-level transforms of albumentations, applied last, each with its own probability.
    Raises ValueError for a number out of range, and for a transform that may move pixels.
    """

    flip: float | str = 0.0
    rotate: Annotated[float, 180] = 0.0
    scale: Sequence[float] = (1.0, 1.0)
    translate: Annotated[float, 1] = 0.0
    shear: Annotated[float, 45] = 0.0
    perspective: Annotated[float, 0.25] = 0.0  # beyond, four corners may no longer form a convex shape
    probability: Annotated[float, 1] = 1.0
    brightness: Annotated[float, 1] = 0.0
    contrast: Annotated[float, 1] = 0.0
    saturation: Annotated[float, 1] = 0.0
    hue: Annotated[float, 0.5] = 0.0
    gamma: Annotated[float, 2] = 0.0
    blur: Annotated[float, 10] = 0.0
    noise: Annotated[float, 1] = 0.0
    dropout: Annotated[float, 0.9] = 0.0
    recolor_probability: Annotated[float, 1] = 0.5
    pixel: Sequence[Any] = ()

    def __post_init__(self) -> None:
        self.flip_is_open = self.flip == AUTO
        if self.flip_is_open:
            self.flip = 0.0
        self._check("flip", 1, ", and auto follows the labels")
        for name, hint in get_type_hints(Augment, include_extras=True).items():
            (largest,) = getattr(hint, "__metadata__", (None,))
            if largest is not None:
                self._check(name, largest)
        try:
            low, high = (float(factor) for factor in self.scale)
        except (TypeError, ValueError):
            low = high = 0.0
        if not 0.1 <= low <= high <= 10:
            raise ValueError(
                f"augment.scale={self.scale!r} is not a smallest and a largest factor between 0.1 and 10;"
                " [1, 1] turns it off"
            )
        self.scale = (low, high)
        self.pixel = check_pixel_transforms(self.pixel)

    def _check(self, name: str, largest: float, more: str = "") -> None:
        value = getattr(self, name)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (number and 0 <= value <= largest):
            raise ValueError(f"augment.{name}={value!r} is not a number from 0 to {largest}; 0 turns it off{more}")

    def decide_flip(self, mirrors: bool) -> None:
        """Mirror half of the images, or none, where that is open."""
        if self.flip_is_open:
            self.flip = FLIP * mirrors

    def matrix(self, rng: np.random.Generator, size: tuple[int, int], can_flip: bool) -> tuple[np.ndarray, bool]:
        """Return a (3, 3) matrix from an input of `size` (H, W) to its augmented self, and whether it mirrors.

        `can_flip` is that of `Skeleton.can_mirror`: a mirror turns a left ear into a right ear. The same numbers are
        drawn whatever the settings, so that changing one setting does not reshuffle the others.
        """
        gate, coin, spread = *rng.random(2), rng.uniform(-1, 1, 14)
        flips = bool(can_flip and coin < float(self.flip))
        matrix = geometry.mirror(size[1]) if flips else np.eye(3)
        return (self._move(spread, size) @ matrix if gate < self.probability else matrix), flips

    def _move(self, spread: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Return the geometric change of 14 numbers in [-1, 1], as fractions of the largest strengths."""
        height, width = size
        center = ((width - 1) / 2, (height - 1) / 2)
        low, high = self.scale
        # Even in the logarithm: enlarging by a quarter is as likely as shrinking by a quarter.
        scale = math.exp(np.interp(spread[1], (-1, 1), (math.log(low), math.log(high))))
        turn = geometry.rotate(spread[0] * self.rotate, center) @ geometry.zoom(scale, center)
        lean = geometry.shear(spread[2] * self.shear, spread[3] * self.shear, center)
        shift = geometry.translate(spread[4] * self.translate * width, spread[5] * self.translate * height)
        # Without perspective the matrix is exactly affine, and takes the faster warp.
        corners = spread[6:].reshape(4, 2) * self.perspective * [width, height]
        view = geometry.perspective(size, corners) if self.perspective else np.eye(3)
        matrix: np.ndarray = shift @ view @ lean @ turn
        return matrix

    def check_channels(self, channels: int) -> None:
        """Raise ValueError for a pixel-level transform that does not take images of so many channels."""
        if channels != 3:
            check_pixel_transforms(self.pixel, channels)

    def draw_color(self, rng: np.random.Generator) -> Color:
        """Return a change of color; as with `matrix`, the same numbers are drawn whatever the settings."""
        # The eighth gate and strength are not used any more, and drawn so that a seed keeps its meaning.
        gate, strength, spots = rng.random(9), rng.random(8), rng.random(1 + 7 * PATCHES)
        seed = int(rng.integers(2**63))
        on = gate < self.recolor_probability
        either = 2 * strength - 1  # way
        return Color(
            brightness=1 + self.brightness * either[0] * on[0],
            contrast=1 + self.contrast * either[1] * on[1],
            saturation=1 + self.saturation * either[2] * on[2],
            hue=self.hue * either[3] * on[3],
            gamma=math.exp(math.log1p(self.gamma) * either[4] * on[4]),
            # From a tenth on: hardly any blur takes as long as some.
            blur=self.blur * (0.1 + 0.9 * strength[5]) * on[5],
            noise=self.noise * strength[6] * on[6],
            patches=_patches(spots, self.dropout) if self.dropout and on[8] else (),
            seed=seed,
        )

    def recolor(self, rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
        """Return the uint8 image (H, W, C) with other colors, noise, blur or patches; points stay in place."""
        color = self.draw_color(rng)
        return apply_pixel_transforms(self.pixel, apply_color(image, color), color.seed)


def apply_color(image: np.ndarray, color: Color) -> np.ndarray:
    """Return the uint8 image (H, W, C) after `color`; the very image where there is nothing to do.

    Saturation and hue are those of RGB, and leave images of other channels as they are.

    >>> apply_color(np.full((1, 1, 3), 100, np.uint8), Color(brightness=1.5)).tolist()
    [[[150, 150, 150]]]
    """
    # The order of a camera: light on surfaces, what hides them, lens, sensor.
    channels = image.shape[2]
    if color.brightness != 1 or color.contrast != 1 or (channels == 3 and (color.saturation != 1 or color.hue)):
        image = _relight(image, color)
    if color.gamma != 1:
        image = cv2.LUT(image, gamma_table(color.gamma))
    if color.patches:
        image = image.copy()
        for patch in color.patches:
            left, top, right, bottom = patch.box((image.shape[0], image.shape[1]))
            image[top:bottom, left:right] = np.resize(patch.color, channels)
    if color.blur:
        image = _blur(image, color.blur)
    if color.noise:
        image = _add_noise(image, color.noise, color.seed)
    return image if image.ndim == 3 else image[..., None]  # OpenCV drops a single channel


def _relight(image: np.ndarray, color: Color) -> np.ndarray:
    """Return the image with another brightness and contrast and, where it is RGB, other saturation and hue."""
    if image.shape[2] == 3:
        mean_gray = float(_YIQ[0] @ cv2.mean(image)[:3])
        return cv2.transform(image, color_matrix(color, mean_gray))
    levels = color.contrast * np.arange(256) + (1 - color.contrast) * image.mean()
    return cv2.LUT(image, np.rint(color.brightness * levels).clip(0, 255).astype(np.uint8))


def color_matrix(color: Color, mean: float) -> np.ndarray:
    """Return the matrix float32 (3, 4) from (red, green, blue, 1) to the changed color, for an image of `mean` gray.

    Brightness, contrast, saturation and hue are all linear. Saturation and hue keep grays as they are.

    >>> color_matrix(Color(brightness=1.5, contrast=0.5), 100.0)[0].tolist()
    [0.75, 0.0, 0.0, 75.0]
    """
    turn = 2 * math.pi * color.hue
    cosine, sine = color.saturation * math.cos(turn), color.saturation * math.sin(turn)
    # An identity comes out exact, which the product with the rounded inverse would not.
    change = np.array([[0.0, 0.0, 0.0], [0.0, cosine - 1, sine], [0.0, -sine, cosine - 1]])
    linear = color.brightness * color.contrast * (np.eye(3) + _RGB @ change @ _YIQ)
    offset = color.brightness * (1 - color.contrast) * mean
    return np.column_stack([linear, np.full(3, offset)]).astype(np.float32)


def gamma_table(gamma: float) -> np.ndarray:
    """Return the gray level uint8 (256,) that each level becomes by the exponent `gamma`.

    >>> gamma_table(2.0)[[0, 128, 255]].tolist()
    [0, 64, 255]
    """
    return np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)


def blur_radius(sigma: float) -> int:
    """Return the radius in pixels of the kernel of a blur."""
    return int(3.5 * sigma)


def _patches(numbers: np.ndarray, largest: float) -> tuple[Patch, ...]:
    """Return one to four patches from 29 numbers in [0, 1), with sides from a quarter of `largest` on."""
    rows = numbers[1:].reshape(PATCHES, 7)[: 1 + int(numbers[0] * PATCHES)]
    sides = largest * (0.25 + 0.75 * rows[:, 2:4])
    colors = (256 * rows[:, 4:]).astype(int)
    drawn = zip(rows[:, :2].tolist(), sides.tolist(), colors.tolist(), strict=True)
    return tuple(
        Patch(x, y, width, height, (red, green, blue)) for (x, y), (width, height), (red, green, blue) in drawn
    )


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    radius = blur_radius(sigma)
    x = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (x / sigma) ** 2)
    kernel /= kernel.sum()
    return cv2.sepFilter2D(image, -1, kernel, kernel)


def _add_noise(image: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    """Add Gaussian noise to every value, with `sigma` as a fraction of white."""
    words = np.random.SFC64(seed).random_raw(-(-image.size // 8))
    noise = words.view(np.uint8)[: image.size].reshape(image.shape)
    table = np.rint(255 * sigma * _QUANTILES).clip(-255, 255)
    # Two tables of bytes, because a table of signed numbers cannot be added in one go.
    up, down = table.clip(0).astype(np.uint8), (-table).clip(0).astype(np.uint8)
    return cv2.subtract(cv2.add(image, cv2.LUT(noise, up)), cv2.LUT(noise, down))
