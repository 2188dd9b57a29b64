"""Everything that one pass over logit maps gives: moments of their softmax, and its distance from a target."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from softpoint.functional.spatial import as_floating, check_temperature, spatial_covariance, spatial_expectation, widen
from softpoint.kernels.maps import has_kernel, read_maps

AxisPair = tuple[Tensor, Tensor]
"""A target as the product of its distributions along y (..., H) and along x (..., W)."""
MapTarget = Tensor | AxisPair
"""Maps (..., H, W), or the pair whose product they are, which is several times cheaper."""


class MapStatistics(NamedTuple):
    """Statistics of the spatial softmax of maps (..., H, W), in float32 at least."""

    log_total: Float[Tensor, "..."]  # log of the sum of e^z
    mean: Float[Tensor, "... 2"]  # (x, y) in cells: soft-argmax
    covariance: Float[Tensor, "... 2 2"]  # in cells^2
    cross_entropy: Float[Tensor, "..."] | None  # of the softmax against the target, in nats; None without one
    divergence: Float[Tensor, "..."] | None  # KL(target || softmax), in nats; None where it was not asked for
    jensen_shannon: Float[Tensor, "..."] | None  # in nats; None where it was not asked for
    saved: Float[Tensor, "... 7"] | None = None  # by which loops read windows; None from PyTorch


def map_statistics(
    logits: Float[Tensor, "... H W"],
    target: MapTarget | None = None,
    temperature: float | Tensor = 1.0,
    divergence: bool = False,
    jensen_shannon: bool = False,
) -> MapStatistics:
    """Return `MapStatistics` of the softmax of logits / `temperature`, of one pass forward and one pass back.

    The pass is a loop in C++ on a CPU and a Triton kernel on an NVIDIA GPU, for float32 and narrower types; plain
    PyTorch where there is none, which exported, transformed and float64 graphs use too. A map whose statistics get no
    gradient, as of a masked keypoint, gets a gradient of exactly 0, whatever it holds. A target has no gradient, unless
    it asks for one. Sources: Nibali et al., arXiv:1801.07372; Levine et al., arXiv:1504.00702.

    >>> logits = torch.zeros(3, 5)
    >>> read = map_statistics(logits, (torch.tensor([0.0, 1, 0]), torch.tensor([0.0, 0, 0, 1, 0])), divergence=True)
    >>> read.mean.tolist(), round(read.divergence.item(), 4), round(math.log(15), 4)
    ([2.0, 1.0], 2.7081, 2.7081)
    """
    check_temperature(temperature)
    logits = widen(as_floating(logits))
    factor = _factor_per_map(temperature, logits)
    if factor is None and not _is_one(temperature):
        logits = logits / temperature
    asked = (target is not None, divergence, jensen_shannon)
    if not is_fused(logits, target):
        return _in_pytorch(logits if factor is None else logits * factor[..., None, None], target, asked)
    along_y, along_x, dense = _without_gaps(target, logits)
    read = read_maps(logits.contiguous(), factor, along_y, along_x, dense, divergence, jensen_shannon)
    distances = (read.cross_entropy, read.divergence, read.jensen_shannon)
    entropy, kl, js = (value if ask else None for value, ask in zip(distances, asked, strict=True))
    return MapStatistics(read.log_total, read.mean, read.covariance, entropy, kl, js, read.saved)


def render(target: MapTarget) -> Float[Tensor, "... H W"]:
    """Return the maps of a target in float32 at least.

    >>> render((torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.5]))).tolist()
    [[0.0, 0.0], [0.5, 0.5]]
    """
    if isinstance(target, Tensor):
        return widen(target)
    return widen(target[0])[..., :, None] * widen(target[1])[..., None, :]


def is_fused(logits: Tensor, target: MapTarget | None = None) -> bool:
    """Whether the operator may read the logits; graphs that are exported or transformed need PyTorch's own ones."""
    if torch.compiler.is_exporting():
        return False
    if not torch.compiler.is_compiling() and (
        torch._C._get_tracing_state() is not None or torch._C._functorch.peek_interpreter_stack() is not None
    ):
        return False
    parts = () if target is None else (target,) if isinstance(target, Tensor) else target
    return has_kernel(logits) and not any(part.requires_grad for part in parts)


def _is_one(temperature: float | Tensor) -> bool:
    return not isinstance(temperature, Tensor) and temperature == 1


def _factor_per_map(temperature: float | Tensor, logits: Tensor) -> Tensor | None:
    """1 / temperature (...), where that is one tensor with a number for each map."""
    if not isinstance(temperature, Tensor) or (temperature.ndim > 1 and temperature.shape[-2:] != (1, 1)):
        return None
    if temperature.ndim == 1 and temperature.shape != (1,):
        return None
    per_map = temperature.reshape(temperature.shape[:-2])
    return (1 / widen(per_map)).expand(logits.shape[:-2]).contiguous()


def _without_gaps(target: MapTarget | None, logits: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Distributions along y and x, and dense maps, in the shape and type that the operator takes."""
    if target is None:
        return None, None, None
    if isinstance(target, Tensor):
        return None, None, target.to(logits.dtype).expand(logits.shape).contiguous()
    batch = logits.shape[:-2]
    y, x = (part.to(logits.dtype).expand(*batch, part.shape[-1]).contiguous() for part in target)
    return y, x, None


def _in_pytorch(logits: Tensor, target: MapTarget | None, asked: tuple[bool, bool, bool]) -> MapStatistics:
    """The same statistics, each written as it is defined."""
    log_p = logits.flatten(-2).log_softmax(-1)
    p = log_p.exp()
    heatmap = p.unflatten(-1, logits.shape[-2:])
    distances: list[Tensor | None] = [None, None, None]
    if target is not None:
        q = render(target).flatten(-2)
        log_m = torch.logaddexp(log_p, q.log()) - math.log(2)  # q may be 0, and p is never
        negative_entropy = torch.xlogy(q, q)
        if asked[0]:
            distances[0] = -(q * log_p).sum(-1)
        if asked[1]:
            distances[1] = (negative_entropy - q * log_p).sum(-1)
        if asked[2]:
            distances[2] = 0.5 * (p * (log_p - log_m) + negative_entropy - q * log_m).sum(-1)
    return MapStatistics(
        logits.flatten(-2).logsumexp(-1),
        spatial_expectation(heatmap),
        spatial_covariance(heatmap),
        *distances,
    )
