"""Statistics of logit maps and of their distance from a target, one pass forward and one back, in C++ on a CPU."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from softpoint.kernels.library import POINTER, SIZES, addresses, loop, sizes

_FORWARD = (*5 * [POINTER], *SIZES, *7 * [POINTER])
_BACKWARD = (*5 * [POINTER], *SIZES, *8 * [POINTER])
SAVED = 12  # numbers of a map: see Saved in rows.h


Given = tuple[Tensor, Tensor | None, Tensor | None, Tensor | None, Tensor | None]
"""Logits (..., H, W), a factor of theirs (...), and a target: along y (..., H) and x (..., W), or maps (..., H, W)."""


def read_maps(given: Given, outputs: Sequence[Tensor]) -> None:
    """Write to `outputs` what is read from maps: see `softpoint.functional.map_operator`."""
    loop("softpoint_maps_forward", _FORWARD)(*addresses(*given), *sizes(given[0]), *addresses(*outputs))


def read_maps_backward(
    given: Given, saved: Tensor, gradients: Sequence[Tensor | None], outputs: Sequence[Tensor | None]
) -> None:
    """Write to `outputs` the gradients of the logits and of their factor, by those of what was read from them."""
    found = addresses(saved, *gradients, *outputs)
    loop("softpoint_maps_backward", _BACKWARD)(*addresses(*given), *sizes(given[0]), *found)
