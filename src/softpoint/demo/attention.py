"""Dynamic Spatial Attention step by step: statistics, branches, router, and masks at several temperatures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from softpoint.functional import channel_statistics, gate
from softpoint.layers import DynamicSpatialAttention

TEMPERATURES = (0.5, 1.0, 2.0, 5.0)
BRANCHES = ("3 x 3", "7 x 7", "7 x 7, dilation 2")  # of the default module
MAX_CELLS = 256 * 256  # of a map, of which there are 64 copies
_CHANNELS = 64


@dataclass(frozen=True)
class SeededRun:
    """Numbers of modules that one seed makes: router weights (N, branches), mean and std of the mask by temperature."""

    router_weights: list[list[float]]
    masks: dict[float, tuple[float, float]]


@dataclass(frozen=True, eq=False)
class AttentionSteps:
    """One image through one module, in maps (H, W).

    Two of its channels; mean and maximum over all; logits of each branch, its router weight, and their weighted sum;
    and the mask at each temperature.
    """

    channels: np.ndarray
    statistics: np.ndarray
    branches: np.ndarray
    weights: list[float]
    mixed: np.ndarray
    masks: dict[float, np.ndarray]


@torch.inference_mode()
def seeded_run(seed: int = 0, temperatures: Sequence[float] = TEMPERATURES) -> SeededRun:
    """Return the numbers of random features (2, 64, 56, 56), a default module, and one module per temperature.

    The modules are made one after another, so that each has other random weights: their masks differ by these and by
    the temperature.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        x = torch.randn(2, _CHANNELS, 56, 56)
        weights = DynamicSpatialAttention(return_router_weights=True)(x)[2]
        masks = {T: DynamicSpatialAttention(temperature=T)(x)[1] for T in temperatures}
    return SeededRun(weights.tolist(), {T: (mask.mean().item(), mask.std().item()) for T, mask in masks.items()})


def map_features(logits: np.ndarray, seed: int = 0) -> Float[Tensor, "1 C H W"]:
    """Return 64 channels: the map (H, W), scaled to [0, 1], times a random gain each, plus noise of a tenth.

    Raises ValueError for a map of more than 256 x 256 cells, of which there are 64 copies.

    >>> map_features(np.zeros((8, 9))).shape
    torch.Size([1, 64, 8, 9])
    """
    generator = torch.Generator().manual_seed(seed)
    if logits.size > MAX_CELLS:
        raise ValueError(
            f"attention is shown on maps of up to {MAX_CELLS} cells, got {logits.shape}; give a smaller size"
        )
    above = logits.astype(np.float64) - logits.min()
    unit = above / max(above.max(), 1e-6)
    gains = torch.rand(1, _CHANNELS, 1, 1, generator=generator)
    noise = torch.randn(1, _CHANNELS, *unit.shape, generator=generator)
    return gains * torch.from_numpy(unit.astype(np.float32)) + 0.1 * noise


def seeded_module(
    seed: int = 0, make: Callable[..., DynamicSpatialAttention] = DynamicSpatialAttention
) -> DynamicSpatialAttention:
    """Return the module that `make` makes, with the random weights of a seed, which returns its router's weights.

    torch's own random numbers go on as before.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make(return_router_weights=True)


@torch.inference_mode()
def attention_steps(
    x: Float[Tensor, "1 C H W"], module: DynamicSpatialAttention, temperatures: Sequence[float] = TEMPERATURES
) -> AttentionSteps:
    """Return the steps of a module that returns router weights on one image's features, at several temperatures."""
    statistics = channel_statistics(x)
    branches = module.branch_logits(statistics)
    weights = module(x)[2]
    mixed = (branches * weights[..., None, None]).sum(1)
    masks = {temperature: gate(mixed, temperature, module.gate)[0].numpy() for temperature in temperatures}
    return AttentionSteps(
        channels=x[0, :2].numpy(),
        statistics=statistics[0].numpy(),
        branches=branches[0].numpy(),
        weights=weights[0].tolist(),
        mixed=mixed[0].numpy(),
        masks=masks,
    )
