"""Statistics of logit maps and of their distance from a target, as an operator: one pass forward, one pass back.

The operator `softpoint::read_maps` runs in C++ on a CPU and in Triton on a GPU, in single precision; autograd, compiled
graphs and fake tensors know it. `softpoint.functional.map_statistics` decides when it is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from softpoint.kernels.library import POINTER, SIZES, WANTED, addresses, loop, runs_here, sizes

_FORWARD = (*5 * [POINTER], *SIZES, *7 * [POINTER])
_BACKWARD = (*5 * [POINTER], *SIZES, *10 * [POINTER])


class MapReading(NamedTuple):
    """Outputs of the operator, of maps (..., H, W); those that were not asked for are empty."""

    log_total: Tensor  # (...), the logarithm of the sum of e^z
    mean: Tensor  # (..., 2), x and y in cells
    covariance: Tensor  # (..., 2, 2)
    saved: Tensor  # (..., 7), of the loops: see Saved in maps.cpp
    cross_entropy: Tensor  # (...), against the target
    divergence: Tensor  # (...), KL(target || softmax)
    jensen_shannon: Tensor  # (...)


_OPERATORS = torch.library.Library("softpoint", "FRAGMENT")
_OPERATORS.define(
    "read_maps(Tensor logits, Tensor? inverse_temperature, Tensor? along_y, Tensor? along_x, Tensor? dense, "
    f"bool divergence, bool jensen_shannon) -> ({', '.join(7 * ['Tensor'])})"
)
_OPERATORS.define(
    "read_maps_backward(Tensor logits, Tensor? inverse_temperature, Tensor? along_y, Tensor? along_x, Tensor? dense, "
    "Tensor mean, Tensor covariance, Tensor saved, Tensor? of_log_total, Tensor? of_mean, Tensor? of_covariance, "
    "Tensor? of_cross_entropy, Tensor? of_jensen_shannon) -> (Tensor, Tensor)"
)


def has_kernel(logits: Tensor) -> bool:
    """Whether the operator can run on such logits; a graph being compiled takes that for granted, as compilers do."""
    device = logits.device.type
    if not WANTED or logits.dtype != torch.float32 or device not in ("cpu", "cuda"):
        return False
    if torch.compiler.is_compiling():
        return True
    return runs_here(logits)


def read_maps(
    logits: Tensor,
    inverse_temperature: Tensor | None = None,
    along_y: Tensor | None = None,
    along_x: Tensor | None = None,
    dense: Tensor | None = None,
    divergence: bool = False,
    jensen_shannon: bool = False,
) -> MapReading:
    """Return the reading of maps (..., H, W) that have no gaps in memory; see `MapReading`.

    `inverse_temperature` (...) multiplies the logits. A target is given by `along_y` (..., H) and `along_x` (..., W),
    or by maps `dense` (..., H, W), and gets no gradient.
    """
    arguments = (logits, inverse_temperature, along_y, along_x, dense, divergence, jensen_shannon)
    if torch.compiler.is_compiling() or not _is_direct(logits):
        return MapReading(*torch.ops.softpoint.read_maps(*arguments))
    needs_gradient = logits.requires_grad or (inverse_temperature is not None and inverse_temperature.requires_grad)
    call: Any = _ReadMaps.apply if needs_gradient and torch.is_grad_enabled() else _forward_cpu
    return MapReading(*call(*arguments))


def _is_direct(logits: Tensor) -> bool:
    """Whether the loops may be called at once: the dispatcher of torch costs as much as a small map."""
    return type(logits) in (Tensor, torch.nn.Parameter) and logits.is_cpu and not torch._C._len_torch_dispatch_stack()


def _empty_outputs(logits: Tensor, has_target: bool, divergence: bool, jensen_shannon: bool) -> tuple[Tensor, ...]:
    shape = logits.shape[:-2]
    new = logits.new_empty
    return (
        new(shape), new((*shape, 2)), new((*shape, 2, 2)), new((*shape, 7)), new(shape if has_target else 0),
        new(shape if divergence else 0), new(shape if jensen_shannon else 0),
    )  # fmt: skip


def _forward_cpu(
    logits: Tensor,
    inverse_temperature: Tensor | None,
    along_y: Tensor | None,
    along_x: Tensor | None,
    dense: Tensor | None,
    divergence: bool,
    jensen_shannon: bool,
) -> tuple[Tensor, ...]:
    has_target = along_x is not None or dense is not None
    outputs = _empty_outputs(logits, has_target, divergence, jensen_shannon)
    given = addresses(logits, inverse_temperature, along_y, along_x, dense)
    loop("softpoint_maps_forward", _FORWARD)(*given, *sizes(logits), *addresses(*outputs))
    return outputs


def _backward_cpu(
    logits: Tensor,
    inverse_temperature: Tensor | None,
    along_y: Tensor | None,
    along_x: Tensor | None,
    dense: Tensor | None,
    mean: Tensor,
    covariance: Tensor,
    saved: Tensor,
    *gradients: Tensor | None,
) -> tuple[Tensor, Tensor]:
    result = torch.empty_like(logits)
    of_factor = logits.new_empty(logits.shape[:-2] if inverse_temperature is not None else 0)
    of_outputs = [None if gradient is None else gradient.contiguous() for gradient in gradients]
    given = addresses(logits, inverse_temperature, along_y, along_x, dense)
    found = addresses(mean, covariance, saved, *of_outputs, result, of_factor)
    loop("softpoint_maps_backward", _BACKWARD)(*given, *sizes(logits), *found)
    return result, of_factor


class _ReadMaps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, *given: Any) -> tuple[Tensor, ...]:
        if _is_direct(logits):
            outputs: Sequence[Tensor] = _forward_cpu(logits, *given)
        else:
            with torch._C._AutoDispatchBelowAutograd():
                outputs = torch.ops.softpoint.read_maps(logits, *given)
        _, mean, covariance, saved, *_ = outputs
        inverse_temperature, along_y, along_x, dense, *_ = given
        ctx.save_for_backward(logits, inverse_temperature, along_y, along_x, dense, mean, covariance, saved)
        ctx.mark_non_differentiable(saved)
        ctx.set_materialize_grads(False)
        return tuple(outputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        of_log_total, of_mean, of_covariance, _, of_entropy, of_divergence, of_js = gradients
        if of_entropy is None or of_divergence is None:
            of_target = of_divergence if of_entropy is None else of_entropy  # differ by the target's entropy
        else:
            of_target = of_entropy + of_divergence
        go_back = _backward_cpu if _is_direct(ctx.saved_tensors[0]) else torch.ops.softpoint.read_maps_backward
        result, of_factor = go_back(*ctx.saved_tensors, of_log_total, of_mean, of_covariance, of_target, of_js)
        of_temperature = of_factor if ctx.needs_input_grad[1] else None
        return result, of_temperature, None, None, None, None, None


def _fake_forward(logits: Tensor, *given: Any) -> tuple[Tensor, ...]:
    _, _, along_x, dense, divergence, jensen_shannon = given
    return _empty_outputs(logits, along_x is not None or dense is not None, divergence, jensen_shannon)


def _fake_backward(logits: Tensor, inverse_temperature: Tensor | None, *_: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(logits), logits.new_empty(logits.shape[:-2] if inverse_temperature is not None else 0)


_OPERATORS.impl("read_maps", _forward_cpu, "CPU")
_OPERATORS.impl("read_maps_backward", _backward_cpu, "CPU")
_OPERATORS.impl("read_maps", _ReadMaps.apply, "Autograd")
torch.library.register_fake("softpoint::read_maps", _fake_forward, lib=_OPERATORS)
torch.library.register_fake("softpoint::read_maps_backward", _fake_backward, lib=_OPERATORS)
