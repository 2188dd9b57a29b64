"""Weighted least squares of a parabola, which the logarithm of a Gaussian is wherever the Gaussian is cut."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class Parabola(NamedTuple):
    """y(x) = a + b t + c (t^2 - skew t - spread) with t = x - mean, of powers that are orthogonal under the weights.

    All values have shape (..., 1). `power` is the weighted square of the last polynomial: near 0, where fewer than
    three positions have weight, c is undetermined. `noise` is the value of c^2 `power` expected by chance, from the
    residuals.
    """

    mean: Tensor
    spread: Tensor
    skew: Tensor
    a: Tensor
    b: Tensor
    c: Tensor
    power: Tensor
    noise: Tensor


def fit_parabola(
    weight: Float[Tensor, "*#batch N"], y: Float[Tensor, "*#batch N"], x: Float[Tensor, "*#batch N"]
) -> Parabola:
    """The parabola y(x) with the least squared error under weights that are not negative, of any total.

    >>> import torch; x = torch.arange(4.0)
    >>> vertex(fit_parabola(torch.tensor([4.0, 3, 2, 1]), 1 - (x - 2.5) ** 2, x), reach=9).item()
    2.5...
    """
    weight = weight / weight.sum(-1, keepdim=True).clamp_min(1e-6)
    mean = (weight * x).sum(-1, keepdim=True)
    t = x - mean
    first = weight * t
    spread = (first * t).sum(-1, keepdim=True)
    per_spread = 1 / spread.clamp_min(1e-6)
    skew = (first * t * t).sum(-1, keepdim=True) * per_spread
    square = t * (t - skew) - spread
    second = weight * square
    power = (second * square).sum(-1, keepdim=True)
    a = (weight * y).sum(-1, keepdim=True)
    b = (first * y).sum(-1, keepdim=True) * per_spread
    c = (second * y).sum(-1, keepdim=True) * _confidence(power) / power.clamp_min(1e-8)
    residual = (weight * (y - a - b * t - c * square) ** 2).sum(-1, keepdim=True)
    noise = residual * (weight * weight).sum(-1, keepdim=True)
    return Parabola(mean, spread, skew, a, b, c, power, noise)


def height(fit: Parabola, x: Float[Tensor, "*#batch N"]) -> Float[Tensor, "*batch N"]:
    """y at each x."""
    t = x - fit.mean
    return fit.a + fit.b * t + fit.c * (t * (t - fit.skew) - fit.spread)


def vertex(fit: Parabola, reach: float) -> Float[Tensor, "*batch 1"]:
    """The x of the largest y; the weighted mean of x where there is no maximum.

    The vertex shrinks towards the mean where noise explains the curvature, and where the parabola is flatter than that
    of a Gaussian whose standard deviation is `reach`.
    """
    sharpness = -2 * fit.c * reach**2
    step = fit.skew / 2 + fit.b * reach**2 / sharpness.clamp_min(1)
    signal = fit.c * fit.c * fit.power
    shrinkage = _confidence(fit.power) ** 2 * signal / (signal + fit.noise).clamp_min(1e-12)
    return fit.mean + step * sharpness.clamp(0.0, 1.0) * shrinkage


def _confidence(power: Tensor) -> Tensor:
    """1, or less where the divisor `power` is as small as the rounding of single precision."""
    # Not power^2 / (power^2 + 1e-14): exporters to ONNX treat so small a number as 0, and drop it.
    square = (power * 1e7) ** 2
    return square / (square + 1)
