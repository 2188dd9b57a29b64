"""Regions are read from a calibration, and a level of which there is none is refused with the units it takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from softpoint.inference.regions import Regions
from softpoint.layers import Calibration


def test_radii_of_a_calibration_are_told_apart_by_level_and_keypoint() -> None:
    calibration = Calibration(2)
    calibration.set(region_radii=torch.tensor([[1.0, 2.0, 3.0], [4.0, 0.0, 0.0]]))
    regions = Regions.of(calibration, ["nose", "tail"])
    assert regions is not None
    np.testing.assert_array_equal(regions.at(0.5), [1, 2])
    np.testing.assert_array_equal(regions.at(0.9), [4, np.nan])
    assert regions.to_dict() == [
        {"level": 0.5, "radius": {"nose": 1.0, "tail": 2.0}, "joint": 3.0},
        {"level": 0.9, "radius": {"nose": 4.0, "tail": None}, "joint": None},
    ]
    with pytest.raises(ValueError, match=r"regions=0\.8: the model has none of this probability; it has 0\.5, 0\.9"):
        regions.at(0.8)


def test_a_level_that_took_more_units_says_how_many() -> None:
    calibration = Calibration(1)
    calibration.set(region_radii=torch.tensor([[1.0, 2.0], [0.0, 0.0]]))
    regions = Regions.of(calibration, ["nose"])
    assert regions is not None
    with pytest.raises(ValueError, match=r"its validation split had fewer than 9 units; it has 0\.5$"):
        regions.at(0.9)
