"""Resampling of one region of an image to a network's input, in ONNX at the cost of that region alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from softpoint.extras import require
from softpoint.inference.export.resample import Placement, resample

_FLOAT, _INT64, _DOUBLE = 1, 7, 11  # types of ONNX


@torch.library.custom_op("softpoint::resample_region", mutates_args=())
def resample_region(images: Tensor, scale: Tensor, offset: Tensor, height: int, width: int) -> Tensor:
    """Return what `resample` does for one image (1, H, W, C), its scale () and offset (2,): float32 (1, C, h, w).

    An operator, which a traced program keeps whole, so that `translations` can write it with sizes that are known only
    when the program runs.
    """
    return resample(images, Placement(scale, offset), (height, width)).clone()


@resample_region.register_fake
def _(images: Tensor, scale: Tensor, offset: Tensor, height: int, width: int) -> Tensor:
    return images.new_empty((1, images.shape[3], height, width), dtype=torch.float32)


class _Axis(NamedTuple):
    """Along one axis: what is seen of the image, and where the samples are in it."""

    begin: Any  # first pixel (1,)
    end: Any  # the one after the last (1,)
    missing: Any  # pixels (1,) by which the last block reaches over the image's border
    blocks: Any  # their number (1,)
    taps: Sequence[Any]  # the blocks on both sides of each sample
    weights: Sequence[Any]  # of these


def translations() -> dict[Any, Callable[..., Any]]:
    """Return how `torch.onnx.export` writes `resample_region`.

    The part of the image that is seen is cut out and averaged over whole blocks of pixels, whose neighbors are mixed.
    """
    op: Any = require("onnxscript", "export", "exporting").opset18
    onnx = require("onnx", "export", "exporting")

    def real(value: float) -> Any:
        return op.Constant(value=onnx.helper.make_tensor("", _DOUBLE, [], [value]))

    def whole(*values: int) -> Any:
        return op.Constant(value_ints=list(values))

    def along(length: Any, samples: int, scale: Any, offset: Any, block: Any) -> _Axis:
        sample = op.Div(op.Sub(op.Range(real(0), real(samples), real(1)), offset), scale)
        place = op.Sub(op.Div(op.Add(sample, real(0.5)), block), real(0.5))  # counted in blocks
        last = op.Sub(op.Ceil(op.Div(op.Cast(length, to=_DOUBLE), block)), real(1))
        before = op.Floor(place)
        low = op.Clip(op.ReduceMin(before, keepdims=0), real(0), last)
        high = op.Clip(op.Add(op.ReduceMax(before, keepdims=0), real(1)), real(0), last)
        taps, weights = [], []
        for tap in (before, op.Add(before, real(1))):
            inside = op.And(op.GreaterOrEqual(tap, real(0)), op.LessOrEqual(tap, last))
            weight = op.Mul(op.Sub(real(1), op.Abs(op.Sub(place, tap))), op.Cast(inside, to=_DOUBLE))
            taps.append(op.Cast(op.Sub(op.Clip(tap, low, high), low), to=_INT64))
            weights.append(op.Cast(weight, to=_FLOAT))
        count = op.Add(op.Sub(high, low), real(1))
        edges = op.Mul(low, block), op.Mul(op.Add(high, real(1)), block), count
        begin, whole_end, blocks = (op.Reshape(op.Cast(edge, to=_INT64), whole(1)) for edge in edges)
        end = op.Min(whole_end, length)
        return _Axis(begin, end, op.Sub(whole_end, end), blocks, taps, weights)

    def mixed(image: Any, axis: int, along: _Axis, shape: Any) -> Any:
        parts = zip(along.taps, along.weights, strict=True)
        return op.Add(*(op.Mul(op.Gather(image, tap, axis=axis), op.Reshape(weight, shape)) for tap, weight in parts))

    def translate(images: Any, scale: Any, offset: Any, height: int, width: int) -> Any:
        # Rounding noise must not make a shrink by exactly 2 or 3 miss its whole number.
        block = op.Max(op.Floor(op.Add(op.Div(real(1), scale), real(1e-6))), real(1))
        length, channels = op.Shape(images, start=1, end=3), op.Shape(images, start=3, end=4)
        y = along(op.Gather(length, whole(0)), height, scale, op.Gather(offset, op.Constant(value_int=1)), block)
        x = along(op.Gather(length, whole(1)), width, scale, op.Gather(offset, op.Constant(value_int=0)), block)
        step = op.Reshape(op.Cast(block, to=_INT64), whole(1))
        begin, end = (op.Concat(*parts, axis=0) for parts in ((y.begin, x.begin), (y.end, x.end)))
        seen = op.Squeeze(op.Slice(images, begin, end, whole(1, 2)), whole(0))
        seen = op.Pad(seen, op.Concat(whole(0, 0, 0), y.missing, x.missing, whole(0), axis=0))
        rows = op.Reshape(op.Cast(seen, to=_FLOAT), op.Concat(y.blocks, step, whole(-1), axis=0))
        rows = op.ReduceSum(rows, whole(1), keepdims=0)
        rows = op.Transpose(op.Reshape(rows, op.Concat(y.blocks, whole(-1), channels, axis=0)), perm=[2, 0, 1])
        shape = op.Concat(channels, y.blocks, x.blocks, step, axis=0)
        means = op.ReduceSum(op.Reshape(rows, shape), whole(3), keepdims=0)
        means = op.Div(means, op.Cast(op.Mul(block, block), to=_FLOAT))
        return op.Unsqueeze(mixed(mixed(means, 1, y, whole(-1, 1)), 2, x, whole(-1)), whole(0))

    return {torch.ops.softpoint.resample_region.default: translate}
