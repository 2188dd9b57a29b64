"""CPU time of a training step and of a prediction that keep freed memory, and that return it to the system.

python benchmarks/freed_memory.py --size 224 --rounds 5
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from hydra.utils import instantiate

from report import composed, print_machine
from softpoint.memory import keep_freed_memory
from softpoint.tables import markdown_table
from softpoint.training import keypoint_loss
from softpoint.training.step_time import random_batch, training_step

# Of an allocator that the user has set, even to nothing, softpoint changes nothing.
RETURNS = {"GLIBC_TUNABLES": ""}
NUM_KEYPOINTS, BATCH = 10, 8
KINDS = ("training step", "prediction")


def main(arguments: Sequence[str]) -> None:
    """Print the medians of processes that take turns, and the ratio of each pair."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of the network")
    parser.add_argument("--size", type=int, default=224, help="pixels of a side of the input")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of processes")
    parser.add_argument("--measure", action="store_true", help="print the times of this process alone")
    options = parser.parse_intermixed_args(arguments)
    if options.measure:
        print(*times(options.size, options.overrides))
        return
    print_machine()
    command = [sys.executable, __file__, "--measure", "--size", str(options.size), *options.overrides]
    pairs = [[measured(command, env) for env in ({}, RETURNS)] for _ in range(options.rounds)]
    rows = []
    for i, kind in enumerate(KINDS):
        kept, returned = ([pair[j][i] for pair in pairs] for j in range(2))
        ratios = [a / b for a, b in zip(kept, returned, strict=True)]
        spread = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        rows.append([kind, f"{median(kept):.3f} s", f"{median(returned):.3f} s", spread])
    print(markdown_table([f"{BATCH} images of {options.size}x{options.size}", "kept", "returned", "ratio"], rows))


def measured(command: Sequence[str], env: dict[str, str]) -> list[float]:
    """Return the times that a process prints."""
    result = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=True)
    return [float(word) for word in result.stdout.splitlines()[-1].split()]


def times(size: int, overrides: Sequence[str]) -> list[float]:
    """Return the CPU seconds of each kind of work, in one thread."""
    torch.set_num_threads(1)
    keep_freed_memory()
    cfg = composed("backbone=efficientnet_lite0", "backbone.pretrained=false", *overrides)
    net = instantiate(cfg.model)(num_keypoints=NUM_KEYPOINTS)
    step = training_step(net, keypoint_loss(instantiate(cfg.loss)), instantiate(cfg.optimizer)(net.parameters()))
    batch = random_batch((size, size), BATCH, NUM_KEYPOINTS)
    return [cpu_seconds(lambda: step(batch)), cpu_seconds(lambda: predict(net.eval(), batch["image"]))]


@torch.inference_mode()
def predict(net: Any, image: torch.Tensor) -> None:
    """Predict one batch."""
    net(image)


def cpu_seconds(work: Callable[[], object], calls: int = 5) -> float:
    """Return the median CPU time of a call, after two to warm up."""
    seconds = []
    for _ in range(2 + calls):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return median(seconds[2:])


if __name__ == "__main__":
    main(sys.argv[1:])
