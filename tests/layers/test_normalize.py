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


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.full((1, 3, 4, 4), 255.0), r"a float image must be in \[0, 1\], got 255 to 255; divide by 255"),
        (torch.tensor([[[[0.0, -0.5]]] * 3]).view(1, 3, 1, 2), r"got -0.5 to 0"),
        (torch.full((1, 3, 4, 4), torch.nan), "got nan to nan"),
        (torch.zeros(1, 1, 4, 4), r"must have 3 channels as \(..., C, H, W\), got \(1, 1, 4, 4\)"),
        (torch.zeros(1, 4, 4, 3, dtype=torch.uint8), r"got \(1, 4, 4, 3\)"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.int64), "must be uint8, or float in"),
    ],
)
def test_another_range_type_or_number_of_channels_is_refused(image: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Normalize((0.5,) * 3, (0.25,) * 3).eval()(image)
