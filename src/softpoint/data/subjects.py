"""Subjects of scenes as records of their own: what a poser learns of images that hold several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from softpoint.data.scenes import Scene, SceneSource
from softpoint.data.sources import NO_PIXELS, Record, subject_scale
from softpoint.labels.skeleton import Skeleton


class ScenePainter(Protocol):
    """A painter of synthetic scenes with several subjects."""

    skeleton: Skeleton

    def draw_scene(self, rng: np.random.Generator, size: tuple[int, int], painted: bool = True) -> Scene:
        """Return a scene of `size` (H, W), whose image is empty without `painted`."""
        ...


class PaintedSubjects:
    """`length` synthetic scenes of `size` (H, W) with any number of subjects, and as many records of single ones.

    With `renewed`, there are new ones in each epoch. A record is a subject of a further scene that has one at least.
    """

    def __init__(
        self, painter: ScenePainter, size: tuple[int, int], length: int, seed: Sequence[int], renewed: bool
    ) -> None:
        self.painter, self.size, self.length = painter, size, length
        self.seed, self.renewed = tuple(seed), renewed
        self.skeleton = painter.skeleton

    def __len__(self) -> int:
        return self.length

    def load_scene(self, epoch: int, index: int) -> Scene:
        """Return the scene drawn from (seed, epoch, index)."""
        return self.painter.draw_scene(self._rng(epoch, index, 0), self.size)

    def describe_scene(self, index: int) -> Scene:
        """Return the scene of the first epoch, not painted."""
        return self.painter.draw_scene(self._rng(0, index, 0), self.size, painted=False)

    def load(self, epoch: int, index: int) -> Record:
        """Return one subject of a scene drawn from (seed, epoch, index), with its box."""
        return self._record(epoch, index, painted=True)

    def describe(self, index: int) -> Record:
        """Return the record of the first epoch, not painted."""
        return self._record(0, index, painted=False)

    def _record(self, epoch: int, index: int, painted: bool) -> Record:
        stream = 1
        while True:
            rng = self._rng(epoch, index, stream)
            which, scene = rng.random(), self.painter.draw_scene(rng, self.size, painted)
            if len(scene.boxes):
                return subject_record(scene, int(which * len(scene.boxes)))
            stream += 1

    def _rng(self, epoch: int, index: int, stream: int) -> np.random.Generator:
        return np.random.default_rng([*self.seed, stream, epoch if self.renewed else 0, index])


class EachSubject:
    """Every subject of scenes that are the same in all epochs, in their order.

    `places` (N, 2) is the scene of each record and the subject's number there.
    """

    def __init__(self, scenes: SceneSource) -> None:
        self.scenes, self.skeleton = scenes, scenes.skeleton
        self._described = [scenes.describe_scene(i)._replace(image=NO_PIXELS) for i in range(len(scenes))]
        places = [(i, j) for i, scene in enumerate(self._described) for j in range(len(scene.boxes))]
        self.places = np.array(places, np.int64).reshape(-1, 2)
        self._last: tuple[int, Scene] | None = None

    def __len__(self) -> int:
        return len(self.places)

    def load(self, epoch: int, index: int) -> Record:
        """Return the record at `index`, the same in every epoch."""
        place, subject = self.places[index].tolist()
        if self._last is None or self._last[0] != place:  # the next record is mostly of the same image
            self._last = (place, self.scenes.load_scene(0, place))
        return subject_record(self._last[1], subject)

    def describe(self, index: int) -> Record:
        """Return the record at `index` without pixels."""
        place, subject = self.places[index].tolist()
        return subject_record(self._described[place], subject)


def subject_record(scene: Scene, subject: int) -> Record:
    """Return one subject of a scene, whose crop shows its box."""
    keypoints, box = scene.keypoints[subject], scene.boxes[subject]
    scale = subject_scale(keypoints, scene.size, box)
    return Record(scene.image, scene.size, keypoints, scene.visibility[subject], scale, scene.group, box)
