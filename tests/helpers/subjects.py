"""Example images of several subjects, what is labeled in them, and what is found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from softpoint.data.scenes import Scene
from softpoint.evaluation.subjects import SubjectResults
from softpoint.labels.skeleton import Skeleton
from softpoint.types import FoundSubjects

SKELETON = Skeleton(("nose", "tail"), edges=(("nose", "tail"),))
SIZE = (300, 400)  # its diagonal is 500
NOTHING = np.empty((0, 2, 2))


def points_at(*centers: tuple[float, float]) -> np.ndarray:
    """Two points of each subject, 20 px left and right of its center."""
    middle = np.array(centers, float).reshape(-1, 1, 2)
    return middle + np.array([[-20.0, 0.0], [20.0, 0.0]])


def boxes_about(points: np.ndarray) -> np.ndarray:
    """Boxes (N, 4) of 50 x 40 px about subjects (N, 2, 2)."""
    middle, half = points.mean(1), np.array([25, 20])
    return np.concatenate([middle - half, middle + half], axis=1)


def scene_of(
    points: np.ndarray, crowds: Sequence[Sequence[float]] = (), complete: bool = True, group: str = ""
) -> Scene:
    """A scene whose points are all visible, except where they are NaN."""
    visibility = np.where(np.isfinite(points).all(-1), 2, 0)
    boxes = boxes_about(np.nan_to_num(points)) if len(points) else np.empty((0, 4))
    pixels = np.empty((0, 0, 3), np.uint8)
    return Scene(pixels, SIZE, points, visibility, boxes, np.array(crowds, float).reshape(-1, 4), group, complete)


def found_at(points: np.ndarray, score: Sequence[float]) -> FoundSubjects:
    """Found subjects in boxes about their points."""
    count = len(points)
    covariance = np.broadcast_to(np.eye(2), (count, 2, 2, 2)).copy()
    return FoundSubjects(points, np.full((count, 2), 0.9), covariance, np.array(score, float), boxes_about(points))


def results_of(*images: tuple[Scene, FoundSubjects]) -> SubjectResults:
    """Results of images that are named by their numbers."""
    return SubjectResults.of([(f"{i}.png", *image) for i, image in enumerate(images)], SKELETON)


def random_results(seed: int, images: int = 12, crowds: bool = False, incomplete: bool = False) -> SubjectResults:
    """Images of 0 to 5 subjects, of which some are missed, found twice or away from where they are."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(images):
        points = points_at(*rng.uniform([30, 30], [370, 270], (rng.integers(0, 6), 2)))
        points += rng.normal(0, 3, points.shape)
        times = rng.choice([0, 1, 2], len(points), p=[0.2, 0.6, 0.2])
        found = np.repeat(points, times, axis=0)
        found = found + rng.normal(0, 1, found.shape) * rng.choice([0.5, 3.0, 8.0], (len(found), 1, 1))
        found = np.concatenate([found, points_at(*rng.uniform(30, 270, (rng.integers(0, 3), 2)))])
        hidden = rng.random(points.shape[:2]) < 0.2
        regions = [[*(corner := rng.uniform(0, 200, 2)), *(corner + 90)]] if crowds and rng.random() < 0.6 else []
        complete = not incomplete or bool(rng.random() < 0.5)
        scene = scene_of(points, regions, complete, f"video{i % 4}")
        scene = scene._replace(visibility=np.where(hidden, 0, rng.integers(1, 3, hidden.shape)))
        rows.append((f"{i}.png", scene, found_at(found, rng.uniform(0, 1, len(found)))))
    return SubjectResults.of(rows, SKELETON)
