"""Everything that one pass over logit maps gives: moments of their softmax, and its distance from a target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from softpoint.functional.map_operator import MapRequest, define_maps, read_by_operator
from softpoint.functional.spatial import as_floating, check_temperature, widen
from softpoint.kernels.gpu import runs_on_gpu
from softpoint.kernels.library import WANTED, runs_here

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
    saved: Float[Tensor, "... n"] | None = None  # by which loops on a CPU read windows; None of a temperature


def map_statistics(
    logits: Float[Tensor, "... H W"],
    target: MapTarget | None = None,
    temperature: float | Tensor = 1.0,
    divergence: bool = False,
    jensen_shannon: bool = False,
    moments: int = 2,
) -> MapStatistics:
    """Return `MapStatistics` of the softmax of logits / `temperature`, of one pass forward and one pass back.

    The pass is a loop in C++ on a CPU and a kernel of Triton on a GPU, for float32 and narrower types; plain PyTorch
    where neither compiles, which exported, transformed and float64 graphs use too, and compiled ones on a GPU. A map
    whose statistics get no gradient, as of a masked keypoint, gets a gradient of exactly 0, whatever it holds. A target
    has no gradient, unless it asks for one. `moments` below 2 leave covariances empty where they would take time, and 0
    the means too. Raises ValueError for a target of another size than the maps.
    Sources: Nibali et al., arXiv:1801.07372; Levine et al., arXiv:1504.00702.

    >>> import math
    >>> logits = torch.zeros(3, 5)
    >>> read = map_statistics(logits, (torch.tensor([0.0, 1, 0]), torch.tensor([0.0, 0, 0, 1, 0])), divergence=True)
    >>> read.mean.tolist(), round(read.divergence.item(), 4), round(math.log(15), 4)
    ([2.0, 1.0], 2.7081, 2.7081)
    """
    check_temperature(temperature)
    logits = widen(as_floating(logits))
    factor = _factor_per_map(temperature, logits)
    is_scaled = isinstance(temperature, Tensor) or temperature != 1
    if is_scaled and factor is None:
        logits = logits / temperature
    parts = _parts(target, logits)
    request = MapRequest(logits, factor, *parts, divergence, jensen_shannon)
    fused = _is_read_by_loops(request)
    read = read_by_operator(_without_gaps(request)) if fused else define_maps(request, moments)
    return MapStatistics(
        read.log_total,
        read.mean,
        read.covariance,
        None if target is None else read.cross_entropy,
        read.divergence if divergence else None,
        read.jensen_shannon if jensen_shannon else None,
        read.saved if fused and not is_scaled and not logits.is_cuda else None,
    )


def is_fused(*tensors: Tensor) -> bool:
    """Whether loops may read the tensors; graphs that are exported or transformed need PyTorch's own operators."""
    if torch.compiler.is_exporting():
        return False
    if torch.compiler.is_compiling():
        return WANTED and all(part.dtype == torch.float32 and part.device.type == "cpu" for part in tensors)
    return runs_here(*tensors)


def _is_read_by_loops(request: MapRequest) -> bool:
    logits, factor, *target = request[:5]
    given = [part for part in target if part is not None]
    tensors = given if factor is None else [*given, factor]
    return (
        (is_fused(logits, *tensors) or runs_on_gpu(logits, *tensors))
        and logits.numel() > 0
        and not any(part.requires_grad for part in given)
        and all(_is_spread(part.shape[: -2 if part is request.dense else -1], logits.shape[:-2]) for part in given)
    )


def _is_spread(shape: Sequence[int], over: Sequence[int]) -> bool:
    """Whether tensors of a shape are broadcast to those of another one, and not both to a third."""
    return len(shape) <= len(over) and all(n in (1, m) for n, m in zip(shape[::-1], over[::-1], strict=False))


def _factor_per_map(temperature: float | Tensor, logits: Tensor) -> Tensor | None:
    """1 / temperature (...), where that is one tensor with a number for each map."""
    if not isinstance(temperature, Tensor) or (temperature.ndim > 1 and temperature.shape[-2:] != (1, 1)):
        return None
    if temperature.ndim == 1 and temperature.shape != (1,):
        return None
    batch = logits.shape[:-2]
    per_map = temperature.reshape(temperature.shape[:-2])
    if not _is_spread(per_map.shape, batch):
        return None
    return (1 / widen(per_map)).to(logits.dtype).expand(batch).contiguous()


def _parts(target: MapTarget | None, logits: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Distributions along y and x, and dense maps, in the logits' type; ValueError for another size than theirs."""
    if target is None:
        return None, None, None
    height, width = logits.shape[-2:]
    if isinstance(target, Tensor):
        if target.shape[-2:] != (height, width):
            raise ValueError(f"target maps of shape {tuple(target.shape)} do not fit logits of {tuple(logits.shape)}")
        return None, None, target.to(logits.dtype)
    y, x = target
    if (y.shape[-1], x.shape[-1]) != (height, width):
        raise ValueError(
            f"a target of {y.shape[-1]} cells along y and {x.shape[-1]} along x, in this order, does not fit maps of"
            f" {height} rows and {width} columns"
        )
    return y.to(logits.dtype), x.to(logits.dtype), None


def _without_gaps(request: MapRequest) -> MapRequest:
    """The request with its parts as large as the logits are, and without gaps in memory."""
    logits, _, y, x, dense, *_ = request
    batch = logits.shape[:-2]
    return request._replace(
        logits=logits.contiguous(),
        along_y=None if y is None else y.expand(*batch, y.shape[-1]).contiguous(),
        along_x=None if x is None else x.expand(*batch, x.shape[-1]).contiguous(),
        dense=None if dense is None else dense.expand(logits.shape).contiguous(),
    )
