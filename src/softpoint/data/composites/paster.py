"""Places, sizes and depths of pasted subjects, in the scenes and records that show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from softpoint.data.composites.cutouts import MASKS, Cutout, Cutter
from softpoint.data.composites.layers import Layer, painted, seen_fractions, visibility_of
from softpoint.data.geometry import boxes_after, rotate, transform, translate, warp, zoom
from softpoint.data.scenes import LabeledScenes, Scene, SceneSource
from softpoint.data.sources import LabeledImages, Record
from softpoint.suggest import check_choice

# At least this fraction of a subject is seen: a place at which a pasted one would cover another further, or be covered
# itself, is not taken. Places that are tried, and donors that are.
LEAST_SEEN, _TRIES = 0.5, 10

# Probability that a subject is pasted beside another one, and not where one is in another image, and the distance of
# their centers there, in sums of their radii.
_BESIDE, _DISTANCE = 0.5, (0.3, 1.2)

# A group of so many subjects gives donors to its own images.
_DONORS = 8


@dataclass(frozen=True)
class Composite:
    """Subjects of other training images, pasted into training images.

    Args:
        fraction: of the images into which some are pasted; 0 for none.
        subjects: fewest and most that are pasted into one.
        scale: smallest and largest factor of their size.
        rotate: largest angle in degrees, either way; 180 for a view from above.
        mask: "background" cuts them out by their difference from the background of a camera that stands still, "hull"
            by their points and box; "auto" takes the first where it can.
    """

    fraction: float = 0.0
    subjects: Sequence[int] = (1, 3)
    scale: Sequence[float] = (0.8, 1.25)
    rotate: float = 0.0
    mask: str = "auto"

    def __post_init__(self) -> None:
        for key, most, example in (
            ("fraction", 1, "a fraction of the images, from 0 for none to 1"),
            ("rotate", 180, "a largest angle from 0 to 180 degrees"),
        ):
            number = getattr(self, key)
            if type(number) not in (int, float) or not 0 <= number <= most:
                raise ValueError(f"data.composite.{key}={number}: give {example}")
        for key, kind, (low, high), example in (
            ("subjects", int, (1, 20), "fewest and most pasted subjects, from 1 to 20, such as [1,3]"),
            ("scale", float, (0.1, 10), "smallest and largest factor, such as [0.8,1.25]"),
        ):
            value = getattr(self, key)
            values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
            fits = len(values) == 2 and all(type(v) in (int, kind) for v in values)
            if not fits or not low <= values[0] <= values[1] <= high:
                raise ValueError(f"data.composite.{key}={values or value}: give {example}")
        check_choice("data.composite.mask", self.mask, MASKS)


class Paster:
    """Images with subjects of others pasted in, in any order of depth, also behind the image's own.

    `cutter` has the subjects of the training images, which alone are donors.
    """

    def __init__(self, cutter: Cutter, composite: Composite) -> None:
        self.cutter, self.composite = cutter, composite
        if len(cutter.rows) < 2:
            raise ValueError("data.composite pastes subjects of other training images: give two of them at least")

    def layers(
        self, rng: np.random.Generator, size: tuple[int, int], rows: Sequence[int], beside: float = _BESIDE
    ) -> list[Layer]:
        """Return the subjects of an image of `size` (H, W) and pasted ones, from back to front.

        `rows` are the image's own, of which one without a mask has no layer. A pasted one is beside another with
        probability `beside`.
        """
        own = [self.cutter.cut(row) for row in rows]
        layers = [Layer(*cutout[:6], number) for number, cutout in enumerate(own) if cutout is not None]
        low, high = self.composite.subjects
        used = list(rows)
        for _ in range(int(rng.integers(low, high + 1))):
            donor = self._donor(rng, used, rows)
            for _ in range(_TRIES if donor is not None else 0):
                assert donor is not None
                pasted = self._placed(rng, donor, size, layers, beside)
                depth = int(rng.integers(len(layers) + 1))
                tried = [*layers[:depth], pasted, *layers[depth:]] if pasted is not None else []
                if tried and min(seen_fractions(tried, size)) >= LEAST_SEEN:
                    layers = tried
                    break
        return layers

    def _donor(self, rng: np.random.Generator, used: list[int], rows: Sequence[int]) -> Cutout | None:
        """Return a whole subject of an image of which none is `used`, and note its row there; None if none is found.

        It is of the group of the image's own `rows` where that has some.
        """
        crops = self.cutter.crops
        candidates = self.cutter.groups[crops.groups[rows[0]]] if len(rows) else []
        if len(candidates) < _DONORS:
            candidates = list(range(len(crops)))
        paths = {crops.labels.paths[row] for row in used}
        for row in rng.choice(candidates, min(_TRIES, len(candidates)), replace=False).tolist():
            cutout = None if crops.labels.paths[row] in paths else self.cutter.cut(row)
            if cutout is not None and cutout.whole:
                used.append(row)
                return cutout
        return None

    def _placed(
        self, rng: np.random.Generator, donor: Cutout, size: tuple[int, int], layers: Sequence[Layer], beside: float
    ) -> Layer | None:
        """Return a donor at a random place, size and angle; None where its box is larger than the image."""
        factor = float(np.exp(rng.uniform(*np.log(self.composite.scale))))
        angle = float(rng.uniform(-1, 1)) * self.composite.rotate
        center = (donor.box[:2] + donor.box[2:]) / 2
        turn = rotate(angle, tuple(center)) @ zoom(factor, tuple(center))
        box = _box_after(donor, turn)
        spare = np.array(size[::-1]) - (box[2:] - box[:2])
        if (spare < 0).any():
            return None
        if layers and rng.random() < beside:
            other = layers[int(rng.integers(len(layers)))]
            direction, reach = rng.uniform(0, 2 * np.pi), rng.uniform(*_DISTANCE)
            distance = reach * (_radius(other.box, other.paint) + factor * _radius(donor.box, donor.paint))
            middle = (other.box[:2] + other.box[2:]) / 2
            goal = middle + distance * np.array([np.cos(direction), np.sin(direction)])
        else:
            goal = self._usual_place(rng, size)
        low = (goal - (box[2:] - box[:2]) / 2).clip(-0.5, spare - 0.5)
        shift = low - box[:2]
        if factor == 1 and angle == 0:
            inside = np.ceil(-0.5 - box[:2]), np.floor(np.array(size[::-1]) - 0.5 - box[2:])
            shift = np.round(shift).clip(*inside)  # its pixels are copied, not resampled
        return _moved(donor, translate(*shift) @ turn, size)

    def _usual_place(self, rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
        """Return about where a subject is in another image."""
        crops = self.cutter.crops
        assert crops.boxes is not None
        row = int(rng.integers(len(crops)))
        box, (height, width) = crops.boxes[row], crops.sizes[row].tolist()
        share = (box[:2] + box[2:] + 1) / 2 / (width, height) + rng.normal(0, 0.05, 2)
        return np.asarray(share * size[::-1] - 0.5)


def _radius(box: np.ndarray, paint: np.ndarray) -> float:
    """Return half the diagonal of a box, or the radius of a disc as large as what is painted, the larger one."""
    return max(float(np.hypot(*(box[2:] - box[:2]))) / 2, float(np.sqrt(paint[..., -1].sum() / np.pi)))


def _box_after(cutout: Cutout, matrix: np.ndarray) -> np.ndarray:
    """Return the box after a matrix."""
    (box,) = boxes_after(cutout.box[None], matrix, cutout.keypoints[None])
    return np.asarray(box)


def _moved(cutout: Cutout, matrix: np.ndarray, size: tuple[int, int]) -> Layer:
    """Return a cutout mapped into an image of `size` (H, W)."""
    (left, top), (height, width) = cutout.corner, cutout.paint.shape[:2]
    corners = np.array(
        [[left, top], [left + width - 1, top], [left, top + height - 1], [left + width - 1, top + height - 1]]
    )
    reached = transform(corners.astype(float), matrix)
    low = np.floor(reached.min(0)).astype(int).clip(0, np.array(size[::-1]) - 1)
    high = np.ceil(reached.max(0)).astype(int).clip(low, np.array(size[::-1]) - 1) + 1
    into = translate(*(-low)) @ matrix @ translate(left, top)
    paint = warp(cutout.paint, into, (int(high[1] - low[1]), int(high[0] - low[0])))
    corner = (int(low[0]), int(low[1]))
    keypoints = transform(cutout.keypoints, matrix)
    return Layer(paint, corner, keypoints, cutout.visibility, _box_after(cutout, matrix), None, None)


class CompositeScenes:
    """Scenes of `scenes`, into a fraction of which subjects of other training images are pasted.

    `rows` are the rows of each scene's subjects in the crops of `paster`, in their order. What is pasted is a function
    of (seed, epoch, index); a description is that of the scene as it is.
    """

    def __init__(self, scenes: SceneSource, rows: Sequence[Sequence[int]], paster: Paster, seed: Sequence[int]) -> None:
        assert len(rows) == len(scenes)
        self.scenes, self.rows, self.paster, self.seed = scenes, rows, paster, tuple(seed)
        self.skeleton = scenes.skeleton

    def __len__(self) -> int:
        return len(self.scenes)

    def describe_scene(self, index: int) -> Scene:
        """Return the scene at `index` without anything pasted, and without pixels."""
        return self.scenes.describe_scene(index)

    def load_scene(self, epoch: int, index: int) -> Scene:
        """Return the scene at `index` with what is pasted in that epoch."""
        scene = self.scenes.load_scene(epoch, index)
        rng = np.random.default_rng([*self.seed, epoch, index])
        if rng.random() >= self.paster.composite.fraction or len(scene.boxes) != len(self.rows[index]):
            return scene
        layers = self.paster.layers(rng, scene.size, self.rows[index])
        return pasted_scene(scene, layers)


def composite_scenes(scenes: LabeledScenes, paster: Paster, seed: Sequence[int]) -> CompositeScenes:
    """Return labeled scenes with pasted subjects of the same images' crops."""
    rows = [paster.cutter.rows.get(scenes.labels.paths[own[0]], []) for own in scenes.rows]
    return CompositeScenes(scenes, rows, paster, seed)


