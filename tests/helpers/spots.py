"""A finder that sees a subject in each bright spot of an image, and such images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from softpoint.inference import Checkpoint
from softpoint.layers import Normalize
from softpoint.models import Finder

# Places of spots (x, y) in an image of 75 x 101 pixels, and how bright each is.
FIVE = [(20.0, 15.0, 1.0), (80.0, 15.0, 0.94), (20.0, 60.0, 0.97), (80.0, 60.0, 0.91), (50.0, 38.0, 0.88)]


class _Brightness(nn.Module):
    """A backbone whose features are means of 4 x 4 pixels."""

    stages, stride, mean, std = [2], [4], (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_channels = [channels]

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [F.avg_pool2d(x, 4)]


class _First(nn.Module):
    """A decoder that returns the features as they are."""

    stride = 4

    def __init__(self, in_channels: list[int], in_strides: list[int]) -> None:
        super().__init__()
        self.out_channels = in_channels[0]

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        return features[0]


def finding_spots(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with a finder, of inputs of 64 x 96, of subjects of 40 x 24 px in them."""
    channels = checkpoint.net.in_channels
    finder = Finder(_Brightness(channels), _First, _Brightness(channels), 3)
    with torch.no_grad():
        finder.centers.weight.fill_(4 / channels)
        finder.centers.bias.fill_(-4.5)
        finder.boxes.weight.zero_()
        finder.boxes.bias.copy_(torch.tensor([0, 0, np.log(10), np.log(6)]))
    checkpoint.net.normalize = Normalize([0.5] * channels, [0.25] * channels)
    checkpoint.net.finder = finder.eval()
    return replace(checkpoint, finder={"size": (64, 96), "anchor": "box"})


def spots(size: tuple[int, int], places: list[tuple[float, float, float]], channels: int = 3) -> np.ndarray:
    """A dark image with a spot at each (x, y), as bright as its third number."""
    y, x = np.mgrid[: size[0], : size[1]]
    width = size[0] / 15
    light = sum((b * np.exp(-((x - u) ** 2 + (y - v) ** 2) / 2 / width**2) for u, v, b in places), np.zeros(size))
    noise = np.random.default_rng(0).uniform(0, 0.1, (*size, channels))
    return (255 * (0.9 * light[..., None] + noise).clip(0, 1)).astype(np.uint8)
