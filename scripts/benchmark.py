"""Times what training waits for, on this machine: python scripts/benchmark.py"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from omegaconf import DictConfig

from launch import launch

Work = Callable[[int], Any]


def main(cfg: DictConfig) -> None:
    """Prints images per second: of each scene on one core, and of a training step of each network, in turns."""
    import cv2
    import torch
    from hydra.utils import instantiate
    from rich.console import Console
    from rich.table import Table

    cv2.setNumThreads(0)
    torch.manual_seed(0)
    scenes: dict[str, Work] = {}
    for name, painter in instantiate(cfg.scenes).items():
        for size in cfg.sizes:
            scenes[f"paint {name} {size}x{size}"] = partial(paint, painter, size)
    side = cfg.sizes[0]
    image = torch.randint(0, 256, (cfg.batch_size, 3, side, side), dtype=torch.uint8)
    steps: dict[str, Work] = {}
    for name, net in instantiate(cfg.nets).items():
        net = net(num_keypoints=cfg.num_keypoints).to(memory_format=torch.channels_last)
        steps[f"train {name}, batch of {cfg.batch_size}"] = partial(
            step, net, image.to(memory_format=torch.channels_last)
        )
    table = Table("what", "images/s", "slowest to fastest", "time against the first of its kind")
    for work, images, calls in ((scenes, 1, cfg.calls), (steps, cfg.batch_size, 1)):
        rates = rates_in_turns(work, cfg.rounds, calls)
        first = next(iter(rates.values()))
        for name, values in rates.items():
            ratio = median(a / b for a, b in zip(first, values, strict=True))
            ends = f"{images * min(values):.0f} to {images * max(values):.0f}"
            table.add_row(name, f"{images * median(values):.0f}", ends, f"{ratio:.2f}")
    console = Console()
    console.print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    console.print(table)


def paint(painter: Any, size: int, i: int) -> None:
    """Draws one scene."""
    painter.draw(np.random.default_rng(i), (size, size))


def step(net: Any, image: Any, i: int) -> None:
    """One pass forward and back."""
    net(image)["logits"].logsumexp((-2, -1)).sum().backward()


def rates_in_turns(work: dict[str, Work], rounds: int, calls: int) -> dict[str, list[float]]:
    """Calls per second of each, `rounds` times over, one after the other so that a slow spell meets them all."""
    rates: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(rounds + 1):
        for name, call in work.items():
            start = time.perf_counter()
            for i in range(calls):
                call(i)
            if turn:  # the first round warms up
                rates[name].append(calls / (time.perf_counter() - start))
    return rates


if __name__ == "__main__":
    launch("benchmark", main)
