"""Decoding, augmenting and collating beside other pipelines, then what training keeps of its speed on a ready batch."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from hydra.utils import instantiate

from augmentation_baselines import augmenters, collators, decoders, labels_of, samples
from measure import Options, Row, counted, measure
from report import composed
from softpoint.images.decode import read_image
from softpoint.images.listing import list_images
from softpoint.labels.formats import csv_wide
from softpoint.training import keypoint_loss
from softpoint.training.step_time import training_step

NUM_KEYPOINTS = 10
# Ending, height and width of the images that are drawn where the user gives none.
KINDS = [(".jpg", 1080, 1920), (".jpg", 480, 640), (".png", 480, 640), (".png", 400, 400)]
FED = ("a ready batch", "batches of the loader")
USUAL = ("augment=light", "data.size=256", "data.batch_size=8")


def rows(options: Options, count: int = 8, trained: int | None = None) -> list[Row]:
    """Return the rows of each stage on `count` images of a kind, and of training for each way of keeping images.

    data.images=FOLDER measures the stages on images of the user, and nothing else.
    """
    given = [word.partition("=")[2] for word in options.overrides if word.startswith("data.images=")]
    if given:
        return stages("own images", list_images(given[-1])[:count], options)
    found: list[list[Row]] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for suffix, height, width in KINDS:
            paths = draw_images(Path(folder, f"{width}{suffix}"), suffix, (height, width), count)
            found.append(stages(suffix[1:].upper(), paths, options))
        number, workers = {"quick": (160, (0, 1)), "full": (320, (0, 1, 2))}[options.sizes]
        paths = draw_images(Path(folder, "train"), ".jpg", (480, 640), trained or number)
        kept = [*shares_of_speed(write_labels(paths, (480, 640)), workers, options)]
    return [*sorted(chain(*found), key=lambda row: row.work), *kept]


def stages(name: str, paths: Sequence[Path], options: Options) -> list[Row]:
    """Return rows of decoding, augmenting and collating the images at `paths`."""
    cfg = composed(*USUAL, *(word for word in options.overrides if not word.startswith("data.images=")))
    augment, size = instantiate(cfg.augment), cfg.data.size
    images = [read_image(path, exif="apply") for path in paths]
    images = [image for image in images if image.shape == images[0].shape]
    height, width = images[0].shape[:2]
    points = np.random.default_rng(0).uniform(0, min(height, width) - 1, (NUM_KEYPOINTS, 2))
    dataset = samples(images, points, size, augment)
    batch = [dataset[i % len(images)] for i in range(cfg.data.batch_size)]
    works = {"decode": decoders(paths), "augment": augmenters(images, points, size, augment),
             "collate": collators(batch)}  # fmt: skip
    found: list[Row] = []
    for work, by in works.items():
        calls = {name: counted(one) for name, one in by.items()}
        items = len(batch) if work == "collate" else 1
        found += measure(f"{work} {name}", f"{width}x{height}", width * height, calls, options, items)
    return found


def draw_images(folder: Path, suffix: str, size: tuple[int, int], count: int) -> list[Path]:
    """Write `count` images of `size` (height, width) that compress about as photographs do, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, paths = np.random.default_rng(0), []
    for i in range(count):
        coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        smooth = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
        image = smooth + rng.normal(0, 4, smooth.shape)
        paths.append(folder / f"{i:04d}{suffix}")
        cv2.imwrite(str(paths[-1]), image.clip(0, 255).astype(np.uint8))
    return paths


def write_labels(paths: Sequence[Path], size: tuple[int, int]) -> Path:
    """Write a label file for these images of `size` (height, width), with points anywhere, and return its path."""
    path, rng = paths[0].parent / "labels.csv", np.random.default_rng(1)
    points = rng.uniform(0, np.array(size[::-1]) - 1, (len(paths), NUM_KEYPOINTS, 2)).round(1)
    csv_wide.write(labels_of([image.name for image in paths], points), path, np.tile(size, (len(paths), 1)))
    return path


def shares_of_speed(labels: Path, workers: Sequence[int], options: Options) -> Iterator[Row]:
    """Yield rows of a training step on a batch that is ready, and on those of each way of keeping images."""
    ways = [(cache, count) for cache in ("none", "ram", "disk") for count in workers]
    for cache, count in [*ways, ("device", 0)]:  # where a batch is made after its transfer, without workers
        kept = "data.device_cache=true" if cache == "device" else f"data.cache={cache}"
        own = (f"data.labels={labels}", f"data.cache_dir={labels.parent / 'cache'}", f"data.num_workers={count}")
        cfg = composed("data=custom", *own, kept, "data.group=none", "data.epoch_steps=1", *USUAL, *options.overrides)
        data = instantiate(cfg.datamodule)
        data.prepare_data()
        data.setup("fit")
        net = instantiate(cfg.model)(num_keypoints=NUM_KEYPOINTS)
        step = training_step(net, keypoint_loss(instantiate(cfg.loss)), instantiate(cfg.optimizer)(net.parameters()))
        loader = data.train_dataloader()
        ready, size = data.render(next(iter(loader)), "train"), f"{kept}, workers: {count}"
        found = [Row("training", size, count, by, [], [], cfg.data.batch_size, by_wall=True) for by in FED]
        for turn in range(options.rounds + 1):
            times = (
                seconds(step, (ready for _ in range(len(loader)))),
                seconds(step, (data.render(batch, "train") for batch in loader)),
            )
            for row, taken in zip(found, times, strict=True):
                row.wall += [taken / len(loader)] * (turn > 0)  # the first round warms up
        yield from found


def seconds(step: Callable[[Any], None], batches: Iterable[Any]) -> float:
    """Return the time of a step on each batch."""
    start = time.perf_counter()
    for batch in batches:
        step(batch)
    return time.perf_counter() - start
