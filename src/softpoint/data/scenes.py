"""Images with all of their subjects, on which a finder is trained."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from softpoint.labels.skeleton import Skeleton

NO_BOXES = np.empty((0, 4))


class Scene(NamedTuple):
    """An image and its N subjects, in pixels of the original image; N may be 0."""

    image: np.ndarray  # uint8 (H, W, C); empty in a description
    size: tuple[int, int]  # height and width of the image
    keypoints: np.ndarray  # float64 (N, K, 2), NaN where unlabeled
    visibility: np.ndarray  # int64 (N, K): 0 unlabeled, 1 occluded, 2 visible, -1 absent
    boxes: np.ndarray  # float64 (N, 4): left, top, right, bottom
    crowds: np.ndarray  # float64 (M, 4): boxes in which nothing is known about subjects
    group: str  # video, session or subject
    complete: bool = True  # False where other subjects than these may be anywhere outside their boxes


class SceneSource(Protocol):
    """A sequence of scenes; `load` is a pure function of its arguments, as that of `data.sources.Source`."""

    skeleton: Skeleton

    def __len__(self) -> int: ...

    def load_scene(self, epoch: int, index: int) -> Scene:
        """Return the scene at `index`; `epoch` matters only to sources that make new images in each."""
        ...

    def describe_scene(self, index: int) -> Scene:
        """Return the scene at `index` (of epoch 0 where they differ), without pixels if they would have to be read."""
        ...
