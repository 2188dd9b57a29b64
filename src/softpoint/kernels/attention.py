"""Spatial attention in few passes over its features, and convolutions to one map, by loops in C++ on a CPU.

Forward reads features once for their statistics and once for the product with a mask. Backward reads them and the
gradient of the product once for the gradient of the mask, and that gradient once more to write the one of the features.
A gradient that is itself differentiated, or that the loops cannot read, is computed by PyTorch.
`softpoint.functional.attention` decides when they are called.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_input, conv2d_weight

from softpoint.kernels.library import POINTER, addresses, loop, runs_here, threads

# The images, channels and pixels, whether channels are last, and the threads; see `_layout`.
_FEATURES = (*4 * [ctypes.c_int64], ctypes.c_int)
_READ = (*_FEATURES, *3 * [POINTER])
_MULTIPLY = _REDUCE = _READ
_SPREAD = (*_FEATURES, *5 * [POINTER])
# The shape of the maps, the side and dilation of the kernel, and the threads; see `_sizes`.
_MAPS = (*6 * [ctypes.c_int64], ctypes.c_int)
_CONVOLVE = (*_MAPS, *3 * [POINTER])
_CONVOLVE_BACKWARD = (*_MAPS, *5 * [POINTER])
# The widest kernel, in cells: the loops put zeros of half of it around each map.
_WIDEST = 1024


def reads_channels(x: Tensor) -> bool:
    """Whether the loops can read such features (B, C, H, W), here and now."""
    if not runs_here(x) or x.ndim != 4 or not x.numel():
        return False
    return x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)


def read_channels(x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Return the mean and maximum (B, 2, H, W) over channels, and a function that multiplies x by a mask (B, 1, H, W).

    That function takes the loops once, and for a mask of this shape in float32 or narrower.
    """
    link = _Link()
    statistics, passed = _Statistics.apply(x, link)

    def multiply(mask: Tensor) -> Tensor:
        wide = mask.float() if mask.dtype in (torch.bfloat16, torch.float16) else mask
        if link.mask is not None or wide.shape != (x.shape[0], 1, *x.shape[2:]) or not runs_here(wide):
            return x * mask
        wide = wide.contiguous()
        link.mask = wide.detach()
        return _Product.apply(passed, wide, x)  # type: ignore[no-any-return]

    return statistics, multiply


def convolves(x: Tensor, weight: Tensor) -> bool:
    """Whether the loops can convolve maps (B, C, H, W) by a weight (1, C, k, k) of odd k, here and now."""
    if not runs_here(x, weight) or torch.is_autocast_enabled("cpu") or x.ndim != 4 or not x.numel():
        return False
    side = weight.shape[-1]
    return side % 2 == 1 and weight.shape == (1, x.shape[1], side, side)


