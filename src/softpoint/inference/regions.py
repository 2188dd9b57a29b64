"""Conformal regions of a model: ellipses about its points that hold a label with stated probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from softpoint.layers.calibration import REGION_LEVELS, Calibration
from softpoint.metrics.conformal import needed_units


@dataclass(frozen=True, eq=False)
class Regions:
    """Radii, in Mahalanobis distances by the predicted covariance, of the regions of K keypoints."""

    radii: np.ndarray  # (levels, K + 1), the last holding all points of a subject; 0 where the units were too few
    names: tuple[str, ...]  # of the K keypoints
    levels: tuple[float, ...] = REGION_LEVELS

    @classmethod
    def of(cls, calibration: Calibration, names: Sequence[str]) -> Regions | None:
        """Return those of a calibration; None where it has none."""
        radii = calibration.region_radii.detach().cpu().double().numpy()
        return cls(radii, tuple(names)) if radii.any() else None

    def at(self, level: float) -> np.ndarray:
        """Radii (K,) at a level, NaN for a keypoint without one; ValueError for a level of which there is none."""
        known = [own for own, row in zip(self.levels, self.radii, strict=True) if row[:-1].any()]
        if level not in known:
            units = (
                "" if level not in self.levels else f": its validation split had fewer than {needed_units(level)} units"
            )
            raise ValueError(
                f"regions={level:g}: the model has none of this probability{units}; it has"
                f" {', '.join(f'{own:g}' for own in known)}"
            )
        row = self.radii[self.levels.index(level), :-1]
        return np.where(row > 0, row, np.nan)

    def to_dict(self) -> list[dict[str, Any]]:
        """Plain values: of each level its probability, the radius of each keypoint and the joint one, None for none."""
        rows = [[radius or None for radius in row] for row in self.radii.tolist()]
        return [
            {"level": level, "radius": dict(zip(self.names, row[:-1], strict=True)), "joint": row[-1]}
            for level, row in zip(self.levels, rows, strict=True)
        ]
