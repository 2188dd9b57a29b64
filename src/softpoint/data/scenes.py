"""Images with all of their subjects, on which a finder is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset

from softpoint.data.augment import Augment
from softpoint.data.crops import fitting_size, input_matrix
from softpoint.data.dataset import Draw, KeypointDataset, shuffled
from softpoint.data.geometry import transform, warp
from softpoint.data.sources import NO_PIXELS
from softpoint.images import Reader
from softpoint.images.decode_errors import NoProcessError
from softpoint.labels.schema import Labels
from softpoint.labels.skeleton import Skeleton
from softpoint.suggest import did_you_mean
from softpoint.types import Sample

# The anchor that is the center of a subject's box, where it is no keypoint.
BOX = "box"

# Pixels along the longer side of the usual subject in the input of a finder, and bounds of all of its pixels.
SUBJECT, FEWEST, MOST = 40, 96 * 96, 384 * 576

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


class SceneSamples(Dataset[dict[str, torch.Tensor]]):
    """Whole images of `size` (H, W) with the subjects to find in them: a function of (seed, turn, index).

    A sample holds `image` uint8 (H, W, C), `anchors` (N, 2), `boxes` (N, 4) and `ignored` (M, 4) in its pixels, and
    `complete`. The anchor of a subject is the center of its box, or the keypoint of this name; a subject whose anchor
    is not labeled or not in the image is no target, and its box is ignored.
    """

    def __init__(
        self,
        source: SceneSource,
        size: tuple[int, int],
        anchor: str = BOX,
        seed: Sequence[int] = (),
        augment: Augment | None = None,
    ) -> None:
        self.source, self.size, self.seed, self.augment = source, size, seed, augment
        self.keypoint = None if anchor == BOX else source.skeleton.index(anchor)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self.sample(0, index)

    def sample(self, turn: int, index: int) -> dict[str, torch.Tensor]:
        """Return the sample of an image, augmented as in one of the turns in which all images are shown."""
        scene = self.source.load_scene(turn, index)
        rng = np.random.default_rng([*self.seed, turn, index])
        matrix, flipped = input_matrix(scene.size, None, self.size), False
        if self.augment is not None:
            change, flipped = self.augment.matrix(rng, self.size, self.source.skeleton.can_mirror)
            matrix = change @ matrix
        image = warp(scene.image, matrix, self.size)
        boxes = boxes_after(scene.boxes, matrix)
        anchors = (boxes[:, :2] + boxes[:, 2:]) / 2
        if self.keypoint is not None:
            own = self.source.skeleton.flip_index[self.keypoint] if flipped else self.keypoint
            anchors = transform(scene.keypoints[:, own], matrix)
        shown = ((anchors >= -0.5) & (anchors <= np.array(self.size[::-1]) - 0.5)).all(1)
        return {
            "image": torch.from_numpy(image if self.augment is None else self.augment.recolor(rng, image)),
            "anchors": torch.from_numpy(anchors[shown].astype(np.float32)),
            "boxes": torch.from_numpy(boxes[shown].astype(np.float32)),
            "ignored": torch.from_numpy(
                np.concatenate([boxes_after(scene.crowds, matrix), boxes[~shown]]).astype(np.float32)
            ),
            "complete": torch.tensor(scene.complete),
        }


def check_anchor(anchor: str, keypoints: Sequence[str]) -> None:
    """Raise ValueError unless an anchor is "box" or one of the keypoints."""
    if anchor != BOX and anchor not in keypoints:
        raise ValueError(f"data.anchor={anchor}: {did_you_mean(anchor, [BOX, *keypoints])}")


def boxes_after(boxes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return the boxes (N, 4) after a matrix (3, 3): each about the ellipse that fills it before.

    So a box that turns does not grow as its corners would ask for, where hardly a subject is.

    >>> boxes_after(np.array([[0.0, 0.0, 4.0, 2.0]]), np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])).round(6) + 0.0
    array([[-2.,  0.,  0.,  4.]])
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    center, half = (low + high) / 2, (high - low) / 2
    mapped, step = transform(center, matrix), 1e-3
    columns = [(transform(center + step * axis, matrix) - mapped) / step for axis in np.eye(2)]
    reach = np.sqrt(sum((column * half[:, i : i + 1]) ** 2 for i, column in enumerate(columns)))
    return np.concatenate([mapped - reach, mapped + reach], 1)


class WithScenes(KeypointDataset):
    """Crops of single subjects, each with `scene`, a whole image to find subjects in.

    Which image comes with a sample, and how it is augmented, is a function of (seed, epoch, index): all have been shown
    before one is shown again, in another order then.
    """

    def __init__(self, crops: KeypointDataset, scenes: SceneSamples) -> None:
        super().__init__(crops.source, crops.size, crops.seed, crops.augment, crops.padding, crops.canvases)
        self.scenes = scenes

    def __getitem__(self, draw: Draw | int) -> Sample:
        sample = super().__getitem__(draw)
        epoch, index, *_ = Draw(0, draw) if isinstance(draw, int) else draw
        turn, place = divmod(epoch * len(self) + index, len(self.scenes))
        order = shuffled(len(self.scenes), *self.scenes.seed, turn)
        return {**sample, "scene": self.scenes.sample(turn, int(order[place]))}


def finding_size(sizes: np.ndarray, boxes: np.ndarray, pixels: int | None = None) -> tuple[int, int]:
    """Return the size (H, W) of whole images of `sizes` (N, 2) in which subjects with `boxes` (N, 4) can be found.

    Of about so many `pixels`; None for as few as show the usual subject with `SUBJECT` pixels along its longer side,
    and nine of ten with a third of it, within `FEWEST` and `MOST`.
    """
    if pixels is None:
        longest = (boxes[:, 2:] - boxes[:, :2]).max(1)
        scale = SUBJECT * max(1 / np.median(longest), 1 / (3 * np.quantile(longest, 0.1)))
        area = float(np.median(sizes.prod(1)))
        pixels = int(min(max(area * scale**2, FEWEST), MOST, max(area, FEWEST)))
    return fitting_size(sizes, pixels)
