"""The time of a training step on a device, with random images."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from softpoint.training.finder_loss import FinderLoss
from softpoint.training.loss import KeypointLoss
from softpoint.training.target import Target
from softpoint.types import SceneBatch


def training_step(
    net: nn.Module, loss: KeypointLoss, optimizer: torch.optim.Optimizer, finder_loss: FinderLoss | None = None
) -> Callable[[Mapping[str, Any]], None]:
    """Return a step as training makes it, on a batch: forward, loss, backward, optimizer.

    `finder_loss` is of a network with a finder, which a batch with a `scene` trains too.
    """
    net = net.train().to(memory_format=torch.channels_last)
    stride: Any = net.get_submodule("decoder").stride

    def step(batch: Mapping[str, Any]) -> None:
        image = batch["image"]
        target = Target.of(batch["keypoints"], batch["visibility"], (image.shape[-2], image.shape[-1]), stride)
        optimizer.zero_grad()
        total = loss(net(image), target)["loss"]
        if "scene" in batch:
            total = total + _finder_total(net, finder_loss or FinderLoss(), batch["scene"])
        total.backward()
        optimizer.step()

    return step


def random_batch(size: tuple[int, int], batch_size: int, num_keypoints: int, channels: int = 3) -> dict[str, Tensor]:
    """Return random images (B, C, H, W) uint8 of `size` (H, W) with visible keypoints anywhere in them."""
    image = torch.randint(0, 256, (batch_size, channels, *size), dtype=torch.uint8)
    keypoints = torch.rand(batch_size, num_keypoints, 2) * (torch.tensor(size[::-1]) - 1)
    visibility = torch.full((batch_size, num_keypoints), 2)
    image = image.to(memory_format=torch.channels_last)
    return {"image": image, "keypoints": keypoints, "visibility": visibility}


def random_scenes(size: tuple[int, int], batch_size: int, channels: int = 3) -> SceneBatch:
    """Return random whole images (B, C, H, W) uint8 of `size` (H, W) with a subject in the middle of each."""
    image = torch.randint(0, 256, (batch_size, channels, *size), dtype=torch.uint8)
    sides = torch.tensor(size[::-1], dtype=torch.float32)
    boxes = torch.cat([sides / 4, sides * 3 / 4]).expand(batch_size, 1, 4)
    return {
        "image": image.to(memory_format=torch.channels_last),
        "anchors": (sides / 2).expand(batch_size, 1, 2),
        "boxes": boxes,
        "ignored": boxes[:, :0],
        "complete": torch.ones(batch_size, dtype=torch.bool),
    }


def step_seconds(step: Callable[[Mapping[str, Any]], None], batch: Mapping[str, Any], times: int = 3) -> float:
    """Return the median time of a step on a batch, after one to warm up."""
    seconds = []
    for _ in range(1 + times):
        start = time.perf_counter()
        step(batch)
        batch["keypoints"].sum().item()  # waits for the device
        seconds.append(time.perf_counter() - start)
    return median(seconds[1:])


def _finder_total(net: Any, loss: FinderLoss, scene: SceneBatch) -> Tensor:
    return loss.total(loss(net.find(scene["image"]), scene, net.finder.stride, loss.count(scene)))
