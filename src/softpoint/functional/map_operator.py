"""Statistics of logit maps as they are defined, and as an operator of torch, `softpoint::read_maps`.

On a CPU it is loops in C++, and on a GPU kernels of Triton, that read the maps once forward and once back; where
neither can be compiled, and for second derivatives, the definition in PyTorch takes their place. Autograd, compiled
graphs and fake tensors know the operator.
`softpoint.functional.map_statistics` decides when it is called.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from softpoint.functional.spatial import product_of_axes, spatial_covariance, spatial_expectation
from softpoint.kernels import maps as cpu_maps
from softpoint.kernels.gpu import gpu_maps, runs_on_gpu
from softpoint.kernels.library import library, runs_here
from softpoint.kernels.maps import SAVED


class MapReading(NamedTuple):
    """Outputs of the operator, of maps (..., H, W); those that were not asked for are empty."""

    log_total: Tensor  # (...), the logarithm of the sum of e^z
    mean: Tensor  # (..., 2), x and y in cells
    covariance: Tensor  # (..., 2, 2)
    saved: Tensor  # (..., SAVED), of the loops
    cross_entropy: Tensor  # (...), against the target
    divergence: Tensor  # (...), KL(target || softmax)
    jensen_shannon: Tensor  # (...)


class MapRequest(NamedTuple):
    """Arguments of the operator.

    `factor` (...) multiplies the logits (..., H, W). A target is given by `along_y` (..., H) and `along_x` (..., W), or
    by maps `dense` (..., H, W), and gets no gradient.
    """

    logits: Tensor
    factor: Tensor | None = None
    along_y: Tensor | None = None
    along_x: Tensor | None = None
    dense: Tensor | None = None
    divergence: bool = False
    jensen_shannon: bool = False

    @property
    def target(self) -> Tensor | None:
        """The target as maps."""
        if self.along_y is None or self.along_x is None:
            return self.dense
        return product_of_axes(self.along_y, self.along_x)


_OPERATORS = torch.library.Library("softpoint", "FRAGMENT")
_GIVEN = "Tensor logits, Tensor? factor, Tensor? along_y, Tensor? along_x, Tensor? dense"
_OPERATORS.define(f"read_maps({_GIVEN}, bool divergence, bool jensen_shannon) -> ({', '.join(7 * ['Tensor'])})")
_OPERATORS.define(
    f"read_maps_backward({_GIVEN}, Tensor saved, Tensor? of_log_total, Tensor? of_mean, Tensor? of_covariance, "
    "Tensor? of_cross_entropy, Tensor? of_jensen_shannon) -> (Tensor, Tensor)"
)


def define_maps(request: MapRequest, moments: int = 2) -> MapReading:
    """Return the reading as it is defined, in PyTorch, with 0, 1 (mean) or 2 (covariance, too) of the moments."""
    logits, factor, _, _, _, divergence, jensen_shannon = request
    if factor is not None:
        logits = logits * factor[..., None, None]
    # The lowest number stands for -inf, so that a cell without a share has no distance from a target without one.
    log_p = logits.flatten(-2).log_softmax(-1).clamp_min(torch.finfo(logits.dtype).min)
    p = log_p.exp()
    heatmap = p.unflatten(-1, logits.shape[-2:])
    distances = 3 * [logits.new_empty(0)]
    target = request.target
    if target is not None:
        q = target.flatten(-2)
        negative_entropy = torch.xlogy(q, q)
        distances[0] = -(q * log_p).sum(-1)
        if divergence:
            distances[1] = (negative_entropy - q * log_p).sum(-1)
        if jensen_shannon:
            log_m = torch.logaddexp(log_p, q.log()) - math.log(2)  # q may be 0, and p is never
            distances[2] = 0.5 * (p * (log_p - log_m) + negative_entropy - q * log_m).sum(-1)
    return MapReading(
        logits.flatten(-2).logsumexp(-1),
        spatial_expectation(heatmap) if moments > 0 else logits.new_empty(0),
        spatial_covariance(heatmap) if moments > 1 else logits.new_empty(0),
        logits.new_empty(0),
        *distances,
    )


def read_by_operator(request: MapRequest) -> MapReading:
    """Return the reading of maps without gaps in memory, by loops that `is_readable` allows or a graph will hold."""
    if torch.compiler.is_compiling():
        return MapReading(*torch.ops.softpoint.read_maps(*request))
    needs_gradient = request.logits.requires_grad or (request.factor is not None and request.factor.requires_grad)
    # The dispatcher of torch costs as much as a small map, and is left out.
    call: Any = _ReadMaps.apply if needs_gradient and torch.is_grad_enabled() else _forward
    return MapReading(*call(*request))


def is_readable(*tensors: Tensor) -> bool:
    """Return whether the loops for a CPU or the kernels for a GPU may read such tensors."""
    return runs_here(*tensors) or runs_on_gpu(*tensors)


def _loops(logits: Tensor) -> Any:
    """The module that reads such maps, or None where PyTorch must."""
    if logits.is_cuda:
        return gpu_maps(logits.device)
    return None if library() is None else cpu_maps


def _empty_outputs(logits: Tensor, has_target: bool, divergence: bool, jensen_shannon: bool) -> tuple[Tensor, ...]:
    shape = logits.shape[:-2]
    new = logits.new_empty
    return (
        new(shape), new((*shape, 2)), new((*shape, 2, 2)), new((*shape, SAVED)), new(shape if has_target else 0),
        new(shape if divergence else 0), new(shape if jensen_shannon else 0),
    )  # fmt: skip


def _forward(*given: Any) -> tuple[Tensor, ...]:
    request = MapRequest(*given)
    loops = _loops(request.logits)
    if loops is None:
        return define_maps(request)._replace(saved=request.logits.new_zeros((*request.logits.shape[:-2], SAVED)))
    logits, factor, along_y, along_x, dense, divergence, jensen_shannon = request
    outputs = _empty_outputs(logits, along_x is not None or dense is not None, divergence, jensen_shannon)
    loops.read_maps((logits.contiguous(), factor, along_y, along_x, dense), outputs)
    return outputs


def _backward(logits: Tensor, *given: Any) -> tuple[Tensor, Tensor]:
    loops, (factor, along_y, along_x, dense, saved, *gradients) = _loops(logits), given
    if loops is None:
        return _slopes_as_defined((logits, *given[:4]), gradients, create_graph=False)
    logits = logits.contiguous()
    of_logits, of_factor = torch.empty_like(logits), None if factor is None else torch.empty_like(factor)
    gradients = [None if gradient is None else gradient.contiguous() for gradient in gradients]
    loops.read_maps_backward((logits, factor, along_y, along_x, dense), saved, gradients, (of_logits, of_factor))
    return of_logits, logits.new_empty(0) if of_factor is None else of_factor


def _slopes_as_defined(tensors: Any, gradients: Any, create_graph: bool) -> tuple[Tensor, Tensor]:
    """The gradients of logits and factor, through the definition; `gradients` are those of the outputs, but `saved`."""
    with torch.enable_grad():
        wanted = [x if x.requires_grad else x.detach().requires_grad_() for x in tensors[:2] if x is not None]
        logits, factor = (*wanted, None)[:2]
        along_y, along_x, dense = tensors[2:]
        request = MapRequest(logits, factor, along_y, along_x, dense, jensen_shannon=gradients[4] is not None)
        read = define_maps(request)
        outputs = (read.log_total, read.mean, read.covariance, read.cross_entropy, read.jensen_shannon)
        given = [(y, g) for y, g in zip(outputs, gradients, strict=True) if g is not None]
        slopes = torch.autograd.grad([y for y, _ in given], wanted, [g for _, g in given], create_graph=create_graph)
    return slopes[0], slopes[1] if len(slopes) > 1 else tensors[0].new_empty(0)


class _ReadMaps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Any) -> tuple[Tensor, ...]:
        request = MapRequest(*given)
        if is_readable(request.logits):
            outputs = _forward(*given)
        else:
            with torch._C._AutoDispatchBelowAutograd():
                outputs = torch.ops.softpoint.read_maps(*given)
        saved = MapReading(*outputs).saved
        ctx.save_for_backward(*request[:5], saved)
        ctx.mark_non_differentiable(saved)
        ctx.set_materialize_grads(False)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        of_log_total, of_mean, of_covariance, _, of_entropy, of_divergence, of_js = gradients
        if of_entropy is None or of_divergence is None:
            of_target = of_divergence if of_entropy is None else of_entropy  # differ by the target's entropy
        else:
            of_target = of_entropy + of_divergence
        given = (of_log_total, of_mean, of_covariance, of_target, of_js)
        *tensors, saved = ctx.saved_tensors
        readable = is_readable(tensors[0], *(gradient for gradient in given if gradient is not None))
        if torch.is_grad_enabled() or (not readable and type(tensors[0]) in (Tensor, torch.nn.Parameter)):
            result, of_factor = _slopes_as_defined(tensors, given, create_graph=torch.is_grad_enabled())
        else:
            go_back = _backward if readable else torch.ops.softpoint.read_maps_backward
            result, of_factor = go_back(*tensors, saved, *given)
        return result, of_factor if ctx.needs_input_grad[1] else None, None, None, None, None, None


def _fake_forward(logits: Tensor, *given: Any) -> tuple[Tensor, ...]:
    _, _, along_x, dense, divergence, jensen_shannon = given
    return _empty_outputs(logits, along_x is not None or dense is not None, divergence, jensen_shannon)


def _fake_backward(logits: Tensor, factor: Tensor | None, *_: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(logits), logits.new_empty(logits.shape[:-2] if factor is not None else 0)


for _device in ("CPU", "CUDA"):
    _OPERATORS.impl("read_maps", _forward, _device)
    _OPERATORS.impl("read_maps_backward", _backward, _device)
_OPERATORS.impl("read_maps", _ReadMaps.apply, "Autograd")
torch.library.register_fake("softpoint::read_maps", _fake_forward, lib=_OPERATORS)
torch.library.register_fake("softpoint::read_maps_backward", _fake_backward, lib=_OPERATORS)
