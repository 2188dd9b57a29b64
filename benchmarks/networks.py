"""Painting of scenes, and training steps of a network with each attention, by the side of the input."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from hydra.utils import instantiate

from measure import Call, Options, Row, counted, measure
from report import composed
from softpoint.training import keypoint_loss
from softpoint.training.compiled import compile_regions
from softpoint.training.recomputed import recompute_features
from softpoint.training.step_time import random_batch, training_step

NUM_KEYPOINTS = 10
SIDES = {"quick": (128, 256), "full": (96, 128, 192, 256, 384)}


def rows(options: Options, sides: tuple[int, ...] | None = None) -> list[Row]:
    """Return the rows of the scenes, and of a step with each attention."""
    sides = sides or SIDES[options.sizes]
    painters = {name: instantiate(composed(f"scene={name}", *options.overrides).scene) for name in ("shapes", "figure")}
    found: list[Row] = []
    for side in sides:
        scenes = {name: counted(partial(paint, painter, side)) for name, painter in painters.items()}
        found += measure("paint a scene", f"{side}x{side}", side, scenes, options, 1)
    for side in sides:
        steps, size = {}, 1
        for name in ("baseline", "cbam_spatial", "dsa"):
            cfg = composed(f"model={name}", *options.overrides)
            size, steps[name] = cfg.data.batch_size, training(cfg, side, options.device)
        found += measure(f"training step, batch of {size}", f"{side}x{side}", side, steps, options, size)
    return found


def paint(painter: Any, side: int, i: int) -> None:
    """Draw one scene."""
    painter.draw(np.random.default_rng(i), (side, side))


def training(cfg: Any, side: int, device: str) -> Call:
    """Return a step of the network of a composed config on a batch that is ready."""
    net = instantiate(cfg.model)(num_keypoints=NUM_KEYPOINTS).to(device)
    if cfg.recompute:
        recompute_features(net)
    if cfg.compile:
        compile_regions(net, cfg.compile)
    loss = keypoint_loss(instantiate(cfg.loss)).to(device)
    step = training_step(net, loss, instantiate(cfg.optimizer)(net.parameters()))
    batch = random_batch((side, side), cfg.data.batch_size, NUM_KEYPOINTS)
    return partial(step, {key: value.to(device) for key, value in batch.items()})
