"""Samples of whole images, on which a finder is trained: alone, and beside the crops of single subjects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from softpoint.data.augment import Augment
from softpoint.data.crops import fitting_size, input_matrix
from softpoint.data.dataset import Draw, KeypointDataset, shuffled
from softpoint.data.geometry import boxes_after, transform, warp
from softpoint.data.scenes import SceneSource
from softpoint.labels.partition import evenly_spaced
from softpoint.suggest import did_you_mean
from softpoint.types import Sample

# The anchor that is the center of a subject's box, where it is no keypoint.
BOX = "box"

# Centers of subjects that are nearer to each other in a finder's input are not told apart: two of its cells, in pixels.
APART = 8.0

# Pixels along the longer side of the usual subject in the input of a finder, and bounds of all of its pixels.
SUBJECT, FEWEST, MOST = 40, 96 * 96, 384 * 576


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
        boxes = boxes_after(scene.boxes, matrix, scene.keypoints)
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


def check_anchor(anchor: str, keypoints: Sequence[str]) -> None:
    """Raise ValueError unless an anchor is "box" or one of the keypoints."""
    if anchor != BOX and anchor not in keypoints:
        raise ValueError(f"data.anchor={anchor}: {did_you_mean(anchor, [BOX, *keypoints])}")


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


def close_note(scenes: SceneSource, size: tuple[int, int], most: int = 200) -> str:
    """Return a line for scenes of which a twentieth of the subjects are too close to others to find; or "".

    At most so many scenes are looked at, evenly spaced; `size` (H, W) is that of the finder's input.
    """
    near: list[np.ndarray] = [np.empty(0)]
    for index in evenly_spaced(len(scenes), most):
        scene = scenes.describe_scene(index)
        centers = transform((scene.boxes[:, :2] + scene.boxes[:, 2:]) / 2, input_matrix(scene.size, None, size))
        apart = np.linalg.norm(centers[:, None] - centers, axis=-1)
        np.fill_diagonal(apart, np.inf)
        near.append(apart.min(1, initial=np.inf))
    distances = np.concatenate(near)
    if not len(distances) or (share := np.mean(distances < APART)) < 0.05:
        return ""
    least = max(float(np.quantile(distances, 0.05)), APART / 4)
    pixels = int(np.ceil(size[0] * size[1] * (APART / least) ** 2))
    return (
        f"{100 * share:.0f} % of the subjects have their center within {APART:g} px of another's in an input of"
        f" {size[0]}x{size[1]}, and may be found as one; data.finding_pixels={pixels} shows most of them apart\n"
    )
