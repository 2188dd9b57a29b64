"""The interface of a backbone, and the check of its stages."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Backbone(Protocol):
    """A module from an image (B, 3, H, W) to features, finest first, with a description of them."""

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
