"""Times of work that is done in turns, and the training step that costs and benchmarks time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import torch
from torch import nn

from softpoint.training import KeypointLoss, Target

Work = Callable[[int], Any]


def rates_in_turns(work: Mapping[str, Work], rounds: int, calls: int) -> dict[str, list[float]]:
    """Return calls per second of each in `rounds`, one after the other so that a slow spell meets them all."""
    rates: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(rounds + 1):
        for name, call in work.items():
            start = time.perf_counter()
            for i in range(calls):
                call(turn * calls + i)
            if turn:  # the first round warms up
                rates[name].append(calls / (time.perf_counter() - start))
    return rates


def relative_times(work: Mapping[str, Work], rounds: int, calls: int) -> dict[str, float]:
    """Return the median time of each as a multiple of that of the first, compared within each round."""
    rates = rates_in_turns(work, rounds, calls)
    first = next(iter(rates.values()))
    return {name: median(one / rate for one, rate in zip(first, values, strict=True)) for name, values in rates.items()}


def training_step(
    net: nn.Module, loss: KeypointLoss, optimizer: torch.optim.Optimizer
) -> Callable[[Mapping[str, Any]], None]:
    """Return a step as training makes it, on a batch: forward, loss, backward, optimizer."""
    net = net.train().to(memory_format=torch.channels_last)
    stride: Any = net.get_submodule("decoder").stride

    def step(batch: Mapping[str, Any]) -> None:
        image = batch["image"]
        target = Target.of(batch["keypoints"], batch["visibility"], (image.shape[-2], image.shape[-1]), stride)
        optimizer.zero_grad()
        loss(net(image), target)["loss"].backward()
        optimizer.step()

    return step


def random_batch(size: tuple[int, int], batch_size: int, num_keypoints: int) -> dict[str, torch.Tensor]:
    """Return random images (B, 3, H, W) uint8 of `size` (H, W) with visible keypoints anywhere in them."""
    image = torch.randint(0, 256, (batch_size, 3, *size), dtype=torch.uint8)
    keypoints = torch.rand(batch_size, num_keypoints, 2) * (torch.tensor(size[::-1]) - 1)
    visibility = torch.full((batch_size, num_keypoints), 2)
    image = image.to(memory_format=torch.channels_last)
    return {"image": image, "keypoints": keypoints, "visibility": visibility}
