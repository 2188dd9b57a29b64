"""Readings of logit maps beside their definitions in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from softpoint.functional import map_statistics
from softpoint.functional.map_statistics import MapStatistics


def inputs(size: tuple[int, int], scale: float, offset: float = 0.0) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
    """Logits (2, 3, H, W), a target along y and x, and temperatures (3, 1, 1)."""
    generator = torch.Generator().manual_seed(sum(size))
    logits = scale * torch.randn(2, 3, *size, generator=generator) + offset
    y, x = (torch.softmax(3 * torch.randn(2, 3, side, generator=generator), -1) for side in size)
    return logits, (y, x), torch.rand(3, 1, 1, generator=generator) + 0.5


def everything(logits: Tensor, target: Tensor | tuple[Tensor, Tensor], temperature: Tensor) -> MapStatistics:
    return map_statistics(logits, target, temperature, divergence=True, jensen_shannon=True)


def weighted(read: MapStatistics) -> Tensor:
    """A sum that gives every differentiable statistic a gradient of its own."""
    of_covariance = (read.covariance * torch.tensor([[0.1, 0.2], [0.3, 0.4]]).to(read.covariance)).sum((-2, -1))
    of_mean = (read.mean * torch.tensor([1.0, -2.0]).to(read.mean)).sum(-1)
    assert read.cross_entropy is not None and read.divergence is not None and read.jensen_shannon is not None
    distances = read.cross_entropy + 2 * read.divergence + 3 * read.jensen_shannon
    maps = read.log_total + of_mean + of_covariance + distances
    return (maps * torch.arange(1.0, maps.numel() + 1).view(maps.shape).to(maps)).sum()


def assert_as_defined(size: tuple[int, int], scale: float, offset: float, dense: bool) -> None:
    """Whether all statistics of maps of a size, and their gradients, are within rounding of those in float64."""
    logits, pair, temperature = inputs(size, scale, offset)
    logits.requires_grad_(), temperature.requires_grad_()
    exact_logits, exact_temperature = (value.detach().double().requires_grad_() for value in (logits, temperature))
    target = pair[0][..., :, None] * pair[1][..., None, :] if dense else pair
    exact_target = target.double() if isinstance(target, Tensor) else tuple(axis.double() for axis in pair)
    read, exact = everything(logits, target, temperature), everything(exact_logits, exact_target, exact_temperature)
    for name, value, true in zip(MapStatistics._fields[:-1], read, exact, strict=False):
        # Below 1, rounding is that of the sums that a value is the difference of, as a divergence of near maps is.
        unit = true.abs().clamp_min(1.0) if name != "covariance" else true.abs().amax((-2, -1), True).clamp_min(1.0)
        assert ((value.double() - true).abs() <= 1e-6 * unit).all(), name
    slopes = torch.autograd.grad(weighted(read), (logits, temperature))
    exact_slopes = torch.autograd.grad(weighted(exact), (exact_logits, exact_temperature))
    assert (slopes[0].double() - exact_slopes[0]).abs().max() <= 2e-6 * exact_slopes[0].abs().max().clamp_min(1.0)
    # The slope of the temperature is a sum over cells, which may be far smaller than its terms.
    terms = (exact_slopes[0] * (exact_logits - exact_logits.amax((-2, -1), True))).abs().sum((0, -2, -1)) + abs(offset)
    assert ((slopes[1] - exact_slopes[1]).abs().flatten() <= 1e-6 * terms.clamp_min(1.0) / temperature.flatten()).all()
