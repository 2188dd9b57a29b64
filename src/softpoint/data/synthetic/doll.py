"""A doll with two arms and two legs: left and right, bending joints, and limbs that occlude each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from softpoint.data.synthetic import canvas
from softpoint.data.synthetic.raster import Capsule, Color, Point, covers, paint, shade
from softpoint.labels.skeleton import Skeleton, infer_flip_pairs

_SIDES = ("left", "right")
_NAMES = (
    *("head", "neck", "torso"),
    *(f"{side}_{joint}" for joint in ("shoulder", "elbow", "hand", "hip", "foot") for side in _SIDES),
)
_LIMBS = (("neck", "shoulder"), ("shoulder", "elbow"), ("elbow", "hand"), ("torso", "hip"), ("hip", "foot"))

SKELETON = Skeleton(
    names=_NAMES,
    flip_pairs=infer_flip_pairs(_NAMES),
    edges=(
        ("head", "neck"),
        ("neck", "torso"),
        *((a if a in _NAMES else f"{side}_{a}", f"{side}_{b}") for side in _SIDES for a, b in _LIMBS),
    ),
)

# The layers that meet at a joint, which is visible where any of them is.
_OWNERS = {"head": {"head"}, "neck": {"neck", "torso", "head"}, "torso": {"torso"}} | {
    f"{side}_{joint}": {f"{side}_{limb}", *others}
    for side in _SIDES
    for joint, limb, others in (
        ("shoulder", "arm", ["torso"]),
        ("elbow", "arm", []),
        ("hand", "arm", []),
        ("hip", "leg", ["torso"]),
        ("foot", "leg", []),
    )
}


class Piece(NamedTuple):
    """One capsule of the doll, with its colors at the rim and in the center."""

    part: Capsule
    colors: tuple[Color, Color]


class Doll(NamedTuple):
    """A doll in an image: its joints in px, and its layers from back to front."""

    joints: dict[str, Point]
    unit: float  # px of one unit, which is about the doll's height
    layers: dict[str, list[Piece]]
    order: list[str]

    @property
    def keypoints(self) -> np.ndarray:
        """The joints (K, 2) in the order of the skeleton."""
        return np.array([self.joints[name] for name in _NAMES])

    @property
    def parts(self) -> list[Capsule]:
        """The capsules of all layers."""
        return [piece.part for layer in self.layers.values() for piece in layer]

    @property
    def box(self) -> np.ndarray:
        """Left, top, right and bottom (4,) of all capsules, in px."""
        low, high = (np.array([getattr(part, side) for part in self.parts]) for side in ("low", "high"))
        return np.concatenate([low.min(0), high.max(0)])

    def paint(self, image: np.ndarray) -> None:
        """Paint the doll into an image (H, W, 3)."""
        for name in self.order:
            for piece in self.layers[name]:
                shade(image, piece.part, *piece.colors, rim=0.7 * piece.part.radius)
            _decorate(image, name, self.joints, self.unit)

    def visibility(self, rods: Sequence[Capsule]) -> np.ndarray:
        """Return the visibility (K,): 2 where the frontmost layer at a joint is one that meets there, else 1."""
        keypoints, front = self.keypoints, np.full(len(_NAMES), -1)
        for depth, layer in enumerate(self.order):
            for piece in self.layers[layer]:
                front[covers(piece.part, keypoints)] = depth
        for rod in rods:
            front[covers(rod, keypoints)] = -1
        seen = [d >= 0 and self.order[d] in _OWNERS[name] for name, d in zip(_NAMES, front.tolist(), strict=True)]
        return np.where(seen, 2, 1).astype(np.int64)


def pose(rng: np.random.Generator, difficulty: float) -> tuple[dict[str, Point], list[float]]:
    """Return the joints of a turned doll in units of its height, and three numbers in [0, 1) of its size and place."""
    joints = _bend(rng, freedom=0.6 + 0.4 * difficulty)
    turn, *free = rng.random(4).tolist()
    angle = (2 * turn - 1) * (0.25 + 0.75 * difficulty)
    c, s = math.cos(angle), math.sin(angle)
    points = np.array(list(joints.values())) @ np.array([[c, s], [-s, c]])
    return dict(zip(joints, points.tolist(), strict=True)), free


def put(
    joints: dict[str, Point], side: float, size: tuple[int, int], place: Sequence[float]
) -> tuple[dict[str, Point], float]:
    """Return the joints in px of an image of `size` (H, W), and the px of one unit.

    The longer side of the doll is `side` px, and `place` in [0, 1] is its position in the room that is left.
    """
    points = np.array(list(joints.values()))
    low, high = points.min(0) - _GIRTH, points.max(0) + _GIRTH
    unit = side / float((high - low).max())
    spare = np.array(size[::-1]) - unit * (high - low)
    points = (points - low) * unit + spare * place - 0.5
    return dict(zip(joints, points.tolist(), strict=True)), unit


def dressed(rng: np.random.Generator, joints: dict[str, Point], unit: float, difficulty: float) -> Doll:
    """Return the doll with these joints in px, in colors that vary with the difficulty, and its limbs in any order."""
    layers = _dress(rng, joints, unit, difficulty)
    return Doll(joints, unit, layers, _depths(rng))


# Radii in units of the doll's height; no part extends further than the girth from a joint.
_GIRTH = 0.12
_HEAD, _NECK, _ARM, _HAND, _LEG, _FOOT = 0.115, 0.045, 0.047, 0.05, 0.06, 0.062


def _bend(rng: np.random.Generator, freedom: float) -> dict[str, Point]:
    """Return the joints of an upright doll in units of its height, x to the image's right and y down."""
    raised, bent, spread = ((2 * rng.random((3, 2)) - 1) * freedom).tolist()
    arm, leg = (1 + 0.12 * freedom * (2 * rng.random(2) - 1)).tolist()
    joints: dict[str, Point] = {"head": (0.0, -0.36), "neck": (0.0, -0.225), "torso": (0.0, -0.07)}
    for i, (side, sign) in enumerate(zip(_SIDES, (1, -1), strict=True)):
        shoulder, hip = (0.12 * sign, -0.155), (0.06 * sign, 0.11)
        upper = 0.8 + 1.6 * raised[i]
        elbow = _reach(shoulder, sign, upper, 0.19 * arm)
        joints[f"{side}_shoulder"], joints[f"{side}_elbow"] = shoulder, elbow
        joints[f"{side}_hand"] = _reach(elbow, sign, upper - 0.7 + 2.2 * bent[i], 0.18 * arm)
        joints[f"{side}_hip"] = hip
        joints[f"{side}_foot"] = _reach(hip, sign, 0.22 + 0.3 * spread[i], 0.34 * leg)
    return joints


