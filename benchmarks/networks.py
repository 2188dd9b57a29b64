"""Images per second of painting scenes on one core, and of training steps of the networks.

python benchmarks/networks.py backbone=resnet18 data.size=256 data.batch_size=8 --rounds 7
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from hydra.utils import instantiate

from report import RatesTable, composed, parser, print_machine
from softpoint.studies.timing import Work
from softpoint.training import keypoint_loss
from softpoint.training.step_time import random_batch, training_step

NUM_KEYPOINTS = 10


def main(arguments: Sequence[str]) -> None:
    """Print a table of the scenes, and of a training step with each attention."""
    options = parser(__doc__).parse_intermixed_args(arguments)
    print_machine()
    table = RatesTable(options.rounds, options.calls)
    scenes: dict[str, Work] = {}
    for name in ("shapes", "figure"):
        painter = instantiate(composed(f"scene={name}", *options.overrides).scene)
        for size in (128, 256):
            scenes[f"{name} {size}x{size}"] = partial(paint, painter, size)
    table.measure("paint", scenes)
    steps, size = {}, 1
    for name in ("baseline", "cbam_spatial", "dsa"):
        cfg = composed(f"model={name}", *options.overrides)
        net, size = instantiate(cfg.model)(num_keypoints=NUM_KEYPOINTS), cfg.data.batch_size
        step = training_step(net, keypoint_loss(instantiate(cfg.loss)), instantiate(cfg.optimizer)(net.parameters()))
        steps[name] = partial(train, step, random_batch((cfg.data.size, cfg.data.size), size, NUM_KEYPOINTS))
    table.measure(f"train, batch of {size}", steps, size, calls=1)
    table.print()


def paint(painter: Any, size: int, i: int) -> None:
    """Draw one scene."""
    painter.draw(np.random.default_rng(i), (size, size))


def train(step: Any, batch: Any, i: int) -> None:
    """Make one step."""
    step(batch)


if __name__ == "__main__":
    main(sys.argv[1:])
