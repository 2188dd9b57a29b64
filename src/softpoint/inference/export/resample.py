"""Resampling of images to a network's input by products and sums, which every runtime has."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn


class Placement(NamedTuple):
    """The map from pixels of images to a network's input, `input = image * scale + offset`; float64.

    `scale` is (B,), or () for all images alike; `offset` (B, 2) or (2,) is (x, y).
    """

    scale: Tensor
    offset: Tensor


def letterboxed(size: tuple[Any, Any], into: tuple[int, int], like: Tensor) -> Placement:
    """Return the placement of `softpoint.data.geometry.letterbox_matrix` for images of `size` (H, W) in `into` (h, w).

    `size` is symbols while a program is traced.

    >>> placed = letterboxed((480, 640), (256, 256), torch.zeros(1))
    >>> placed.scale.item(), placed.offset.round(decimals=4).tolist()
    (0.4, [-0.3, 31.7])
    """
    old = [torch.full((), side, dtype=torch.float64, device=like.device) for side in size]
    scale = torch.minimum(into[0] / old[0], into[1] / old[1])
    margins = [((new - side * scale) / 2).round() for new, side in zip(into, old, strict=True)]
    return Placement(scale, torch.stack(margins[::-1]) + scale / 2 - 0.5)


def cropped(boxes: Float[Tensor, "B 4"], into: tuple[int, int], padding: float) -> Placement:
    """Return the placement of `softpoint.data.crops.crop_matrix` for boxes (left, top, right, bottom) and `padding`.

    >>> placed = cropped(torch.tensor([[-0.5, -0.5, 99.5, 49.5]]), (100, 100), 1.0)
    >>> placed.scale.tolist(), placed.offset.tolist()
    ([1.0], [[0.0, 25.0]])
    """
    boxes = boxes.to(torch.float64)
    side = (boxes[:, 2:] - boxes[:, :2]) * padding
    into_xy = torch.tensor([float(into[1]), float(into[0])], dtype=torch.float64, device=boxes.device)
    scale = (into_xy / side).amin(-1)
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    return Placement(scale, (into_xy - 1) / 2 - center * scale[:, None])


def resample(
    images: UInt8[Tensor, "B H W C"] | Tensor, placed: Placement, into: tuple[int, int]
) -> Float[Tensor, "B C h w"]:
    """Return what `softpoint.data.geometry.warp` does of float images: bilinear, on means of blocks if they shrink.

    Values are 0 to 255, not rounded, and 0 outside an image.

    >>> images = torch.arange(4, dtype=torch.uint8).view(1, 1, 4, 1).expand(1, 2, 4, 3)
    >>> resample(images, letterboxed((2, 4), (1, 2), images), (1, 2))[0, 0].tolist()
    [[0.5, 2.5]]
    """

    def dense(images: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
        return _by_products(images, scale, offset, into)

    def sparse(images: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
        return _by_neighbors(images, scale, offset, into)

    if placed.scale.dim():  # every image has its own scale
        return dense(images, *placed)
    shrinks = _block(placed.scale) > 1
    if torch.compiler.is_exporting():
        result: Tensor = torch.cond(shrinks, dense, sparse, (images, *placed))
        return result
    return (dense if shrinks else sparse)(images, *placed)


class FixedResample(nn.Module):
    """`resample` of whole images of one `size` (H, W), whose weights are constants.

    No float64 and no branch is left, which runtimes of phones do not have.

    >>> images = torch.arange(4, dtype=torch.uint8).view(1, 1, 4, 1).expand(1, 2, 4, 3)
    >>> FixedResample((2, 4), (1, 2))(images)[0, 0].tolist()
    [[0.5, 2.5]]
    """

    def __init__(self, size: tuple[int, int], into: tuple[int, int]) -> None:
        super().__init__()
        scale, offset = placed = letterboxed(size, into, torch.zeros(()))
        self.shrinks = bool(_block(scale) > 1)
        self.constants = nn.ParameterList()
        for axis in (0, 1):
            parts = (size[axis], into[axis], scale, offset[1 - axis])
            values = [_weights(*parts)] if self.shrinks else _neighbors(*parts)
            self.constants.extend(nn.Parameter(value, requires_grad=False) for value in values)
        self.placed = Placement(*(value.float() for value in placed))

    def forward(self, images: UInt8[Tensor, "B H W 3"] | Tensor) -> Float[Tensor, "B 3 h w"]:
        """Return the network's inputs."""
        return (_multiply if self.shrinks else _mix)(images, *self.constants)


def _by_products(images: Tensor, scale: Tensor, offset: Tensor, into: tuple[int, int]) -> Tensor:
    """Return sums over all rows, then over all columns."""
    rows = _weights(images.shape[1], into[0], scale, offset[..., 1])
    columns = _weights(images.shape[2], into[1], scale, offset[..., 0])
    return _multiply(images, rows, columns)


def _multiply(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    # Rows of interleaved colors make one large product; columns follow on the smaller result.
    products = rows @ images.float().flatten(2)
    lines: Tensor = products.unflatten(2, (-1, images.shape[3])).permute(0, 3, 1, 2)
    return lines @ columns.transpose(-1, -2).unsqueeze(-3)


def _by_neighbors(images: Tensor, scale: Tensor, offset: Tensor, into: tuple[int, int]) -> Tensor:
    """Return the same where each sample is between two pixels, in a fraction of the time."""
    rows = _neighbors(images.shape[1], into[0], scale, offset[1])
    columns = _neighbors(images.shape[2], into[1], scale, offset[0])
    return _mix(images, *rows, *columns)


def _mix(images: Tensor, y: Tensor, y_weights: Tensor, x: Tensor, x_weights: Tensor) -> Tensor:
    above, below = (images.index_select(1, y[i]) * y_weights[i][:, None, None] for i in (0, 1))
    lines = above + below
    left, right = (lines.index_select(2, x[i]) * x_weights[i][:, None] for i in (0, 1))
    # A copy, as one channel counts as contiguous in any order, and both branches of a program need the same strides.
    return (left + right).permute(0, 3, 1, 2).clone(memory_format=torch.contiguous_format)


def _neighbors(length: Any, samples: int, scale: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pixels on both sides of each of `samples` samples (2, samples), and their weights."""
    sample = (torch.arange(samples, dtype=torch.float64, device=scale.device) - offset) / scale
    first = sample.floor()
    places = torch.stack((first, first + 1))
    counts = 1 - (sample - places).abs()
    inside = (places >= 0) & (places < length)
    return places.clamp(0, length - 1).long(), (counts * inside).float()


def _weights(length: Any, samples: int, scale: Tensor, offset: Tensor) -> Tensor:
    """Return the weight of each of `length` pixels in each of `samples` samples (..., samples, length)."""
    block = _block(scale)[..., None]
    sample = torch.arange(samples, dtype=torch.float64, device=scale.device)
    sample = ((sample - offset[..., None]) / scale[..., None] + 0.5) / block - 0.5  # counted in blocks
    pixel = torch.arange(length, dtype=torch.float64, device=scale.device)
    near = 1 - (sample[..., None] - (pixel / block).floor()[..., None, :]).abs()
    return (near.clamp_min(0) / block[..., None]).float()


def _block(scale: Tensor) -> Tensor:
    """Return the whole pixels that a sample covers along each axis."""
    # Rounding noise must not make a shrink by exactly 2 or 3 miss its whole number.
    return (1 / scale + 1e-6).floor().clamp_min(1)
