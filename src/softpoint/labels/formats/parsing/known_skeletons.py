"""Names and mirror pairs of keypoints that files of well-known sets and models give by their position alone."""

from __future__ import annotations

from collections.abc import Sequence

from softpoint.labels.skeleton import Skeleton, infer_flip_pairs

# The mirror of each of the 68 points of a face (iBUG, 300-W, dlib), counted from 0.
_FACE_68 = (
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
)  # fmt: skip

MPII = (
    "r_ankle", "r_knee", "r_hip", "l_hip", "l_knee", "l_ankle", "pelvis", "thorax", "upper_neck", "head_top", "r_wrist",
    "r_elbow", "r_shoulder", "l_shoulder", "l_elbow", "l_wrist",
)  # fmt: skip

COCO = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip

_FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
_HAND = ("hand_root", *(f"{finger}{i}" for finger in _FINGERS for i in range(1, 5)))

# COCO-WholeBody's keys of an annotation, and the names of the points in each, in the order of its 133 points.
WHOLE_BODY = {
    "foot_kpts": tuple(f"{side}_{part}" for side in ("left", "right") for part in ("big_toe", "small_toe", "heel")),
    "face_kpts": tuple(f"face-{i}" for i in range(68)),
    "lefthand_kpts": tuple(f"left_{part}" for part in _HAND),
    "righthand_kpts": tuple(f"right_{part}" for part in _HAND),
}  # fmt: skip


def face_pairs(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the mirror pairs of the 68 points of a face, in this order; none for another number of points.

    >>> face_pairs([f"keypoint_{i}" for i in range(1, 69)])[0], face_pairs(["nose"])
    (('keypoint_1', 'keypoint_17'), ())
    """
    if len(names) != len(_FACE_68):
        return ()
    return tuple((names[i], names[j]) for i, j in enumerate(_FACE_68) if i < j)


def numbered(count: int) -> tuple[str, ...]:
    """Return names for keypoints without any.

    >>> numbered(2)
    ('keypoint_1', 'keypoint_2')
    """
    return tuple(f"keypoint_{number}" for number in range(1, count + 1))


def skeleton_of(names: Sequence[str]) -> Skeleton:
    """Return a skeleton with the pairs that the names show, and those of a face of COCO-WholeBody or of 68 numbers.

    >>> skeleton_of(["left_ear", "right_ear"]).flip_pairs
    (('left_ear', 'right_ear'),)
    """
    names = tuple(names)
    face = names if names == numbered(len(names)) else [name for name in WHOLE_BODY["face_kpts"] if name in names]
    return Skeleton(names, infer_flip_pairs(names) + face_pairs(face))
