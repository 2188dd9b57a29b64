"""The graph of a network in TensorBoard."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch import Tensor, nn


def show_graph(board: Any, net: nn.Module, size: tuple[int, int]) -> None:
    """Show the graph of a copy of a `KeypointNet` for one blank image of `size` (height, width)."""
    traced = _Points(copy.deepcopy(net).cpu().eval())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numbers that hold for this size alone
        board.add_graph(traced, torch.zeros(1, 3, *size, dtype=torch.uint8))


class _Points(nn.Module):
    """A network whose output is points and confidences alone, because a graph has no dictionaries."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        prediction = self.net(image)
        return prediction["keypoints"], prediction["confidence"]
