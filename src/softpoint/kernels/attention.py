"""Spatial attention in few passes over its features, and convolutions to one map, by loops in C++ on a CPU.

Forward reads features once for their statistics and once for the product with a mask. Backward reads them and the
gradient of the product once for the gradient of the mask, and that gradient once more to write the one of the features.
`softpoint.functional.attention` decides when they are called.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from softpoint.kernels.library import POINTER, addresses, loop, runs_here, threads


def reads_channels(x: Tensor) -> bool:
    """Whether the loops can read such features (B, C, H, W), here and now."""
    if not runs_here(x) or not x.numel():
        return False
    return x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)


def read_channels(x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Return the mean and maximum (B, 2, H, W) over channels, and a function that multiplies x by a mask (B, 1, H, W).

    That function may be called once, with a mask that follows from the statistics or from no x at all.
    """
    link = _Link()
    statistics, passed = _Statistics.apply(x, link)

    def multiply(mask: Tensor) -> Tensor:
        assert link.mask is None
        link.mask = mask.detach().float().contiguous()
        return _Product.apply(passed, mask.float().contiguous())  # type: ignore[no-any-return]

    return statistics, multiply


def convolves(x: Tensor, weight: Tensor) -> bool:
    """Whether the loops can convolve maps (B, C, H, W) by a weight (1, C, k, k) of odd k, here and now."""
    return runs_here(x, weight) and not torch.is_autocast_enabled("cpu") and x.numel() > 0


def convolve(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """Return the correlation (B, 1, H, W) of maps (B, C, H, W) with a weight (1, C, k, k), zeros outside the maps."""
    return _Convolution.apply(x, weight, dilation)  # type: ignore[no-any-return]


class _Link:
    """The mask by which features are multiplied, which their statistics need for the way back."""

    mask: Tensor | None = None


class _Statistics(torch.autograd.Function):
    """Statistics, and x itself, whose gradient is that of the product: the mask is still to multiply it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, link: _Link) -> tuple[Tensor, Tensor]:
        batch, _, height, width = x.shape
        statistics = x.new_empty(batch, 2, height, width)
        channel = x.new_empty((batch, height, width), dtype=torch.int32)
        _call("softpoint_channels_read", _layout(x), x, statistics, channel)
        ctx.save_for_backward(channel)
        ctx.link, ctx.shape, ctx.memory_format = link, x.shape, _memory_format(x)
        ctx.set_materialize_grads(False)
        return statistics, x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_statistics: Tensor | None, of_product: Tensor | None) -> tuple[Tensor | None, None]:
        if of_statistics is None and of_product is None:
            return None, None
        (channel,) = ctx.saved_tensors
        of_statistics = None if of_statistics is None else of_statistics.contiguous()
        mask = None if of_product is None else ctx.link.mask
        of_x = torch.empty(ctx.shape, memory_format=ctx.memory_format)
        _call("softpoint_channels_spread", _layout(of_x), of_product, mask, of_statistics, channel, of_x)
        return of_x, None


class _Product(torch.autograd.Function):
    """Features times a mask, which leaves it to `_Statistics` to multiply their gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor) -> Tensor:
        y = torch.empty_like(x)
        _call("softpoint_channels_multiply", _layout(x), x, mask, y)
        ctx.save_for_backward(x, mask)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_y: Tensor) -> tuple[Tensor, Tensor | None]:
        x, mask = ctx.saved_tensors
        of_y = of_y.contiguous(memory_format=_memory_format(x))
        if not ctx.needs_input_grad[1]:
            return of_y, None
        of_mask = torch.empty_like(mask)
        _call("softpoint_channels_reduce", _layout(x), x, of_y, of_mask)
        return of_y, of_mask


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
        x, weight = x.contiguous(), weight.contiguous()
        y = x.new_empty(x.shape[0], 1, *x.shape[2:])
        _call("softpoint_convolve", _sizes(x, weight, dilation), x, weight, y)
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_y: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        of_x, of_weight = (
            torch.empty_like(given) if needed else None
            for given, needed in zip((x, weight), ctx.needs_input_grad, strict=False)
        )
        sizes = _sizes(x, weight, ctx.dilation)
        _call("softpoint_convolve_backward", sizes, x, weight, of_y.contiguous(), of_x, of_weight)
        return of_x, of_weight, None


def _memory_format(x: Tensor) -> torch.memory_format:
    return torch.contiguous_format if x.is_contiguous() else torch.channels_last


def _layout(x: Tensor) -> list[int]:
    batch, channels, height, width = x.shape
    return [batch, channels, height * width, not x.is_contiguous(), threads(x)]


def _sizes(x: Tensor, weight: Tensor, dilation: int) -> list[int]:
    return [*x.shape, weight.shape[-1], dilation, threads(x)]


def _call(name: str, sizes: list[int], *tensors: Tensor | None) -> None:
    """Calls a loop that takes sizes, the last of which is a number of threads, and addresses."""
    types = [ctypes.c_int64] * (len(sizes) - 1) + [ctypes.c_int] + [POINTER] * len(tensors)
    loop(name, types)(*sizes, *addresses(*tensors))
