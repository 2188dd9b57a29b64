"""Test of the coordinate convention of labels against the images themselves.

Image patches around a keypoint are similar if its coordinates are right. The similarity is compared with that of the
same coordinates in wrongly paired images, so that a uniform background or a fixed camera does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from softpoint.audit.report import Example, Finding
from softpoint.images import ImageFolder
from softpoint.images.channels import luma
from softpoint.labels.partition import evenly_spaced
from softpoint.labels.schema import Labels

# A convention maps points (..., 2) in an image of a height and width to our coordinates; the second entry is advice.
Convention = Callable[[np.ndarray, int, int], np.ndarray]
CONVENTIONS: dict[str, tuple[Convention, str]] = {
    "as given": (lambda p, h, w: p, ""),
    "y counts from the bottom": (lambda p, h, w: p * [1, -1] + [0, h], "replace y by height - y"),
    "x counts from the right": (lambda p, h, w: p * [-1, 1] + [w - 1, 0], "replace x by width - 1 - x"),
    "x counts from the right and y from the bottom": (lambda p, h, w: [w - 1, h - 1] - p, "rotate by 180 degrees"),
    "x and y are exchanged": (lambda p, h, w: p[..., ::-1], "exchange the columns x and y"),
    "the image was rotated left": (lambda p, h, w: p[..., ::-1] * [-1, 1] + [w - 1, 0], "see data.exif"),
    "the image was rotated right": (lambda p, h, w: p[..., ::-1] * [1, -1] + [0, h - 1], "see data.exif"),
}

_MAX_SUBJECTS = 100
_MIN_SUBJECTS = 12
_LONGEST = 256  # pixels of an image's longer side after shrinking
_RADII = (5.0, 12.0)  # of patches, in those pixels
_GRID = 9  # samples along a patch's side
_SHUFFLES = 2
_FAR = 100.0  # image sizes beyond which a point has no patch
_FLOOR = 0.1  # a patch's contrast, relative to its image's, below which it is noise rather than texture

# Measured on six sets of 42 subjects or more, each in six wrong conventions: the right convention scores 0.29 to 0.74
# against shuffled images, a wrong one at most 0.15; 12 people in 4 images score 0.04, and nothing is reported.
_CLEAR = 0.2


class _View(NamedTuple):
    """A shrunk gray image of mean 0 and standard deviation 1."""

    smooth: tuple[np.ndarray, ...]  # (h, w) for each radius, blurred to the spacing of the patch's samples
    size: tuple[int, int]  # height and width of the original


def convention_findings(labels: Labels, image_folder: ImageFolder, readable: Sequence[int]) -> list[Finding]:
    """Return a finding if another convention fits the images clearly better than the coordinates as given.

    `readable` holds the indices of the subjects whose images can be read.
    """
    rows = [i for i in readable if (labels.visibility[i] > 0).any()]
    if len(rows) < _MIN_SUBJECTS:
        return []
    rows = [rows[i] for i in evenly_spaced(len(rows), _MAX_SUBJECTS)]
    scores = convention_scores(labels.select(rows), image_folder)
    best = max(scores, key=scores.__getitem__)
    if best == "as given" or scores[best] < _CLEAR or scores[best] < 2 * scores["as given"]:
        return []
    message = (
        f"{best}: in this convention the patches around each keypoint are similar ({scores[best]:.2f}), as given they"
        f" are not ({scores['as given']:.2f})"
    )
    examples = [Example(labels.images[i], labels.places[i], best, i) for i in rows[:3]]
    return [Finding("coordinate_convention", "error", message, examples, CONVENTIONS[best][1], len(labels))]


def convention_scores(labels: Labels, image_folder: ImageFolder) -> dict[str, float]:
    """Return for each convention how much more similar patches are than in wrongly paired images, -1 to 1."""
    views = {image: _view(image_folder.read(image)) for image in dict.fromkeys(labels.images)}
    own = [views[image] for image in labels.images]
    rng = np.random.default_rng(0)
    orders = [rng.permutation(len(own)) for _ in range(_SHUFFLES)]
    scores = {}
    for name, (convert, _) in CONVENTIONS.items():
        # As fractions of the image, so that they can be used in another one.
        points = [(convert(p, *v.size) + 0.5) / v.size[::-1] for p, v in zip(labels.keypoints, own, strict=True)]
        shuffled = [_similarity(points, [own[i] for i in order]) for order in orders]
        scores[name] = _similarity(points, own) - float(np.mean(shuffled))
    return scores


def _view(pixels: np.ndarray) -> _View:
    height, width = pixels.shape[:2]
    scale = _LONGEST / max(height, width)
    small = (max(1, round(width * scale)), max(1, round(height * scale)))
    gray = cv2.resize(luma(pixels), small, interpolation=cv2.INTER_AREA).astype(np.float32)
    gray = (gray - gray.mean()) / (gray.std() + 1)
    return _View(tuple(cv2.blur(gray, (round(2 * r / (_GRID - 1)),) * 2) for r in _RADII), (height, width))


def _similarity(points: Sequence[np.ndarray], views: Sequence[_View]) -> float:
    """Return the mean cosine between patches at one keypoint of different subjects; `points` are fractions (K, 2)."""
    patches = np.stack([_patches(p, view) for p, view in zip(points, views, strict=True)])  # (N, K, R, D)
    valid = np.isfinite(patches[:, :, :1, :1])
    count = valid.sum(axis=0)  # (K, 1, 1)
    patches = np.where(valid, patches, 0)
    pairs = (count * (count - 1))[..., 0].clip(1)
    cosine = ((patches.sum(axis=0) ** 2).sum(-1) - (patches**2).sum(axis=(0, 3))) / pairs
    used = count[:, 0, 0] > 2
    return float(cosine[used].mean()) if used.any() else 0.0


def _patches(points: np.ndarray, view: _View) -> np.ndarray:
    """Return patches (K, R, D) of mean 0 and length about 1, rotated so that the other points are to the right."""
    centers = np.where((np.abs(points) < _FAR).all(axis=1, keepdims=True), points, np.nan)
    centers = centers * view.smooth[0].shape[::-1] - 0.5
    along = _directions(centers)
    across = along[:, ::-1] * [-1, 1]
    steps = np.linspace(-1, 1, _GRID)
    patches = np.full((len(points), len(_RADII), _GRID**2), np.nan, np.float32)
    valid = np.isfinite(centers).all(axis=1)
    for r, (radius, smooth) in enumerate(zip(_RADII, view.smooth, strict=True)):
        grid = radius * (steps[None, :, None] * along[:, None, None] + steps[:, None, None] * across[:, None, None])
        samples = (centers[:, None, None] + grid)[valid].reshape(-1, _GRID**2, 2).astype(np.float32)
        if len(samples):
            x, y = np.ascontiguousarray(samples[..., 0]), np.ascontiguousarray(samples[..., 1])
            patches[valid, r] = cv2.remap(smooth, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    patches -= patches.mean(axis=2, keepdims=True)
    patches /= np.sqrt((patches**2).sum(axis=2, keepdims=True) + (_GRID * _FLOOR) ** 2)
    return patches


def _directions(centers: np.ndarray) -> np.ndarray:
    """Return unit vectors (K, 2) from each point to the mean of the others; to the right without others."""
    valid = np.isfinite(centers).all(axis=1)
    total = np.where(valid[:, None], centers, 0).sum(axis=0)
    towards = (total - centers) / max(1, valid.sum() - 1) - centers
    length = np.linalg.norm(towards, axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        usable = (length > 0) & (valid.sum() > 1)
    return np.where(usable, towards / np.where(usable, length, 1), [1.0, 0.0])
