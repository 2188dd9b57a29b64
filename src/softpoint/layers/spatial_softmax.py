"""The spatial softmax of robot learning: feature points of a policy's encoder (Finn et al., arXiv:1509.06113)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from softpoint.functional.spatial import check_temperature, spatial_covariance, spatial_softmax
from softpoint.layers.spatial_soft_argmax import SpatialSoftArgmax

# Buffers of other implementations: the grid of positions, which follows from the size of the features.
_GRIDS = ("pos_grid", "pos_x", "pos_y")


class SpatialSoftmax(nn.Module):
    """Feature points (B, K, 2) in [-1, 1] of features (B, C, H, W) of any size, each the mean of a spatial softmax.

    It takes the place of the layers of that name in robomimic and LeRobot and loads their weights, the temperature
    included (1 where none is stored). Their arguments have the same names; `window` is softpoint's own.

    Args:
        input_shape: (C, H, W) of the features, of which C alone is used.
        num_kp: feature points K, each from a 1 x 1 convolution of all channels; None for one per channel.
        temperature: divides the logits; below 1 sharper, above 1 softer.
        learnable_temperature: makes the temperature a parameter, kept positive as exp(log_temperature).
        output_variance: whether forward also returns the covariance (B, K, 2, 2) of each softmax, in the same units.
        noise_std: standard deviation of Gaussian noise that is added to the points in training.
        window: odd number of cells about each maximum that are read; None for the whole map.

    Raises ValueError, quoting the value, for a number that cannot be, and for features of other than C channels.

    >>> features = torch.zeros(1, 2, 5, 5); features[0, :, 1, 4] = 99
    >>> SpatialSoftmax((2, 5, 5))(features)[0].tolist()
    [[1.0, -0.5], [1.0, -0.5]]
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_kp: int | None = None,
        temperature: float = 1.0,
        learnable_temperature: bool = False,
        output_variance: bool = False,
        noise_std: float = 0.0,
        window: int | None = None,
    ) -> None:
        super().__init__()
        if num_kp is not None and num_kp < 1:
            raise ValueError(f"num_kp must be at least 1, or None for a point per channel, got {num_kp}")
        if not noise_std >= 0:
            raise ValueError(f"noise_std must not be negative, got {noise_std}")
        self.in_channels = input_shape[0]
        self.num_kp = num_kp or self.in_channels
        self.output_variance = output_variance
        self.noise_std = noise_std
        self.nets = None if num_kp is None else nn.Conv2d(self.in_channels, num_kp, 1)
        self.soft_argmax = SpatialSoftArgmax(temperature, window, True, learnable_temperature)
        self.register_load_state_dict_pre_hook(_from_other_layers)  # type: ignore[no-untyped-call]

    def forward(self, features: Float[Tensor, "B C H W"]) -> Tensor | tuple[Tensor, Tensor]:
        """Return the points (B, K, 2) and, where `output_variance` is set, their covariances (B, K, 2, 2)."""
        if features.shape[1] != self.in_channels:
            raise ValueError(f"the features have {features.shape[1]} channels, but input_shape says {self.in_channels}")
        logits = features if self.nets is None else self.nets(features)
        points: Tensor = self.soft_argmax(logits)
        if self.training and self.noise_std > 0:
            points = points + self.noise_std * torch.randn_like(points)
        if not self.output_variance:
            return points
        return points, spatial_covariance(spatial_softmax(logits, self.soft_argmax.temperature), normalized=True)

    def output_shape(self, input_shape: Sequence[int] | None = None) -> list[int]:
        """Return [K, 2], which robomimic asks each layer for."""
        return [self.num_kp, 2]


def _from_other_layers(layer: SpatialSoftmax, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Rename in place what other implementations store: no grid, and the logarithm of the temperature."""
    other = [state.pop(prefix + name) for name in _GRIDS if prefix + name in state]
    temperature = state.pop(f"{prefix}temperature", torch.ones(1) if other else None)
    if temperature is not None:
        check_temperature(temperature.detach().cpu())
        state[f"{prefix}soft_argmax.log_temperature"] = temperature.log().view(-1, 1, 1)
