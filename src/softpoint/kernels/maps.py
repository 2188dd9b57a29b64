"""Statistics of logit maps and of their distance from a target, one pass forward and one back, in C++ on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from softpoint.kernels.library import POINTER, SIZES, addresses, loop, sizes

_FORWARD = (*5 * [POINTER], *SIZES, *7 * [POINTER])
_BACKWARD = (*5 * [POINTER], *SIZES, *8 * [POINTER])
SAVED = 12  # numbers of a map: see Saved in rows.h


def read_maps(
    logits: Tensor,
    factor: Tensor | None,
    along_y: Tensor | None,
    along_x: Tensor | None,
    dense: Tensor | None,
    outputs: tuple[Tensor, ...],
) -> None:
    """Write to `outputs` what is read from maps (..., H, W): see `softpoint.functional.map_operator`.

    `factor` (...) multiplies the logits. A target is given by `along_y` (..., H) and `along_x` (..., W), or by maps
    `dense` (..., H, W).
    """
    given = addresses(logits, factor, along_y, along_x, dense)
    loop("softpoint_maps_forward", _FORWARD)(*given, *sizes(logits), *addresses(*outputs))


def read_maps_backward(
    logits: Tensor,
    factor: Tensor | None,
    along_y: Tensor | None,
    along_x: Tensor | None,
    dense: Tensor | None,
    saved: Tensor,
    *gradients: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    """Return the gradients of the logits and of their factor, by those of what was read from them."""
    result = torch.empty_like(logits)
    of_factor = None if factor is None else torch.empty_like(factor)
    of_outputs = [None if gradient is None else gradient.contiguous() for gradient in gradients]
    given = addresses(logits, factor, along_y, along_x, dense)
    found = addresses(saved, *of_outputs, result, of_factor)
    loop("softpoint_maps_backward", _BACKWARD)(*given, *sizes(logits), *found)
    return result, of_factor
