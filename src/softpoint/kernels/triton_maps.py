"""Statistics of logit maps and of their distance from a target on a GPU: maps.cpp as two kernels of Triton.

One program reads one map, twice, the second time from the cache, and keeps the sums of its lanes in single precision.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from softpoint.kernels.maps import SAVED, Given

_BLOCK = 1024  # cells that a program reads at once
_WARP_CELLS = 256

LOWEST = tl.constexpr(-3.4028234663852886e38)
SMALLEST = tl.constexpr(1.1754944e-38)
# Below the logarithm of any normal number, so that a product with a probability of 0 is 0.
LOG_OF_ZERO = tl.constexpr(-200.0)
LOG_2 = tl.constexpr(0.6931471805599453)
ROW = tl.constexpr(SAVED)  # of a map in `saved`: see Saved in rows.h


def read_maps(given: Given, outputs: Sequence[Tensor]) -> None:
    """Write to `outputs` what is read from maps: see `softpoint.functional.map_operator`."""
    logits = given[0]
    height, width = logits.shape[-2:]
    log_total, mean, covariance, saved, *distances = outputs
    wanted = [part if part.numel() else None for part in distances]
    block, warps = _shares(height * width)
    with torch.cuda.device_of(logits):
        _forward[(log_total.numel(),)](
            *given, height, width, log_total, mean, covariance, saved, *wanted,
            BLOCK=block, AXIS=_axis(height, width), num_warps=warps,
        )  # fmt: skip


def read_maps_backward(
    given: Given, saved: Tensor, gradients: Sequence[Tensor | None], outputs: Sequence[Tensor | None]
) -> None:
    """Write to `outputs` the gradients of the logits and of their factor, by those of what was read from them."""
    logits = given[0]
    height, width = logits.shape[-2:]
    block, warps = _shares(height * width)
    with torch.cuda.device_of(logits):
        _backward[(logits.numel() // (height * width),)](
            *given, height, width, saved, *gradients, *outputs, BLOCK=block, num_warps=warps
        )


def _shares(cells: int) -> tuple[int, int]:
    block = min(_BLOCK, triton.next_power_of_2(cells))
    return block, max(1, block // _WARP_CELLS)


def _axis(height: int, width: int) -> int:
    return int(triton.next_power_of_2(max(height, width)))


@triton.jit
def _log_of(value):
    return tl.where(value < SMALLEST, LOG_OF_ZERO, tl.log(tl.maximum(value, SMALLEST)))


@triton.jit
def _target(along_y, along_x, dense, number, height, width, cell, inside):
    """The target of cells of a map, and its logarithm without the underflow of a product."""
    if dense is not None:
        value = tl.load(dense + number * height * width + cell, mask=inside, other=0.0)
        log = _log_of(value)
    else:
        of_y = tl.load(along_y + number * height + cell // width, mask=inside, other=0.0)
        of_x = tl.load(along_x + number * width + cell % width, mask=inside, other=0.0)
        value = of_y * of_x
        log = _log_of(of_y) + _log_of(of_x)
    return value, log


@triton.jit
def _of_axis(along, length, AXIS: tl.constexpr):
    """The sums of a distribution and of its products with its logarithms."""
    cell = tl.arange(0, AXIS)
    value = tl.load(along + cell, mask=cell < length, other=0.0)
    return tl.sum(value), tl.sum(value * _log_of(value))


@triton.jit
def _number_of(pointer, index, otherwise: tl.constexpr):
    if pointer is None:
        value = tl.full((), otherwise, tl.float32)
    else:
        value = tl.load(pointer + index)
    return value


@triton.jit
def _forward(
    logits, factor, along_y, along_x, dense, height, width, log_total_of, mean_of, covariance_of, saved_of,
    cross_entropy_of, divergence_of, jensen_shannon_of, BLOCK: tl.constexpr, AXIS: tl.constexpr,
):  # fmt: skip
    number = tl.program_id(0).to(tl.int64)
    cells = height * width
    logits += number * cells
    scale = _number_of(factor, number, 1.0)
    lanes = tl.arange(0, BLOCK)

    most = tl.full([BLOCK], float("-inf"), tl.float32)
    where = tl.zeros([BLOCK], tl.int32)
    for start in range(0, cells, BLOCK):
        cell = start + lanes
        value = tl.load(logits + cell, mask=cell < cells, other=float("-inf"))
        where = tl.where(value > most, cell, where)
        most = tl.where(value > most, value, most)
    peak = tl.max(most)
    first = tl.min(tl.where(most == peak, where, cells))
    row, column = first // width, first % width

    # Sums of e^(z - max), times powers of the distance from the maximum; of the target, z - max, and its logarithm.
    nothing = tl.zeros([BLOCK], tl.float32)
    e_0, e_x, e_y, e_xx, e_xy, e_yy = nothing, nothing, nothing, nothing, nothing, nothing
    q_0, q_z, q_log = nothing, nothing, nothing
    for start in range(0, cells, BLOCK):
        cell = start + lanes
        inside = cell < cells
        z = (tl.load(logits + cell, mask=inside, other=peak) - peak) * scale
        e = tl.where(inside, tl.exp(z), 0.0)
        dx = (cell % width - column).to(tl.float32)
        dy = (cell // width - row).to(tl.float32)
        e_0 += e
        e_x += e * dx
        e_y += e * dy
        e_xx += e * dx * dx
        e_xy += e * dx * dy
        e_yy += e * dy * dy
        if cross_entropy_of is not None:
            q, log_q = _target(along_y, along_x, dense, number, height, width, cell, inside)
            q_0 += q
            q_z += q * tl.maximum(z, LOWEST)  # 0 times -inf were NaN
            if divergence_of is not None and dense is not None:
                q_log += q * log_q
    total = tl.sum(e_0)
    log_total = tl.log(total)
    x, y = tl.sum(e_x) / total, tl.sum(e_y) / total
    xx, xy, yy = tl.sum(e_xx) / total - x * x, tl.sum(e_xy) / total - x * y, tl.sum(e_yy) / total - y * y
    x_mean, y_mean = column + x, row + y
    tl.store(log_total_of + number, peak * scale + log_total)
    tl.store(mean_of + 2 * number, x_mean)
    tl.store(mean_of + 2 * number + 1, y_mean)
    tl.store(covariance_of + 4 * number, xx)
    tl.store(covariance_of + 4 * number + 1, xy)
    tl.store(covariance_of + 4 * number + 2, xy)
    tl.store(covariance_of + 4 * number + 3, yy)
    saved_of += ROW * number
    tl.store(saved_of, peak)
    tl.store(saved_of + 1, total)
    tl.store(saved_of + 7, x_mean)
    tl.store(saved_of + 8, y_mean)
    tl.store(saved_of + 9, xx)
    tl.store(saved_of + 10, xy)
    tl.store(saved_of + 11, yy)

    if cross_entropy_of is not None:
        target_total = tl.sum(q_0)
        cross_entropy = target_total * log_total - tl.sum(q_z)
        tl.store(saved_of + 2, target_total)
        tl.store(cross_entropy_of + number, cross_entropy)
        if divergence_of is not None:
            if dense is not None:
                negative_entropy = tl.sum(q_log)
            else:
                total_y, entropy_y = _of_axis(along_y + number * height, height, AXIS)
                total_x, entropy_x = _of_axis(along_x + number * width, width, AXIS)
                negative_entropy = entropy_x * total_y + entropy_y * total_x
            tl.store(divergence_of + number, cross_entropy + negative_entropy)

    if jensen_shannon_of is not None:
        # Half the sums of p (log p - log m) and q (log q - log m) with m = (p + q) / 2; the first is needed again.
        of_p, of_q = nothing, nothing
        shift = tl.log(total / 2)
        for start in range(0, cells, BLOCK):
            cell = start + lanes
            inside = cell < cells
            z = (tl.load(logits + cell, mask=inside, other=peak) - peak) * scale
            p = tl.exp(z) / total
            q, log_q = _target(along_y, along_x, dense, number, height, width, cell, inside)
            log_m = _log_of(p + q)  # all logarithms are larger by log 2
            of_p += tl.where(inside, p * (tl.maximum(z - shift, LOG_OF_ZERO) - log_m), 0.0)
            of_q += tl.where(inside, q * (log_q + LOG_2 - log_m), 0.0)
        p_gain = tl.sum(of_p)
        tl.store(saved_of + 3, p_gain)
        tl.store(jensen_shannon_of + number, 0.5 * (p_gain + tl.sum(of_q)))


@triton.jit
def _backward(
    logits, factor, along_y, along_x, dense, height, width, saved_of, of_log_total, of_mean, of_covariance,
    of_cross_entropy, of_jensen_shannon, gradient_of, gradient_of_factor, BLOCK: tl.constexpr,
):  # fmt: skip
    number = tl.program_id(0).to(tl.int64)
    cells = height * width
    logits += number * cells
    gradient_of += number * cells
    scale = _number_of(factor, number, 1.0)
    saved_of += ROW * number
    peak, total, target_total, p_gain = (
        tl.load(saved_of), tl.load(saved_of + 1), tl.load(saved_of + 2), tl.load(saved_of + 3),
    )  # fmt: skip
    x_mean, y_mean, xx, xy, yy = (
        tl.load(saved_of + 7), tl.load(saved_of + 8), tl.load(saved_of + 9), tl.load(saved_of + 10),
        tl.load(saved_of + 11),
    )  # fmt: skip
    g_log, g_entropy = _number_of(of_log_total, number, 0.0), _number_of(of_cross_entropy, number, 0.0)
    g_x, g_y = _number_of(of_mean, 2 * number, 0.0), _number_of(of_mean, 2 * number + 1, 0.0)
    g_xx, g_yy = _number_of(of_covariance, 4 * number, 0.0), _number_of(of_covariance, 4 * number + 3, 0.0)
    g_xy = _number_of(of_covariance, 4 * number + 1, 0.0) + _number_of(of_covariance, 4 * number + 2, 0.0)
    half_js = 0.5 * _number_of(of_jensen_shannon, number, 0.0)
    # A map whose statistics get no gradient is not read, and has one of exactly 0, whatever it holds.
    sizes = tl.abs(g_log) + tl.abs(g_entropy) + tl.abs(g_x) + tl.abs(g_y)
    sizes += tl.abs(g_xx) + tl.abs(g_xy) + tl.abs(g_yy) + tl.abs(half_js)
    is_used = sizes != 0
    wanted_cells = tl.where(is_used, cells, 0)
    constant = g_log - g_xx * xx - g_xy * xy - g_yy * yy
    if of_cross_entropy is not None:
        constant += g_entropy * target_total
    if of_jensen_shannon is not None:
        constant -= half_js * p_gain
    shift = tl.log(total / 2)
    with_logits = tl.zeros([BLOCK], tl.float32)
    for start in range(0, cells, BLOCK):
        cell = start + tl.arange(0, BLOCK)
        inside = cell < cells
        wanted = cell < wanted_cells
        z = (tl.load(logits + cell, mask=wanted, other=peak) - peak) * scale
        dx = (cell % width).to(tl.float32) - x_mean
        dy = (cell // width).to(tl.float32) - y_mean
        p = tl.exp(z) / total
        inner = constant + (g_y + g_yy * dy) * dy + (g_x + g_xy * dy + g_xx * dx) * dx
        d = p * inner
        if of_cross_entropy is not None or of_jensen_shannon is not None:
            q, _ = _target(along_y, along_x, dense, number, height, width, cell, wanted)
            if of_jensen_shannon is not None:
                d += p * half_js * (tl.maximum(z - shift, LOG_OF_ZERO) - _log_of(p + q))
            d -= g_entropy * q
        d = tl.where(wanted, d, 0.0)
        with_logits += d * tl.maximum(z, LOWEST)
        tl.store(gradient_of + cell, d * scale, mask=inside)
    if gradient_of_factor is not None:
        # The gradients of all cells sum to that of the logarithm of the total.
        of_factor = tl.sum(with_logits) / scale + peak * g_log
        tl.store(gradient_of_factor + number, tl.where(is_used, of_factor, 0.0))
