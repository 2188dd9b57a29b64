"""Comparison of an exported file with the checkpoint that it was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple

import cv2
import numpy as np

from softpoint.inference.export.formats import Predict
from softpoint.inference.finding import matched_finds
from softpoint.inference.predictor import Predictor
from softpoint.inference.subjects import SubjectFinder, SubjectPredictor
from softpoint.metrics.functional import distances

# Two boxes are of the same find if they overlap more, and two scores are close that differ by less.
SAME_FIND, CLOSE_SCORE = 0.95, 1e-3


class ComparisonImage(NamedTuple):
    """An image uint8 (H, W, C), the box (4,) of a subject or None for the whole, and its labels (K, 2) or NaN."""

    image: np.ndarray
    box: np.ndarray | None = None
    keypoints: np.ndarray | None = None

    def box_or_whole(self) -> np.ndarray:
        """The box (4,), or that of the whole image."""
        height, width = self.image.shape[:2]
        return np.array([-0.5, -0.5, width - 0.5, height - 0.5]) if self.box is None else np.asarray(self.box)


@dataclass(frozen=True)
class Difference:
    """Distances between keypoints of an exported file and of its checkpoint, in pixels of the images.

    `epe` is the mean error of the checkpoint and of the file, None without labels. `other` names another output, such
    as the confidence, that differs by more than rounding explains; empty if none does. `subjects` is the number of
    those that both found, None for a model that finds none.
    """

    images: int
    mean: float
    largest: float
    epe: tuple[float, float] | None = None
    other: str = ""
    subjects: int | None = None

    def __str__(self) -> str:
        of = "" if self.subjects is None else f"{self.subjects} subjects in "
        text = f"{self.largest:.4f} px at most, {self.mean:.4f} px on average on {of}{self.images} images"
        if self.epe is None:
            return text
        return f"{text}; EPE {self.epe[1]:.3f} px, the checkpoint's {self.epe[0]:.3f} px"


def measure_difference(predictor: Predictor, exported: Predict, images: Sequence[ComparisonImage]) -> Difference:
    """Return the difference of predictions on `images`; ValueError for outputs of the file that are not finite."""
    differences, errors, other = [], [], ""
    for image, box, labels in images:
        expected, actual = predictor(image, box), exported(image, box)
        other = _differing(expected, actual, image) or other
        points = expected["keypoints"], actual["keypoints"]
        differences.append(distances(*points))
        if labels is not None:
            errors.append([distances(predicted, labels) for predicted in points])
    epe = None
    if np.isfinite(errors).any():
        checkpoint_epe, file_epe = np.nanmean(errors, axis=(0, 2)).tolist()
        epe = checkpoint_epe, file_epe
    return Difference(len(images), float(np.mean(differences)), float(np.max(differences)), epe, other)


def measure_subject_difference(
    predictor: SubjectPredictor, exported: Predict, images: Sequence[ComparisonImage]
) -> Difference:
    """Return the difference of the subjects found in `images`; ValueError for outputs of the file that are not finite.

    Each is compared with the one whose box is its own. One that the other did not find is a difference, unless its
    score is the smallest possible one, or the last of the largest possible number: rounding may then decide.
    """
    differences, other = list[np.ndarray](), ""
    for image, *_ in images:
        found = predictor(image)
        expected: dict[str, np.ndarray] = {"keypoints": found.keypoints, "confidence": found.confidence}
        expected |= {"covariance": found.covariance, "scores": found.score, "boxes": found.boxes}
        if found.visibility is not None:
            expected["visibility"] = found.visibility
        actual = exported(image, None)
        rows = matched_finds(actual["boxes"], found.boxes, SAME_FIND)
        lost = np.delete(found.score, rows[rows >= 0]), actual["scores"][rows < 0]
        limit = _limit(predictor.finder, image)
        if (np.concatenate(lost) > limit + CLOSE_SCORE).any():
            other = "number of subjects"
        matched = {name: value[rows[rows >= 0]] for name, value in expected.items()}
        other = _differing(matched, {name: value[rows >= 0] for name, value in actual.items()}, image) or other
        differences.append(distances(matched["keypoints"], actual["keypoints"][rows >= 0]).ravel())
    all_of_them = np.concatenate([*differences, np.zeros(1 if not any(map(len, differences)) else 0)])
    count = sum(map(len, differences)) // len(predictor.predictor.skeleton)
    return Difference(len(images), float(all_of_them.mean()), float(all_of_them.max()), None, other, count)


def _limit(finder: SubjectFinder, image: np.ndarray) -> float:
    """Return the score below which no find in an image is kept."""
    (finds,) = finder([image], 1)
    full = finder.max_subjects is not None and len(finds.score) >= finder.max_subjects
    return max(finder.threshold, float(finds.score.min()) if full else 0.0)


def _differing(expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray], image: np.ndarray) -> str:
    """Return an output other than the keypoints that differs by more than rounding explains; "" for none."""
    other = ""
    for name, value in expected.items():
        if not np.isfinite(actual[name]).all():
            raise ValueError(f"the exported file's {name} is not finite on an image of {image.shape}")
        if name != "keypoints" and not np.allclose(actual[name], value, rtol=0.02, atol=0.02):
            other = name
    return other


def milliseconds(predict: Predict, image: ComparisonImage, boxed: bool, repeats: int = 5) -> float:
    """Return the median time of one prediction, after one that is not measured; with the box of a crop if `boxed`."""
    box, times = image.box_or_whole() if boxed else None, []
    for _ in range(repeats + 1):
        start = perf_counter()
        predict(image.image, box)
        times.append(1000 * (perf_counter() - start))
    return float(np.median(times[1:]))


def random_images(
    size: tuple[int, int], count: int = 4, fixed: bool = False, channels: int = 3
) -> list[ComparisonImage]:
    """Return blurred noise of several shapes about `size` (H, W), odd ones too; all of `size` if it is `fixed`."""
    rng = np.random.default_rng(0)
    factors = [(1.0, 1.0)] * count if fixed else rng.uniform(0.4, 3.3, (count, 2)).tolist()
    shapes = [tuple(max(8, round(side * f)) for side, f in zip(size, pair, strict=True)) for pair in factors]
    noise = [rng.integers(0, 256, (*shape, channels), dtype=np.uint8) for shape in shapes]
    blurred = [cv2.GaussianBlur(image, (0, 0), 3).reshape(image.shape) for image in noise]
    return [ComparisonImage(cv2.normalize(image, np.empty_like(image), 0, 255, cv2.NORM_MINMAX)) for image in blurred]
