"""Scenes: whole images with all of their subjects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from softpoint.data.sources import NO_PIXELS
from softpoint.images import Reader
from softpoint.images.decode_errors import NoProcessError
from softpoint.labels.schema import Labels
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


class LabeledScenes:
    """The images of labels, each with all of its subjects.

    `boxes` (N, 4) is that of each subject; NaN for an image without one, and for a crowd, whose own box is a region of
    which nothing is known. With `skip`, an image that cannot be read any more is blank, and such a region.
    """

    def __init__(
        self,
        labels: Labels,
        sizes: np.ndarray,
        reader: Reader,
        boxes: np.ndarray,
        complete: bool = True,
        skip: bool = False,
    ) -> None:
        self.labels, self.sizes, self.reader, self.boxes = labels, sizes, reader, boxes
        self.complete, self.skip, self.skeleton = complete, skip, labels.skeleton
        rows: dict[str, list[int]] = {}
        for row, path in enumerate(labels.paths):
            rows.setdefault(path, []).append(row)
        self.rows = [np.array(own) for own in rows.values()]

    def __len__(self) -> int:
        return len(self.rows)

    def image(self, index: int) -> str:
        """Return the path of an image, as in the labels."""
        return str(self.labels.images[self.rows[index][0]])

    def load_scene(self, epoch: int, index: int) -> Scene:
        """Return the scene at `index`, the same in every epoch."""
        scene = self.describe_scene(index)
        try:
            return scene._replace(image=self.reader.read(self.image(index)))
        except (OSError, ValueError) as error:
            if not self.skip or isinstance(error, NoProcessError):
                raise
            height, width = scene.size
            everywhere = np.array([[-0.5, -0.5, width - 0.5, height - 0.5]])
            blank = np.zeros((height, width, self.reader.channel_count), np.uint8)
            none = {name: getattr(scene, name)[:0] for name in ("keypoints", "visibility", "boxes")}
            return scene._replace(image=blank, crowds=everywhere, **none)

    def describe_scene(self, index: int) -> Scene:
        """Return the scene at `index` without pixels."""
        rows, labels = self.rows[index], self.labels
        subjects = rows[np.isfinite(self.boxes[rows]).all(1)]
        crowds = rows[labels.crowds[rows] & np.isfinite(labels.boxes[rows]).all(1)]
        height, width = self.sizes[rows[0]].tolist()
        return Scene(
            NO_PIXELS,
            (height, width),
            labels.keypoints[subjects],
            labels.visibility[subjects].astype(np.int64),
            self.boxes[subjects],
            labels.boxes[crowds],
            labels.groups[rows[0]],
            self.complete,
        )


class SceneRows:
    """Those scenes of a source that are at `rows`, in this order."""

    def __init__(self, source: SceneSource, rows: Sequence[int]) -> None:
        self.source, self.rows, self.skeleton = source, rows, source.skeleton

    def __len__(self) -> int:
        return len(self.rows)

    def load_scene(self, epoch: int, index: int) -> Scene:
        """Return the scene at `index` of the rows."""
        return self.source.load_scene(epoch, self.rows[index])

    def describe_scene(self, index: int) -> Scene:
        """Return the scene at `index` of the rows without pixels."""
        return self.source.describe_scene(self.rows[index])
