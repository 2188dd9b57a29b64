"""Batch normalization of a backbone that sees two kinds of images, each with statistics of its own."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import cast

from torch import Tensor, nn

# Whether the thread that runs a network is at its second kind of images.
_SECOND: ContextVar[bool] = ContextVar("second", default=False)


class StageNorm(nn.Module):
    """A batch normalization for the images of one stage, and another for those of a second one.

    Crops and whole images have other statistics: of one normalization for both, the running averages fit neither.
    Source: Chang et al., Domain-Specific Batch Normalization, arXiv:1906.03950.

    Args:
        norm: that both start from.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.first, self.second = norm, copy.deepcopy(norm)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.second(x) if _SECOND.get() else self.first(x))


@contextmanager
def second_stage() -> Iterator[None]:
    """Let the `StageNorm` of this thread normalize the images of the second stage."""
    token = _SECOND.set(True)
    try:
        yield
    finally:
        _SECOND.reset(token)


def in_second_stage() -> bool:
    """Return whether this thread is within `second_stage`.

    >>> with second_stage():
    ...     in_second_stage()
    True
    """
    return _SECOND.get()


def separate_norms(module: nn.Module) -> None:
    """Replace each batch normalization below `module` by a `StageNorm`.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    >>> separate_norms(net)
    >>> type(net[1]).__name__, len(net.state_dict())
    ('StageNorm', 12)
    """
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, StageNorm(child))
        else:
            separate_norms(child)
