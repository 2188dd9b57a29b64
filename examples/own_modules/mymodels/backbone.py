"""A backbone of your own: this class, and `backbone/plain.yaml`."""

from __future__ import annotations

from torch import Tensor, nn


class Plain(nn.Module):
    """Strided convolutions, without shortcuts: features of stride 4, 8 and 16.

    `stages`, `stride` and `out_channels` describe the features. Its input is (image - mean) / std, for an image in
    [0, 1].

    >>> import torch
    >>> [tuple(features.shape) for features in Plain(width=8)(torch.zeros(1, 3, 64, 96))]
    [(1, 8, 16, 24), (1, 16, 8, 12), (1, 32, 4, 6)]
    """

    stages, stride = (2, 3, 4), (4, 8, 16)  # stage k has stride 2^k
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.out_channels = (width, 2 * width, 4 * width)
        self.stem = _halve(3, width)
        self.body = nn.ModuleList([_halve(width, width), _halve(width, 2 * width), _halve(2 * width, 4 * width)])

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the features of images (B, 3, H, W), finest first."""
        x, features = self.stem(image), []
        for layer in self.body:
            x = layer(x)
            features.append(x)
        return features


def _halve(in_channels: int, out_channels: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU())
