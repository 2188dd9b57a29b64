"""Labels of a batch in the form that the terms of a loss read, and the width of their targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from softpoint.functional import image_to_grid
from softpoint.functional.spatial import widen
from softpoint.labels.schema import ABSENT


@dataclass(frozen=True)
class Target:
    """Positions and states that a prediction is compared with, for B samples of K keypoints.

    `mask` holds the keypoints whose position can be trained: labeled, and inside the input. `states` is 0 for absent,
    1 occluded, 2 visible, -1 unlabeled. `progress` is the fraction of the training that is done, by which targets
    sharpen; None counts as its end.
    """

    points: Float[Tensor, "B K 2"]  # (x, y) in cells of the head's maps; 0 where `mask` is false
    mask: Bool[Tensor, "B K"]
    states: Int[Tensor, "B K"]
    stride: int  # input pixels per cell
    progress: float | None = None

    @classmethod
    def of(
        cls,
        keypoints: Float[Tensor, "B K 2"],
        visibility: Tensor,
        size: tuple[int, int],
        stride: int,
        progress: float | None = None,
    ) -> Target:
        """Target of keypoints in input pixels with COCO's `visibility`, for an input of `size` (H, W).

        A labeled keypoint outside the input, and one labeled as absent, has the state 0.

        >>> points, visibility = torch.tensor([[[4.0, 4], [9.6, 0], [0, 0]]]), torch.tensor([[2, 2, 0]])
        >>> target = Target.of(points, visibility, (10, 10), stride=4)
        >>> target.mask.tolist(), target.states.tolist(), target.points[0, 0].tolist()
        ([[True, False, False]], [[2, 0, -1]], [0.625, 0.625])
        """
        x, y = keypoints.unbind(-1)
        # With numbers: a tensor of them would make a GPU wait for its copy.
        inside = (x >= -0.5) & (y >= -0.5) & (x <= size[1] - 0.5) & (y <= size[0] - 0.5)
        labeled = visibility > 0
        mask, absent = inside & labeled, (visibility == ABSENT) | (labeled & ~inside)
        # An unlabeled point may hold anything, NaN included: it must not even enter the arithmetic.
        points = image_to_grid(torch.where(mask[..., None], widen(keypoints), 0), stride)
        states = torch.where(absent, 0, torch.where(labeled, visibility, -1)).long()
        return cls(points, mask, states, stride, progress)


@dataclass(frozen=True)
class Sigma:
    """Width of a target in input pixels, linear in the progress of the training from `start` to `end`.

    >>> Sigma(8.0, 3.0).at(0.5), Sigma(8.0, 3.0).at(None)
    (5.5, 3.0)
    """

    start: float
    end: float

    def __post_init__(self) -> None:
        for value in (self.start, self.end):
            if not (isinstance(value, int | float) and value > 0):
                raise ValueError(f"sigma must be positive, got {value}")

    @classmethod
    def of(cls, value: float | Mapping[str, float]) -> Sigma:
        """Return the schedule of one number for the whole training, or of {start: 8, end: 3}."""
        if not isinstance(value, Mapping):
            return cls(value, value)
        if set(value) == {"start", "end"}:
            return cls(value["start"], value["end"])
        raise ValueError(
            f"sigma must be a number, or have start and end, as in {{start: 8, end: 3}}; got {dict(value)}"
        )

    def at(self, progress: float | None) -> float:
        """Return the width at the fraction `progress` of the training; None is its end."""
        return self.end if progress is None else self.start + (self.end - self.start) * progress
