"""Raw pixels are standardized per channel, whatever they are stored as."""

from __future__ import annotations

import pytest
import torch

from softpoint.layers import Normalize

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize("value", [0, 17, 255])
def test_it_is_its_formula_per_channel(value: int):
    result = Normalize(MEAN, STD)(torch.full((1, 3, 2, 2), value, dtype=torch.uint8))
    for c in range(3):
        assert result[0, c].flatten().tolist() == pytest.approx([(value / 255 - MEAN[c]) / STD[c]] * 4, rel=1e-5)


def test_it_adds_nothing_to_a_checkpoint():
    assert not Normalize(MEAN, STD).state_dict()
