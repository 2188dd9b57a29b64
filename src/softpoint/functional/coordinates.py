"""Conversion of coordinates between grids of different strides; the only place with its formula.

A coordinate (x, y) counts pixel centers: an H x W grid spans [-0.5, W - 0.5] x [-0.5, H - 0.5].
"""

from __future__ import annotations

from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

T = TypeVar("T")


def grid_to_image(grid: T, stride: float) -> T:
    """Convert coordinates in cells, each `stride` pixels wide, to pixels; for numbers, arrays or tensors.

    >>> grid_to_image(0.0, 4)
    1.5
    """
    return (grid + 0.5) * stride - 0.5  # type: ignore[operator,return-value]


def image_to_grid(image: T, stride: float) -> T:
    """Convert coordinates in pixels to cells, each `stride` pixels wide: the inverse of `grid_to_image`.

    >>> image_to_grid(1.5, 4)
    0.0
    """
    return (image + 0.5) / stride - 0.5  # type: ignore[operator,return-value]


def transform_points(points: Float[Tensor, "B K 2"], matrix: Float[Tensor, "B 3 3"]) -> Float[Tensor, "B K 2"]:
    """Map points (x, y) by one affine or projective matrix per sample.

    >>> shift = torch.tensor([[[1.0, 0, 10], [0, 1, 20], [0, 0, 1]]])
    >>> transform_points(torch.tensor([[[1.0, 2.0]]]), shift).tolist()
    [[[11.0, 22.0]]]
    """
    mapped = _homogeneous(points, matrix)
    return mapped[..., :2] / mapped[..., 2:]


def transform_covariance(
    covariance: Float[Tensor, "B K 2 2"], points: Float[Tensor, "B K 2"], matrix: Float[Tensor, "B 3 3"]
) -> Float[Tensor, "B K 2 2"]:
    """Map covariances at `points` by `matrix` to first order: J C J^T, with the map's Jacobian J.

    >>> double = torch.diag(torch.tensor([2.0, 2.0, 1.0]))[None]
    >>> transform_covariance(torch.eye(2)[None, None], torch.zeros(1, 1, 2), double).tolist()
    [[[[4.0, 0.0], [0.0, 4.0]]]]
    """
    mapped = _homogeneous(points, matrix)[..., None]
    depth = mapped[..., 2:, :]
    position = mapped[..., :2, :] / depth
    jacobian = (matrix[:, None, :2, :2] - position * matrix[:, None, 2:, :2]) / depth
    return _product(_product(jacobian, covariance), jacobian.transpose(-1, -2))


def pixel_length(matrix: Float[Tensor, "B 3 3"]) -> Float[Tensor, " B"]:
    """Length that a pixel has after an affine matrix: the root of the area that it is mapped to.

    >>> pixel_length(torch.diag(torch.tensor([2.0, 8.0, 1.0]))[None]).item()
    4.0
    """
    area: Tensor = torch.linalg.det(matrix[:, :2, :2].float()).abs()
    return area.sqrt()


def _homogeneous(points: Tensor, matrix: Tensor) -> Tensor:
    return _product(torch.nn.functional.pad(points, (0, 1), value=1.0), matrix.transpose(-1, -2))


def _product(a: Tensor, b: Tensor) -> Tensor:
    # Autocast would run a matmul in half precision, which loses whole pixels above 256.
    return (a[..., :, :, None] * b[..., None, :, :]).sum(-2)
