"""What a model finds in whole images, beside what is labeled there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from softpoint.data.scenes import Scene, SceneSource
from softpoint.data.sources import NO_PIXELS
from softpoint.evaluation.subjects.results import SubjectResults
from softpoint.labels.skeleton import Skeleton
from softpoint.types import FoundSubjects

# Score down to which finds are read: average precision counts those below the threshold too, in their order.
LEAST_SCORE = 0.05


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
