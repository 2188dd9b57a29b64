"""Dynamic Spatial Attention: a router mixes spatial-attention branches of several receptive fields per image.

It widens the 7 x 7 spatial attention of CBAM (Woo et al., arXiv:1807.06521) by parallel kernels and a
dilated one, and chooses among them as dynamic convolution does (Chen et al., arXiv:1912.03458).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from softpoint.functional.attention import GATES, channel_statistics, gate, statistics_and_product
from softpoint.layers.spatial_attention import ConvolutionToOne
from softpoint.suggest import did_you_mean


class DynamicSpatialAttention(nn.Module):
    """Multiplies features by a mask in [0, 1] per pixel, mixed from convolutions of their channel statistics.

    Args:
        kernels: side of each branch's kernel; an even one is made odd by adding 1.
        use_dilated: adds a branch with a kernel of side `dilated_kernel` and dilation `dilated_d`.
        gate: "sigmoid" or "hardsigmoid".
        temperature: divides the mixed logits before the gate; learnable as softplus(t_raw) + eps.
        eps: the smallest learnable temperature.
        router_hidden: width of the router's hidden layer.
        bias: whether the router's convolutions have biases; the branches have none.
        return_router_weights: whether forward also returns the mixing weights.

    Raises ValueError, quoting the value, for a temperature <= 0, an unknown gate, and a kernel, a dilation
    or a `router_hidden` below 1.

    >>> _ = torch.manual_seed(0)
    >>> y, mask = DynamicSpatialAttention()(torch.randn(2, 64, 56, 56))
    >>> y.shape, mask.shape
    (torch.Size([2, 64, 56, 56]), torch.Size([2, 1, 56, 56]))
    """

    T: Tensor

    def __init__(
        self,
        kernels: Sequence[int] = (3, 7),
        use_dilated: bool = True,
        dilated_kernel: int = 7,
        dilated_d: int = 2,
        gate: str = "sigmoid",
        temperature: float = 1.0,
        learnable_temperature: bool = False,
        eps: float = 1e-6,
        router_hidden: int = 8,
        bias: bool = True,
        return_router_weights: bool = False,
    ) -> None:
        super().__init__()
        if gate not in GATES:
            raise ValueError(f"gate {gate!r} is unknown; {did_you_mean(gate, GATES)}")
        if router_hidden < 1:
            raise ValueError(f"router_hidden must be at least 1, got {router_hidden}")
        shapes = [(kernel, 1) for kernel in kernels] + [(dilated_kernel, dilated_d)] * use_dilated
        if not shapes:
            raise ValueError("kernels is empty and use_dilated is false: attention needs at least one branch")
        self.gate = gate
        self.return_router_weights = return_router_weights
        # Branches before the router: the order of creation decides which weights a seed gives.
        self.branches = nn.ModuleList(_branch(kernel, dilation) for kernel, dilation in shapes)
        self.router = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(2, router_hidden, 1, bias=bias),
            nn.ReLU(),
            nn.Conv2d(router_hidden, len(shapes), 1, bias=bias),
            nn.Softmax(dim=1),
        )
        self.eps = eps
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        if not learnable_temperature:
            self.register_buffer("T", torch.tensor(float(temperature)))
        elif temperature > eps:
            above = temperature - eps
            # softplus^-1(t) = log(exp(t) - 1), written so that a large t does not overflow.
            self.t_raw = nn.Parameter(torch.tensor(above + math.log(-math.expm1(-above))))
        else:
            raise ValueError(f"a learnable temperature must exceed eps={eps}, got {temperature}")

    def forward(self, x: Float[Tensor, "B C H W"]) -> tuple[Tensor, ...]:
        """Return the features (B, C, H, W), the mask (B, 1, H, W) and, if set so, the weights (B, branches)."""
        statistics, product = statistics_and_product(x)
        weights = self.router(statistics)  # (B, branches, 1, 1)
        mask = gate((self.branch_logits(statistics) * weights).sum(1, keepdim=True), self.temperature, self.gate)
        y = product(mask)
        return (y, mask, weights.flatten(1)) if self.return_router_weights else (y, mask)

    def branch_logits(self, statistics: Float[Tensor, "B 2 H W"]) -> Float[Tensor, "B branches H W"]:
        """Return the logits of each branch for the channel statistics of the features."""
        return torch.cat([branch(statistics) for branch in self.branches], 1)

    def branch_maps(self, x: Float[Tensor, "B C H W"]) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        """Return the mask (B, branches, H, W) of each branch alone, the router weights (B, branches), and the names.

        >>> DynamicSpatialAttention().branch_maps(torch.zeros(1, 4, 8, 8))[2]
        ('3 x 3', '7 x 7', '7 x 7, dilation 2')
        """
        statistics = channel_statistics(x)
        masks = gate(self.branch_logits(statistics), self.temperature, self.gate)
        return masks, self.router(statistics).flatten(1), tuple(map(_name, self.branches))

    @property
    def temperature(self) -> Tensor:
        """Divisor of the logits, always positive."""
        return F.softplus(self.t_raw) + self.eps if hasattr(self, "t_raw") else self.T


def _branch(kernel: int, dilation: int) -> ConvolutionToOne:
    if kernel < 1 or dilation < 1:
        raise ValueError(f"a branch needs kernel >= 1 and dilation >= 1, got kernel {kernel}, dilation {dilation}")
    return ConvolutionToOne(kernel + 1 - kernel % 2, dilation)


def _name(branch: nn.Module) -> str:
    assert isinstance(branch, nn.Conv2d)
    (height, width), dilation = branch.kernel_size, branch.dilation[0]
    return f"{height} x {width}" + f", dilation {dilation}" * (dilation > 1)
