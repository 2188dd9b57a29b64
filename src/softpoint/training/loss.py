"""The training loss: a weighted sum of terms, each one number per keypoint, reduced by one masked mean.

Targets are rendered here, on the device, from keypoints in input pixels: data sets know no sigma.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from softpoint.functional import image_to_grid, masked_mean, render_gaussians, soft_argmax, spatial_expectation

Maps = Float[Tensor, "B K h w"]
Points = Float[Tensor, "B K 2"]


class KeypointLoss(nn.Module):
    """Sum of weighted terms over the keypoints that can teach something.

    A keypoint counts when it is labelled and inside the image. The others have exactly zero gradient,
    and a batch without any gives a finite loss of 0.

    >>> from softpoint.functional import heatmap_ce
    >>> loss = KeypointLoss({"heatmap_ce": HeatmapTerm(heatmap_ce, sigma=4.0)})
    >>> points, nothing = torch.zeros(1, 1, 2), torch.zeros(1, 1, dtype=torch.bool)
    >>> loss(torch.zeros(1, 1, 8, 8), points, nothing, stride=4)["loss"].item()
    0.0
    """

    terms: Any

    def __init__(self, terms: Mapping[str, nn.Module]) -> None:
        super().__init__()
        if not terms:
            raise ValueError("the loss has no terms; choose at least one, such as loss=heatmap_ce")
        self.terms = nn.ModuleDict(dict(terms))

    def forward(
        self,
        logits: Maps,
        keypoints: Points,
        mask: Bool[Tensor, "B K"],
        stride: int,
        count: Float[Tensor, ""] | None = None,
    ) -> dict[str, Tensor]:
        """`loss` and each term before its weight, as masked means; keypoints in input pixels.

        `count` replaces the number of keypoints that the sum is divided by: under several processes,
        their mean count, which makes the averaged gradient that of one process with the whole batch.
        """
        # An unlabelled point may hold anything, NaN included: it must not even enter the arithmetic.
        cells = image_to_grid(torch.where(mask[..., None], keypoints, 0), stride)
        values = {name: masked_mean(term(logits, cells, stride), mask, count) for name, term in self.terms.items()}
        total = torch.stack([term.weight * values[name] for name, term in self.terms.items()]).sum()
        return {"loss": total, **values}


def trainable(keypoints: Points, visibility: Tensor, size: tuple[int, int]) -> Bool[Tensor, "B K"]:
    """Which keypoints are labelled and lie within an image of `size` (H, W).

    >>> trainable(torch.tensor([[[0.0, 0], [9.6, 0]]]), torch.tensor([[2, 2]]), (10, 10)).tolist()
    [[True, False]]
    """
    limit = keypoints.new_tensor([size[1] - 0.5, size[0] - 0.5])
    inside = ((keypoints >= -0.5) & (keypoints <= limit)).all(-1)
    return inside & (visibility > 0)


class HeatmapTerm(nn.Module):
    """A heatmap loss against a Gaussian of `sigma` input pixels about each keypoint."""

    def __init__(self, loss: Callable[[Maps, Maps], Tensor], sigma: float, weight: float = 1.0) -> None:
        super().__init__()
        _check_sigma(sigma)
        self.loss, self.sigma, self.weight = loss, sigma, weight

    def forward(self, logits: Maps, cells: Points, stride: int) -> Float[Tensor, "B K"]:
        return self.loss(logits, _target(logits, cells, self.sigma / stride))


class CoordinateTerm(nn.Module):
    """A coordinate loss on the soft-argmax of the whole map, in cells.

    `sigma`, in input pixels, is that of a heatmap term beside it. A Gaussian near the border lies partly off
    the map, and the mean of what is left leans inwards; with `sigma` that mean is the target, so that the
    two terms agree. Without, the keypoint itself is.
    """

    def __init__(
        self, loss: Callable[[Points, Points], Tensor], weight: float = 1.0, sigma: float | None = None
    ) -> None:
        super().__init__()
        if sigma is not None:
            _check_sigma(sigma)
        self.loss, self.weight, self.sigma = loss, weight, sigma

    def forward(self, logits: Maps, cells: Points, stride: int) -> Float[Tensor, "B K"]:
        if self.sigma is not None:
            cells = spatial_expectation(_target(logits, cells, self.sigma / stride))
        return self.loss(soft_argmax(logits), cells)


class VarianceTerm(nn.Module):
    """Holds each heatmap's spread to `sigma` input pixels, wherever it lies."""

    def __init__(self, loss: Callable[[Maps, float], Tensor], sigma: float, weight: float = 1.0) -> None:
        super().__init__()
        _check_sigma(sigma)
        self.loss, self.sigma, self.weight = loss, sigma, weight

    def forward(self, logits: Maps, cells: Points, stride: int) -> Float[Tensor, "B K"]:
        return self.loss(logits, self.sigma / stride)


def _target(logits: Maps, cells: Points, std: float) -> Maps:
    """A Gaussian about each point, on the grid of the logits."""
    return render_gaussians(cells, std, (logits.shape[-2], logits.shape[-1]))


def _check_sigma(sigma: float) -> None:
    if not sigma > 0:
        raise ValueError(f"sigma must be positive, got {sigma}")
