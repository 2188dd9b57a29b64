"""Standardization of raw pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

_ROUNDING = 1e-3  # by which a warp of an image in [0, 1] may exceed it


class Normalize(nn.Module):
    """(image / 255 - mean) / std per channel, for uint8 images or floats already in [0, 1].

    Raises ValueError for an image of other numbers or another count of channels. Floats are looked at on the CPU alone,
    where they make no GPU wait, and not in training, whose steps of numbers that are not finite are skipped, nor in a
    graph that is traced.

    >>> Normalize((0.5,), (0.5,))(torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 1, 2)).flatten().tolist()
    [-1.0, 1.0]
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Float[Tensor, "B C H W"]:
        if image.shape[-3] != len(self.mean):
            raise ValueError(f"an image must have {len(self.mean)} channels as (..., C, H, W), got {(*image.shape,)}")
        if image.is_floating_point():
            if not self.training and image.device.type == "cpu":
                _check_range(image)
        elif image.dtype == torch.uint8:
            image = image.to(self.mean.dtype) / 255
        else:
            raise ValueError(f"an image must be uint8, or float in [0, 1], got {image.dtype}")
        return (image - self.mean) / self.std


def _check_range(image: Tensor) -> None:
    """Raise ValueError for a float image that is not in [0, 1]."""
    without_values = type(image) is not Tensor or image.is_meta or not image.numel()  # such as torch's fake tensors
    if without_values or torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return
    low, high = (float(end) for end in image.detach().aminmax())
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
        raise ValueError(f"a float image must be in [0, 1], got {low:g} to {high:g}; divide by 255, or give uint8")