def convolve(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """Return the correlation (B, 1, H, W) of maps (B, C, H, W) with a weight (1, C, k, k), zeros outside the maps."""
    side = weight.shape[-1]
    if dilation < 1 or dilation * side > _WIDEST:
        return F.conv2d(x, weight, padding=dilation * (side // 2), dilation=dilation)
    return _Convolution.apply(x.contiguous(), weight.contiguous(), dilation)  # type: ignore[no-any-return]


class _Link:
    """The mask by which features are multiplied, which their statistics need for the way back."""

    mask: Tensor | None = None


def _reads_gradients(*gradients: Tensor | None) -> bool:
    """Whether the loops can go back from such gradients, of which no derivative is asked."""
    return not torch.is_grad_enabled() and runs_here(*[given for given in gradients if given is not None])


class _Statistics(torch.autograd.Function):
    """Statistics, and x itself, whose gradient is that of the product: the mask is still to multiply it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, link: _Link) -> tuple[Tensor, Tensor]:
        batch, _, height, width = x.shape
        statistics = x.new_empty(batch, 2, height, width)
        channel = x.new_empty((batch, height, width), dtype=torch.int32)
        loop("softpoint_channels_read", _READ)(*_layout(x), *addresses(x, statistics, channel))
        ctx.save_for_backward(channel)
        ctx.link, ctx.shape, ctx.memory_format = link, x.shape, _memory_format(x)
        ctx.set_materialize_grads(False)
        return statistics, x

    @staticmethod
    def backward(ctx: Any, of_statistics: Tensor | None, of_product: Tensor | None) -> tuple[Tensor | None, None]:
        if of_statistics is None and of_product is None:
            return None, None
        (channel,) = ctx.saved_tensors
        mask = None if of_product is None else ctx.link.mask
        if not _reads_gradients(of_statistics, of_product):
            return _spread(ctx.shape, channel, of_statistics, of_product, mask), None
        of_statistics = None if of_statistics is None else of_statistics.contiguous()
        of_product = None if of_product is None else of_product.contiguous(memory_format=ctx.memory_format)
        kind = {"dtype": torch.float32, "device": channel.device, "memory_format": ctx.memory_format}
        of_x = torch.empty(ctx.shape, **kind)
        given = addresses(of_product, mask, of_statistics, channel, of_x)
        loop("softpoint_channels_spread", _SPREAD)(*_layout(of_x), *given)
        return of_x, None


def _spread(
    shape: torch.Size, channel: Tensor, of_statistics: Tensor | None, of_product: Tensor | None, mask: Tensor | None
) -> Tensor | None:
    """The gradient of x in PyTorch, from those of its statistics and of its product with a mask."""
    of_x = None if of_product is None or mask is None else of_product * mask
    if of_statistics is None:
        return of_x
    of_mean, of_most = of_statistics.split(1, 1)
    chosen = torch.arange(shape[1], device=channel.device)[:, None, None] == channel[:, None]  # (B, C, H, W)
    spread: Tensor = of_mean / shape[1] + torch.where(chosen, of_most, 0.0)
    return spread if of_x is None else of_x + spread


class _Product(torch.autograd.Function):
    """Features times a mask, both as they are and as `_Statistics` has `passed` them.

    Where the loops go back, `passed` gets the gradient of the product, which `_Statistics` multiplies by the mask; else
    x itself gets its whole gradient, which can then be differentiated.
    """

    @staticmethod
    def forward(ctx: Any, passed: Tensor, mask: Tensor, x: Tensor) -> Tensor:
        y = torch.empty_like(x)
        loop("softpoint_channels_multiply", _MULTIPLY)(*_layout(x), *addresses(x, mask, y))
        ctx.save_for_backward(x, mask)
        return y

    @staticmethod
    def backward(ctx: Any, of_y: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, mask = ctx.saved_tensors
        needs_x, needs_mask, _ = ctx.needs_input_grad
        if not _reads_gradients(of_y):
            of_mask = (x * of_y).sum(1, keepdim=True) if needs_mask else None
            return None, of_mask, of_y * mask if needs_x else None
        of_y = of_y.contiguous(memory_format=_memory_format(x))
        if not needs_mask:
            return of_y, None, None
        of_mask = torch.empty_like(mask)
        loop("softpoint_channels_reduce", _REDUCE)(*_layout(x), *addresses(x, of_y, of_mask))
        return of_y, of_mask, None


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
        y = x.new_empty(x.shape[0], 1, *x.shape[2:])
        loop("softpoint_convolve", _CONVOLVE)(*_sizes(x, weight, dilation), *addresses(x, weight, y))
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        return y

    @staticmethod
    def backward(ctx: Any, of_y: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, _ = ctx.needs_input_grad
        if not _reads_gradients(of_y):
            options = {"padding": ctx.dilation * (weight.shape[-1] // 2), "dilation": ctx.dilation}
            of_x = conv2d_input(x.shape, weight, of_y, **options) if needs_x else None
            return of_x, conv2d_weight(x, weight.shape, of_y, **options) if needs_weight else None, None
        of_x = torch.empty_like(x) if needs_x else None
        of_weight = torch.empty_like(weight) if needs_weight else None
        of_y = of_y.contiguous()
        given = addresses(x, weight, of_y, of_x, of_weight)
        loop("softpoint_convolve_backward", _CONVOLVE_BACKWARD)(*_sizes(x, weight, ctx.dilation), *given)
        return of_x, of_weight, None


def _memory_format(x: Tensor) -> torch.memory_format:
    return torch.contiguous_format if x.is_contiguous() else torch.channels_last


def _layout(x: Tensor) -> list[int]:
    batch, channels, height, width = x.shape
    return [batch, channels, height * width, not x.is_contiguous(), threads(x)]


def _sizes(x: Tensor, weight: Tensor, dilation: int) -> list[int]:
    return [*x.shape, weight.shape[-1], dilation, threads(x)]
