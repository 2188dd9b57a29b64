"""Conformal regions of a model: ellipses or heatmap sets that hold a label with stated probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from softpoint.layers.calibration import REGION_LEVELS, Calibration
from softpoint.metrics.conformal import needed_units

# The two kinds, by the key of the setting that asks for them, and the buffer of a calibration that has their bounds.
ELLIPSES, SETS = "regions", "heatmap_sets"
_BUFFERS = {ELLIPSES: "region_radii", SETS: "set_tails"}


@dataclass(frozen=True, eq=False)
class Regions:
    """Bounds of the regions of K keypoints.

    They are radii of ellipses, in Mahalanobis distances by the predicted covariance, or tails of heatmap sets.
    """

    bounds: np.ndarray  # (levels, K + 1), the last holding all points of a subject; 0 where the units were too few
    names: tuple[str, ...]  # of the K keypoints
    kind: str = ELLIPSES
    levels: tuple[float, ...] = REGION_LEVELS

    @classmethod
    def of(cls, calibration: Calibration, names: Sequence[str], kind: str = ELLIPSES) -> Regions | None:
        """Return those of a calibration; None where it has none."""
        bounds: Tensor = getattr(calibration, _BUFFERS[kind])
        return cls(bounds.detach().cpu().double().numpy(), tuple(names), kind) if bounds.any() else None

    def at(self, level: float) -> np.ndarray:
        """Bounds (K,) at a level, NaN for a keypoint without one; ValueError for a level of which there is none."""
        known = [own for own, row in zip(self.levels, self.bounds, strict=True) if row[:-1].any()]
        if level not in known:
            units = (
                "" if level not in self.levels else f": its validation split had fewer than {needed_units(level)} units"
            )
            raise ValueError(
                f"{self.kind}={level:g}: the model has none of this probability{units}; it has"
                f" {', '.join(f'{own:g}' for own in known)}"
            )
        row = self.bounds[self.levels.index(level), :-1]
        return np.where(row > 0, row, np.nan)

    def to_dict(self) -> list[dict[str, Any]]:
        """Plain values of ellipses: of each level its probability, each keypoint's radius and the joint one; None."""
        rows = [[radius or None for radius in row] for row in self.bounds.tolist()]
        return [
            {"level": level, "radius": dict(zip(self.names, row[:-1], strict=True)), "joint": row[-1]}
            for level, row in zip(self.levels, rows, strict=True)
        ]


def bounds_at(net: Any, names: Sequence[str], kind: str, level: float) -> np.ndarray:
    """Return the bounds (K,) of a network's regions at a level, as `Regions.at`; ValueError where it has none."""
    if kind == SETS:
        check_map(net.head, f"{kind}={level:g}")
    if (regions := Regions.of(net.calibration, names, kind)) is None:
        option = f" {kind}=true" * (kind == SETS)
        raise ValueError(
            f"{kind}={level:g}: the model has none; softpoint calibrate ckpt=CHECKPOINT{option} fits them where there"
            " are enough validation images"
        )
    return regions.at(level)


def check_map(head: nn.Module, key: str) -> None:
    """Raise ValueError that names the key of the setting, for a head whose heatmap only follows from its points."""
    if not getattr(head, "trains_map", False):
        raise ValueError(
            f"{key}: {type(head).__name__} trains no heatmap, of which such a set consists; train with"
            f" head=soft_argmax, multi_scale or channel_softmax, or leave that out: any head has ellipses"
        )
