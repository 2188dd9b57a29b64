"""The interface of a backbone, the check of its stages, and its first convolution for other channels than RGB."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


@runtime_checkable
class Backbone(Protocol):
    """A module from an image (B, C, H, W) to features, finest first, with a description of them."""

    stages: tuple[int, ...]  # stage k has stride 2^k
    stride: tuple[int, ...]  # of each feature
    out_channels: tuple[int, ...]
    mean: tuple[float, ...]  # its input is (image - mean) / std, for an image in [0, 1]
    std: tuple[float, ...]

    def __call__(self, image: Tensor) -> list[Tensor]: ...


def check_stages(stages: Sequence[int], available: Collection[int]) -> tuple[int, ...]:
    """Return the stages as a tuple; ValueError unless they are some of those available, in ascending order."""
    if not stages or list(stages) != sorted(set(stages)) or not {*stages} <= {*available}:
        raise ValueError(f"backbone.stages must ascend within {', '.join(map(str, available))}, got {list(stages)}")
    return tuple(stages)


def run_blocks(
    blocks: Iterable[Callable[[Tensor], Tensor]], returned: Collection[int], x: Tensor, recompute: bool
) -> list[Tensor]:
    """Return the features after the blocks at `returned`; with `recompute`, only the inputs of blocks are kept.

    What is within a block, or within a sequence of single layers, is then computed again in the backward pass.
    """
    features: list[Tensor] = []
    run: list[Any] = []
    kept = [*blocks]
    for i, block in enumerate(kept):
        run.append(block)
        if i not in returned and i + 1 < len(kept) and _is_layer(block) and _is_layer(kept[i + 1]):
            continue
        together: Any = nn.Sequential(*run) if len(run) > 1 else block
        x = checkpoint(together, x, use_reentrant=False) if recompute and torch.is_grad_enabled() else together(x)
        run = []
        if i in returned:
            features.append(x)
    return features


def _is_layer(block: Any) -> bool:
    return isinstance(block, nn.Module) and not any(True for _ in block.children())


def first_convolution(backbone: nn.Module) -> tuple[str, nn.Conv2d] | None:
    """Return name and module of the convolution that sees the image; None for a backbone without one."""
    found = next(((name, part) for name, part in backbone.named_modules() if isinstance(part, nn.Conv2d)), None)
    return found if found and found[1].groups == 1 else None


def fit_channels(weight: Tensor, channels: int) -> Tensor:
    """Return the weight (D, c, h, w) of a first convolution for another number of channels.

    For one channel it is the sum over those that were, for more they are repeated and scaled: an image whose channels
    are equal gets the same response.

    >>> fit_channels(torch.tensor([1.0, 2.0, 4.0]).view(1, 3, 1, 1), 1).flatten().tolist()
    [7.0]
    >>> fit_channels(torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1), 6).flatten().tolist()
    [0.5, 1.0, 1.5, 0.5, 1.0, 1.5]
    """
    before = weight.shape[1]
    if channels == 1:
        return weight.sum(1, keepdim=True)
    return weight[:, torch.arange(channels) % before] * (before / channels)


def take_channels(backbone: nn.Module, channels: int) -> None:
    """Let the first convolution of a backbone take `channels` channels, with the weights of `fit_channels`.

    Raises ValueError for a backbone without one.
    """
    found = first_convolution(backbone)
    if found is None:
        raise ValueError(
            f"{type(backbone).__name__} has no first convolution over all channels, which data.channels={channels}"
            " would change; use another backbone, or data.channels=3"
        )
    convolution = found[1]
    if convolution.in_channels != channels:
        convolution.weight = nn.Parameter(fit_channels(convolution.weight.detach(), channels))
        convolution.in_channels = channels


def fitted_to(channels: int) -> str:
    """Return what `fit_channels` does of the weights for RGB, in words.

    >>> fitted_to(1)
    'its first convolution for 1 channel by the sum over RGB'
    """
    if channels == 1:
        return "its first convolution for 1 channel by the sum over RGB"
    return f"its first convolution for {channels} channels by repeating and scaling those of RGB"
