"""The input size and the batch of a run that minutes end, by the speed of the machine that trains it."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, NamedTuple

import torch
from pytorch_lightning.utilities import move_data_to_device

from softpoint.data.crops import PIXELS
from softpoint.data.loaders import BATCH_SIZE
from softpoint.training.callbacks import minutes_of
from softpoint.training.finder_loss import FinderLoss
from softpoint.training.growth import growth_of
from softpoint.training.loss import KeypointLoss
from softpoint.training.step_time import random_batch, random_scenes, step_seconds, training_step

# Steps that a run of a 128 x 128 input should have before a larger one is worth its time; a larger one needs more, in
# proportion to its side. By benchmarks/budget.py and the minutes of training in docs/results.md.
STEPS = 300
# Share of a run that its steps take; validations and figures take the rest.
_SHARE = 0.9
_MEASURED = (128, 224)  # sides of the inputs that are timed
# Numbers of pixels to choose from, in ascending order.
_PIXELS = (*(side**2 for side in range(128, 332, 16)), PIXELS)
# By about this factor they rise where the input of a run grows.
_RISE = 1.8


class Speed(NamedTuple):
    """Seconds of a training step at two numbers of pixels, and of loading one image in all processes together.

    >>> speed = Speed((10_000, 20_000), (0.25, 0.5), loading=0.0, overlaps=True)
    >>> speed.step(40_000, 8), speed._replace(loading=0.25).step(40_000, 8)
    (1.0, 2.0)
    """

    pixels: tuple[int, int]
    seconds: tuple[float, float]  # of a batch of BATCH_SIZE
    loading: float
    overlaps: bool  # loading processes work while the network does

    def step(self, pixels: float, batch: int) -> float:
        """Return the seconds of a step with so many pixels of each image."""
        slope = max(0.0, (self.seconds[1] - self.seconds[0]) / (self.pixels[1] - self.pixels[0]))
        network = max(self.seconds[0] + slope * (pixels - self.pixels[0]), 1e-9) * batch / BATCH_SIZE
        loading = self.loading * batch
        return max(network, loading) if self.overlaps else network + loading


class Choice(NamedTuple):
    """What a run of so many minutes trains with; `steps` is what they will about hold."""

    minutes: float
    pixels: int
    batch_size: int
    speed: Speed

    @property
    def steps(self) -> int:
        """Number of steps that the minutes about hold."""
        return int(60 * _SHARE * self.minutes / self.speed.step(self.pixels, self.batch_size))

    @property
    def facts(self) -> dict[str, Any]:
        """The choice and the speed that decided it, as plain values."""
        return {**self._asdict(), "speed": self.speed._asdict(), "steps": self.steps}

    def line(self, sizes: Sequence[tuple[int, int]]) -> str:
        """Return the choice for an input that may grow through `sizes` (H, W) in one line, with its reason."""
        (height, width), *larger = sizes
        sides = (f"{math.isqrt(number)}x{math.isqrt(number)}" for number in self.speed.pixels)
        first, second = (f"{s:.2g} s at {side}" for side, s in zip(sides, self.speed.seconds, strict=True))
        more = ", growing up to {}x{} as points are found".format(*larger[-1]) if larger else ""
        return (
            f"{self.minutes:g} minutes: {self.batch_size} images of {height}x{width} a step{more}, about"
            f" {self.steps:,} steps{' of the first' * bool(larger)} (measured: {first}, {second}); data.size= and"
            " data.batch_size= set others"
        )


def needed_steps(pixels: float) -> float:
    """Return the steps that a run of an input of so many pixels should have, to be worth its time.

    >>> needed_steps(128**2), needed_steps(256**2)
    (300.0, 600.0)
    """
    return STEPS * math.sqrt(pixels) / 128


def rising(pixels: int) -> list[int]:
    """Return the numbers of pixels that an input grows through.

    >>> rising(34_133), rising(100_000)
    ([34133, 61440, 110592], [100000])
    """
    count = max(0, round(math.log(PIXELS / pixels, _RISE)))
    return [round(pixels * (PIXELS / pixels) ** (i / max(1, count))) for i in range(count + 1)]


def choose(minutes: float, speed: Speed, pixels: int | None = None, batch_size: int | None = None) -> Choice:
    """Return the largest input that minutes leave its `needed_steps`, or the smallest; what is given stays as it is."""
    batch = batch_size or BATCH_SIZE
    choices = [Choice(minutes, number, batch, speed) for number in ([pixels] if pixels else _PIXELS)]
    enough = [choice for choice in choices if choice.steps >= needed_steps(choice.pixels)]
    return (enough or choices[:1])[-1]


def fit_to_minutes(
    data: Any,
    make_net: Callable[..., Any],
    loss: KeypointLoss,
    optimizer: Callable[..., Any],
    trainer: Any,
    finder_loss: FinderLoss | None = None,
) -> Choice | None:
    """Choose what the settings of `data` leave open to a run of minutes, and return the choice; None for nothing.

    `finder_loss` is of a network that finds subjects in whole images of `data`, which take their time too. Several
    processes keep the usual values: they would measure different speeds.
    """
    minutes = minutes_of(trainer)
    if minutes is None or trainer.world_size > 1 or not data.undecided:
        return None
    speed = measure(data, make_net, loss, optimizer, trainer, finder_loss)
    sized, batched = "pixels" not in data.undecided, "batch_size" not in data.undecided
    shown = math.prod(data.size) if sized else None
    choice = choose(minutes, speed, shown, data.batch_size if batched else None)
    data.batch_size = choice.batch_size
    if not sized:
        data.decide_pixels(rising(choice.pixels) if growth_of(trainer) else [choice.pixels])
    # Images that are smaller than the choice are not enlarged.
    return choice._replace(pixels=math.prod(data.size))


def measure(
    data: Any,
    make_net: Callable[..., Any],
    loss: KeypointLoss,
    optimizer: Callable[..., Any],
    trainer: Any,
    finder_loss: FinderLoss | None = None,
) -> Speed:
    """Return the speed of copies of the network and the loss on the device of the trainer; no random state changes."""
    device, count = trainer.strategy.root_device, len(data.skeleton)
    with torch.random.fork_rng(), trainer.precision_plugin.forward_context():
        net = copy.deepcopy(make_net)(num_keypoints=count).to(device)
        step = training_step(net, copy.deepcopy(loss).to(device), optimizer(net.parameters()), finder_loss)
        whole = random_scenes(data.finding_size, BATCH_SIZE, data.channels) if data.finding_size else None
        seconds = []
        for side in _MEASURED:
            batch: dict[str, Any] = {**random_batch((side, side), BATCH_SIZE, count, data.channels)}
            batch |= {"scene": whole} if whole else {}
            seconds.append(step_seconds(step, move_data_to_device(batch, device)))
    workers = data.loader.workers
    pixels = (_MEASURED[0] ** 2, _MEASURED[1] ** 2)
    return Speed(pixels, (seconds[0], seconds[1]), loading_seconds(data) / max(1, workers), workers > 0)


def loading_seconds(data: Any) -> float:
    """Return the median time of making a training sample."""
    samples, times = data.dataset("train"), []
    for index in data.typical_indices(5):
        start = time.perf_counter()
        samples[index]
        times.append(time.perf_counter() - start)
    return median(times)
