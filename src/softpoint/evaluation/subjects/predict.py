"""What a model finds in whole images, beside what is labeled there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from softpoint.data.scenes import Scene, SceneSource
from softpoint.data.sources import NO_PIXELS
from softpoint.evaluation.eval_sets import EvaluationSet, common_keypoints
from softpoint.evaluation.subjects.results import SubjectResults
from softpoint.inference import Checkpoint, Predictor
from softpoint.inference.batch.stream import predict_subjects
from softpoint.inference.predictor import BATCH_SIZE
from softpoint.inference.subjects import subject_finder
from softpoint.labels.skeleton import Skeleton
from softpoint.types import FoundSubjects

# Score down to which finds are read: average precision counts those below the threshold too, in their order.
LEAST_SCORE = 0.05


def find_in_set(
    checkpoint: Checkpoint,
    eval_set: EvaluationSet,
    predictor: Predictor,
    *,
    threshold: float = LEAST_SCORE,
    max_subjects: int | None = None,
    batch_size: int = BATCH_SIZE,
    missing: str = "error",
    progress: Callable[[Any], Iterable[Any]] = iter,
) -> SubjectResults | None:
    """Return what a checkpoint finds in the whole images of a set; None for a model or a set of single subjects.

    Args:
        predictor: of this checkpoint, which reads the keypoints of what is found.
        threshold, max_subjects: see `SubjectFinder`.
        missing: "skip" to leave out keypoints that the labels lack, see `common_keypoints`.
        progress: as in `find_subjects`.
    """
    finder, scenes = subject_finder(checkpoint, threshold, max_subjects), eval_set.scenes
    if finder is None or scenes is None:
        return None
    return find_subjects(
        partial(predict_subjects, predictor, finder, batch_size=batch_size),
        predictor.skeleton,
        scenes,
        eval_set.scene_images,
        names=common_keypoints(predictor.skeleton.names, scenes.skeleton.names, missing),
        has_groups=eval_set.has_groups,
        progress=progress,
    )


def find_subjects(
    find: Callable[[Iterable[np.ndarray]], Iterable[FoundSubjects]],
    skeleton: Skeleton,
    scenes: SceneSource,
    images: Sequence[str],
    *,
    names: Sequence[str] | None = None,
    has_groups: bool = False,
    progress: Callable[[Any], Iterable[Any]] = iter,
) -> SubjectResults:
    """Return what `find` finds in each of the scenes, whose images are named, of the keypoints of `skeleton`.

    Args:
        find: called with the images uint8 (H, W, C), yields what it finds in each.
        names: keypoints to keep, which both have; None for all of `skeleton`.
        has_groups: other images than these are of other groups.
        progress: wraps what is found, such as `softpoint.progress.track`.
    """
    kept = list(skeleton.names if names is None else names)
    predicted, labeled = ([s.index(name) for name in kept] for s in (skeleton, scenes.skeleton))
    rows = []
    labels = deque[Scene]()  # of the images that are read ahead

    def read() -> Iterator[np.ndarray]:
        for i in range(len(scenes)):
            scene = scenes.load_scene(0, i)
            labels.append(scene._replace(image=NO_PIXELS))
            yield scene.image

    for image, found in zip(images, progress(find(read())), strict=True):
        scene = labels.popleft()
        learned = None if found.visibility is None else found.visibility[:, predicted]
        found = found._replace(
            keypoints=found.keypoints[:, predicted],
            confidence=found.confidence[:, predicted],
            covariance=found.covariance[:, predicted],
            visibility=learned,
        )
        points, states = scene.keypoints[:, labeled], scene.visibility[:, labeled]
        rows.append((image, scene._replace(keypoints=points, visibility=states), found))
    return SubjectResults.of(rows, skeleton.subset(kept), has_groups)
