"""What variants cost beside each other: times of training steps and of predictions on the CPU, taken in turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from softpoint.cli.benchmark import rates_in_turns
from softpoint.inference import Checkpoint, read_checkpoint
from softpoint.studies.runs import Outcome, Trial
from softpoint.training import KeypointLoss, Target


def measured_costs(outcomes: Sequence[Outcome], rounds: int, calls: int) -> dict[str, dict[str, float]]:
    """For each variant that was trained: "step" and "inference" times as multiples of the first's, "parameters".

    A step is forward, loss, backward and optimizer on one batch of the training's size, inference is one image;
    both in medians of `rounds`. Nothing where the first variant was not trained.
    """
    first: dict[str, Trial] = {}
    for outcome in outcomes:
        if not outcome.failed:
            first.setdefault(outcome.trial.variant, outcome.trial)
    if not first or outcomes[0].trial.variant not in first:
        return {}
    found = {variant: read_checkpoint(measured_checkpoint(trial)) for variant, trial in first.items()}
    costs = {name: {"parameters": float(sum(p.numel() for p in c.net.parameters()))} for name, c in found.items()}
    kinds: dict[str, Callable[[Checkpoint], Callable[[int], Any]]] = {"inference": prediction, "step": training_step}
    for kind, work in kinds.items():
        rates = rates_in_turns({name: work(checkpoint) for name, checkpoint in found.items()}, rounds, calls)
        base = next(iter(rates.values()))
        for name, values in rates.items():
            costs[name][kind] = median(one / value for value, one in zip(values, base, strict=True))
    return costs


def measured_checkpoint(trial: Trial) -> Any:
    """The weights that were evaluated."""
    return trial.evaluation / "model.ckpt" if trial.head else trial.checkpoint


def prediction(checkpoint: Checkpoint) -> Callable[[int], Any]:
    """One image through the network."""
    net, image = checkpoint.net.eval(), random_images(checkpoint, 1)

    def predict(_: int) -> None:
        with torch.inference_mode():
            net(image)

    return predict


def training_step(checkpoint: Checkpoint) -> Callable[[int], Any]:
    """One step as training makes it, on the CPU."""
    cfg: Mapping[str, Any] = OmegaConf.create(checkpoint.config)  # type: ignore[assignment]
    net = checkpoint.net.train().to(memory_format=torch.channels_last)
    loss, optimizer = KeypointLoss(instantiate(cfg["loss"])), instantiate(cfg["optimizer"])(net.parameters())
    image = random_images(checkpoint, cfg["data"].batch_size)
    rng = np.random.default_rng(0)
    places = rng.uniform(0, np.array(checkpoint.size[::-1]) - 1, (len(image), len(checkpoint.skeleton), 2))
    points = torch.from_numpy(places).float()
    target = Target.of(points, torch.full(points.shape[:2], 2), checkpoint.size, net.decoder.stride)

    def step(_: int) -> None:
        optimizer.zero_grad()
        loss(net(image), target)["loss"].backward()
        optimizer.step()

    return step


def random_images(checkpoint: Checkpoint, count: int) -> torch.Tensor:
    """Random pixels of the network's size."""
    image = torch.randint(0, 256, (count, 3, *checkpoint.size), dtype=torch.uint8)
    return image.to(memory_format=torch.channels_last)
