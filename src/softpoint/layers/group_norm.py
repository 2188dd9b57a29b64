"""Group normalization in the place of batch normalization, for batches of few images."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import chain

import torch
from torch import nn


class GroupNorm(nn.GroupNorm):
    """Normalizes each image by itself, in groups of channels, so that no image depends on the others of its batch.

    Source: Wu and He, arXiv:1803.08494.

    Args:
        channels: of the features.
        width: channels of a group; where it does not divide them, the largest number that divides both.

    >>> GroupNorm(40, width=16).num_groups
    5
    """

    def __init__(self, channels: int, width: int = 16) -> None:
        if width < 1:
            raise ValueError(f"model.norm.width={width}: give a whole number from 1 on")
        super().__init__(channels // math.gcd(channels, width), channels)


def replace_batch_norms(module: nn.Module, norm: Callable[[int], nn.Module]) -> None:
    """Put `norm` in the place of each batch normalization of a module, with its weight and bias.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8))
    >>> replace_batch_norms(net, GroupNorm)
    >>> type(net[1]), net[1].num_groups
    (<class 'softpoint.layers.group_norm.GroupNorm'>, 1)
    """
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, _replaced(child, norm))
        else:
            replace_batch_norms(child, norm)


def _replaced(old: nn.BatchNorm2d, norm: Callable[[int], nn.Module]) -> nn.Module:
    device = next(chain(old.parameters(), old.buffers())).device
    with torch.device(device), torch.no_grad():
        new = norm(old.num_features)
        for name, value in old.named_parameters(recurse=False):
            getattr(new, name).copy_(value)
    # timm's own have an activation, and may drop channels.
    after = [part for name in ("drop", "act") if (part := getattr(old, name, None)) is not None]
    return nn.Sequential(new, *after) if after else new
