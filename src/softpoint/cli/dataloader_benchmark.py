"""How much of a network's speed is left when images must be decoded and augmented for it."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np

from softpoint.data.augment import Augment
from softpoint.data.datamodule import Loader
from softpoint.data.labeled import LabeledData
from softpoint.labels.load import LabelSource
from softpoint.labels.split import Split


def draw_images(folder: Path, suffix: str, size: tuple[int, int], count: int) -> list[Path]:
    """Writes `count` images of `size` (height, width) that compress about as photographs do."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, paths = np.random.default_rng(0), []
    for i in range(count):
        coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        smooth = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
        image = smooth + rng.normal(0, 4, smooth.shape)
        paths.append(folder / f"{i:04d}{suffix}")
        cv2.imwrite(str(paths[-1]), image.clip(0, 255).astype(np.uint8))
    return paths


def labeled(paths: list[Path], size: tuple[int, int], points: int) -> Path:
    """A label file for these images, with points anywhere."""
    file, rng = paths[0].parent / "labels.csv", np.random.default_rng(1)
    names = [f"point_{i}" for i in range(points)]
    with file.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["scorer", *["benchmark"] * 2 * points])
        rows.writerow(["bodyparts", *[name for name in names for _ in "xy"]])
        rows.writerow(["coords", *["x", "y"] * points])
        for path in paths:
            places = rng.uniform(0, np.array(size[::-1]) - 1, (points, 2)).round(1)
            rows.writerow([path.name, *places.ravel().tolist()])
    return file


def shares(
    train: Callable[[dict[str, Any]], None],
    labels: Path,
    augment: Augment,
    size: int,
    batch_size: int,
    rounds: int,
    workers: Sequence[int],
    keep: Path,
) -> Iterator[tuple[str, int, list[float]]]:
    """For each way of keeping images: its name, its workers, and in each round its share of the speed without them.

    `train` makes one step on a batch. Without means on one batch that is ready.
    """
    ways = [(cache, count) for cache in ("none", "ram", "disk") for count in workers]
    for cache, count in [*ways, ("device_cache", 0)]:  # which is ready without workers
        on_device = cache == "device_cache"
        data = LabeledData(
            LabelSource(labels, cache_dir=keep), Split(group="none"), Loader(batch_size, count), 0, size, epoch_steps=1,
            cache="none" if on_device else cache, device_cache=on_device, augment=augment,
        )  # fmt: skip
        data.setup("benchmark")
        loader = data.train_dataloader()
        ready = data.render(next(iter(loader)), "train")
        found = []
        for turn in range(rounds + 1):
            alone = _seconds(train, (ready for _ in range(len(loader))))
            fed = _seconds(train, (data.render(batch, "train") for batch in loader))
            if turn:  # the first round warms up
                found.append(alone / fed)
        yield cache, count, found


def _seconds(train: Callable[[dict[str, Any]], None], batches: Iterator[dict[str, Any]]) -> float:
    start = time.perf_counter()
    for batch in batches:
        train(batch)
    return time.perf_counter() - start


def training(net: Any, loss: Any, optimizer: Any) -> Callable[[dict[str, Any]], None]:
    """A step as training makes it: forward, loss, backward, optimizer."""
    from softpoint.training import Target

    def train(batch: dict[str, Any]) -> None:
        image, points = batch["image"], batch["keypoints"]
        target = Target.of(points, batch["visibility"], tuple(image.shape[-2:]), net.decoder.stride)
        optimizer.zero_grad()
        loss(net(image), target)["loss"].backward()
        optimizer.step()

    return train


def step(net: Any, image: Any) -> None:
    """One pass forward and back."""
    net(image)["logits"].logsumexp((-2, -1)).sum().backward()


def spread(values: list[float], digits: int = 0) -> tuple[str, str]:
    """The median, and the ends."""
    return f"{median(values):.{digits}f}", f"{min(values):.{digits}f} to {max(values):.{digits}f}"
