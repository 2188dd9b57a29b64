"""A mark that tells a network which of several subjects in a crop is meant."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from softpoint.functional import image_to_grid

# Widths of the Gaussians about the center, as fractions of the shorter side of the input.
WIDTHS = (0.05, 0.1, 0.2, 0.4)


class SubjectMark(nn.Module):
    """Scales and shifts features by Gaussians of several widths about the center of the subject that is meant.

    Features become x (1 + a) + b, where a and b are sums of the Gaussians, one weight for each channel; all weights
    start at 0, so that a network starts as without a mark. Source: conditioning by the center of a subject, as the
    conditional attention of Zhou, Stoffl, Mathis and Mathis, arXiv:2306.07879, with feature-wise scales and shifts of
    Perez et al., arXiv:1709.07871.

    Args:
        channels, strides: of the features, in the same order.

    >>> mark = SubjectMark([2], [4])
    >>> mark([torch.ones(1, 2, 4, 4)], (16, 16))[0].unique().tolist()
    [1.0]
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        self.strides = list(strides)
        self.weights = nn.ParameterList(torch.zeros(2, count, len(WIDTHS)) for count in channels)

    def forward(
        self, features: list[Tensor], size: tuple[int, int], center: Float[Tensor, "B 2"] | None = None
    ) -> list[Tensor]:
        """Return the marked features of an input of `size` (H, W).

        `center` (x, y) is in pixels of the input; None for its middle, where that of a crop's subject is.
        """
        if center is None:
            center = torch.tensor([[(size[1] - 1) / 2, (size[0] - 1) / 2]], device=features[0].device)
        return [self._marked(i, x, min(size), center) for i, x in enumerate(features)]

    def _marked(self, i: int, x: Float[Tensor, "B C h w"], side: int, center: Tensor) -> Tensor:
        stride, (height, width) = self.strides[i], x.shape[-2:]
        place = image_to_grid(center.float(), stride)
        gaussians = []
        for fraction in WIDTHS:
            std = fraction * side / stride
            rows, columns = (_bump(place[:, axis], std, length) for axis, length in ((1, height), (0, width)))
            gaussians.append(rows[:, :, None] * columns[:, None])
        bumps = torch.stack(gaussians, 1)
        scale, shift = torch.einsum("tcg,bghw->tbchw", self.weights[i], bumps).to(x.dtype)
        marked: Tensor = x * (1 + scale) + shift
        return marked


def _bump(mean: Tensor, std: float, length: int) -> Tensor:
    """A Gaussian of height 1 on `length` cells about each mean (B,)."""
    cells = torch.arange(length, device=mean.device, dtype=mean.dtype)
    return torch.exp(-0.5 * ((cells - mean[:, None]) / std) ** 2)