def pasted_scene(scene: Scene, layers: Sequence[Layer]) -> Scene:
    """Return a scene with its pasted layers, from back to front, as subjects after its own."""
    parts = [(scene.keypoints, scene.visibility.copy(), scene.boxes)]
    for depth, layer in enumerate(layers):
        states = visibility_of(layers, depth)
        if layer.own is None:
            parts.append((layer.keypoints[None], states[None], layer.box[None]))
        else:
            parts[0][1][layer.own] = states
    keypoints, visibility, boxes = (np.concatenate(values) for values in zip(*parts, strict=True))
    image = painted(scene.image, layers)
    return scene._replace(image=image, keypoints=keypoints, visibility=visibility, boxes=boxes)


class CompositeCrops:
    """The subjects of `paster`'s crops, into a fraction of which subjects of other images are pasted beside them.

    What is pasted is a function of (seed, epoch, index); a description is that of the image as it is.
    """

    def __init__(self, paster: Paster, seed: Sequence[int]) -> None:
        self.paster, self.seed = paster, tuple(seed)
        self.crops: LabeledImages = paster.cutter.crops
        self.skeleton, self.labels = self.crops.skeleton, self.crops.labels

    def __len__(self) -> int:
        return len(self.crops)

    def describe(self, index: int) -> Record:
        """Return the record at `index` without anything pasted, and without pixels."""
        return self.crops.describe(index)

    def load(self, epoch: int, index: int) -> Record:
        """Return the record at `index` with what is pasted in that epoch."""
        record = self.crops.load(epoch, index)
        rng = np.random.default_rng([*self.seed, epoch, index])
        if rng.random() >= self.paster.composite.fraction or record.error:
            return record
        layers = self.paster.layers(rng, record.size, [index], beside=1.0)
        own = [depth for depth, layer in enumerate(layers) if layer.own is not None]
        visibility = visibility_of(layers, own[0]) if own else record.visibility
        return record._replace(image=painted(record.image, layers), visibility=visibility)