def _reach(start: Point, sign: int, angle: float, length: float) -> Point:
    """Return the end of a limb that starts at an angle in radians from straight down, outwards."""
    return start[0] + sign * length * math.sin(angle), start[1] + length * math.cos(angle)


def _depths(rng: np.random.Generator) -> list[str]:
    """Return the layers from back to front: each arm in front of or behind the body, limbs in random order."""
    arms = [f"{_SIDES[i]}_arm" for i in rng.permutation(2).tolist()]
    legs = [f"{_SIDES[i]}_leg" for i in rng.permutation(2).tolist()]
    behind = (rng.random(2) < 0.4).tolist()
    back = [arm for arm, hidden in zip(arms, behind, strict=True) if hidden]
    return [*back, *legs, "neck", "torso", "head", *(arm for arm in arms if arm not in back)]


def _dress(
    rng: np.random.Generator, joints: dict[str, Point], unit: float, difficulty: float
) -> dict[str, list[Piece]]:
    """Return the pieces of each layer, from back to front, in px."""
    vary = ((2 * rng.random(5) - 1) * 0.05 * (0.3 + difficulty)).tolist()
    skin, shirt = _tones(0.07 + vary[0] / 2, 0.42, 1.0), _tones(0.47 + vary[1], 0.85, 0.85)
    trousers, shoes = _tones(0.68 + vary[2], 0.6, 0.65), _tones(0.05, 0.6, 0.45)
    sleeves = [_tones(0.13 + vary[3], 0.85, 1.0), _tones(0.9 + vary[4], 0.75, 0.95)]
    first = int(rng.integers(2))

    def piece(start: str, end: str, radius: float, end_radius: float, colors: tuple[Color, Color]) -> Piece:
        return Piece(Capsule(joints[start], joints[end], radius * unit, end_radius * unit), colors)

    (x, y), (neck_x, neck_y) = joints["torso"], joints["neck"]
    chest, pelvis = (x + 0.25 * (neck_x - x), y + 0.25 * (neck_y - y)), (2 * x - neck_x, 2 * y - neck_y)
    layers = {
        "neck": [piece("neck", "neck", _NECK * 1.3, _NECK, skin)],
        "torso": [Piece(Capsule(chest, pelvis, 0.125 * unit, 0.1 * unit), shirt)],
        "head": [piece("head", "head", _HEAD, _HEAD, skin)],
    }
    for i, side in enumerate(_SIDES):
        sleeve = sleeves[(first + i) % 2]
        layers[f"{side}_arm"] = [
            piece(f"{side}_shoulder", f"{side}_elbow", _ARM * 1.15, _ARM, sleeve),
            piece(f"{side}_elbow", f"{side}_hand", _ARM, _ARM * 0.8, sleeve),
            piece(f"{side}_hand", f"{side}_hand", _HAND, _HAND, skin),
        ]
        layers[f"{side}_leg"] = [
            piece(f"{side}_hip", f"{side}_foot", _LEG * 1.15, _LEG * 0.8, trousers),
            piece(f"{side}_foot", f"{side}_foot", _FOOT, _FOOT, shoes),
        ]
    return layers


def _tones(hue: float, saturation: float, value: float) -> tuple[Color, Color]:
    """Return the colors at the rim and in the center of a round limb."""
    return canvas.hsv(hue, saturation * 1.1, value * 0.55), canvas.hsv(hue, saturation, value)


def _decorate(image: np.ndarray, layer: str, joints: dict[str, Point], unit: float) -> None:
    """Paint a face on the head, which shows front and up, and a button on the chest."""
    if layer == "torso":
        paint(image, [_dot(joints["torso"], 0.022 * unit)], [(250, 250, 240)])
    if layer != "head":
        return
    (x, y), (neck_x, neck_y) = joints["head"], joints["neck"]
    up = np.array([x - neck_x, y - neck_y]) / 0.135
    across = np.array([-up[1], up[0]])
    eyes = ((x, y) + 0.03 * up + np.outer((-0.042, 0.042), across)).tolist()
    face = [*(_dot(eye, 0.017 * unit) for eye in eyes), _dot((x, y), 0.012 * unit)]
    paint(image, face, [(30, 25, 40), (30, 25, 40), (215, 120, 100)])
    mouth = (x, y) - 0.05 * up + np.outer((-0.04, 0, 0.04), across) + np.outer((0.017, -0.003, 0.017), up)
    points = (mouth * 64).round().astype(np.int32)
    cv2.polylines(image, [points], False, (170, 50, 60), max(1, round(0.012 * unit)), cv2.LINE_AA, 6)


def _dot(center: Point, radius: float) -> Capsule:
    return Capsule(center, center, radius, radius)
