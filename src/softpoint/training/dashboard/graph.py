"""The graph of a network in TensorBoard."""

from __future__ import annotations

import copy
import warnings
from operator import itemgetter
from typing import Any

import torch

from softpoint.models import KeypointNet


def show_graph(board: Any, net: KeypointNet, size: tuple[int, int]) -> None:
    """Show the graph of a copy of a `KeypointNet` for one blank image of `size` (height, width)."""
    traced: Any = copy.deepcopy(net).cpu().eval()
    forward, parts = traced.forward, itemgetter("keypoints", "confidence")
    # A graph has no dictionaries; a module around the network would hide its parts in one more box.
    traced.forward = lambda image: parts(forward(image))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numbers that hold for this size alone
        board.add_graph(traced, torch.zeros(1, net.in_channels, *size, dtype=torch.uint8))
