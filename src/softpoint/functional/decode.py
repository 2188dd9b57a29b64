"""Methods that read a position from a heatmap."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches

from jaxtyping import Float
from torch import Tensor

from softpoint.functional.dark import argmax_cell, taylor_peak
from softpoint.functional.gaussian_fit import check_window, window_expectation
from softpoint.functional.spatial import as_floating, spatial_expectation, widen


def decode_heatmap(
    heatmap: Float[Tensor, "*batch H W"], method: str = "window", window: int = 9
) -> Float[Tensor, "*batch 2"]:
    """Position (x, y) of the keypoint in each heatmap, in cells, computed in float32 at least.

    Methods: "window", a Gaussian fitted to `window` x `window` cells about the maximum (`window_expectation`);
    "expectation", the mean of the whole map, whose sum must be 1; "argmax", the largest cell; "dark", one Newton step
    from there on the map's logarithm (`taylor_peak`). All but "argmax" have a gradient. Raises ValueError for another
    method and for a window that is not odd.

    >>> import torch; heatmap = torch.tensor([1.0, 2, 1]).outer(torch.tensor([1.0, 3, 3, 1])) / 32
    >>> [decode_heatmap(heatmap, method)[0].item() for method in ("window", "expectation", "argmax", "dark")]
    [1.5, 1.5, 1.0, 1.5]
    """
    check_window(window)
    if method not in DECODERS:
        near = get_close_matches(str(method), DECODERS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(DECODERS)}"
        raise ValueError(f"no method {method!r} to decode a heatmap; {hint}")
    return DECODERS[method](widen(as_floating(heatmap)), window)


DECODERS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "window": window_expectation,
    "expectation": lambda maps, window: spatial_expectation(maps),
    "argmax": lambda maps, window: argmax_cell(maps),
    "dark": lambda maps, window: taylor_peak(maps),
}
