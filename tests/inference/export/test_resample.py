"""The matrix products see what the warp sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from softpoint.data.crops import crop_matrix
from softpoint.data.geometry import letterbox_matrix, warp
from softpoint.inference.export.resample import FixedResample, cropped, letterboxed, resample

# Grown, shrunk by whole and by odd ratios, turned about, tiny, copied.
SHAPES = [
    ((480, 640), (288, 384)),
    ((406, 396), (352, 320)),
    ((540, 960), (96, 160)),
    ((577, 769), (288, 384)),
    ((576, 768), (288, 384)),
    ((33, 200), (64, 64)),
    ((5, 3), (64, 96)),
    ((1, 1), (32, 32)),
    ((64, 96), (64, 96)),
]


@pytest.mark.parametrize(("size", "into"), SHAPES)
def test_a_whole_image_is_resampled_as_by_the_warp(size: tuple[int, int], into: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    images = torch.from_numpy(image)[None]
    placed = letterboxed(size, into, images)
    matrix = letterbox_matrix(size, into)
    np.testing.assert_allclose(placed.scale, matrix[0, 0], rtol=1e-12)
    np.testing.assert_allclose(placed.offset, matrix[:2, 2], atol=1e-9)
    expected = warp(image.astype(np.float32), matrix, into)
    for actual in (resample(images, placed, into), FixedResample(size, into)(images)):
        np.testing.assert_allclose(actual[0].permute(1, 2, 0), expected, atol=0.02)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("size", [(5, 3), (160, 240)])
def test_both_ways_lay_out_channels_alike(size: tuple[int, int], channels: int) -> None:
    images = torch.zeros(2, *size, channels, dtype=torch.uint8)
    for resampled in (resample(images, letterboxed(size, (8, 9), images), (8, 9)), FixedResample(size, (8, 9))(images)):
        assert resampled.stride() == (channels * 72, 72, 9, 1)  # or a program with both branches cannot be traced


def test_boxes_are_resampled_as_by_the_warp_each_at_its_own_scale() -> None:
    image = np.random.default_rng(1).integers(0, 256, (150, 210, 3), dtype=np.uint8)
    boxes = np.array(
        [[10.3, 20.2, 40.9, 90.1], [-30.0, -5.5, 60.0, 20.0], [0.0, 0.0, 209.0, 149.0], [200, 140, 206, 149]]
    )
    images = torch.from_numpy(image)[None].expand(len(boxes), -1, -1, -1)
    placed = cropped(torch.from_numpy(boxes), (64, 48), 1.25)
    resampled = resample(images, placed, (64, 48)).permute(0, 2, 3, 1)
    for i, box in enumerate(boxes):
        matrix = crop_matrix(box, (64, 48), 1.25)
        np.testing.assert_allclose(placed.offset[i], matrix[:2, 2], atol=1e-9)
        np.testing.assert_allclose(resampled[i], warp(image.astype(np.float32), matrix, (64, 48)), atol=0.02)
