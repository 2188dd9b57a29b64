"""Images per second and core of decoding, augmenting and collating beside other pipelines, then what training keeps.

python benchmarks/dataloader.py augment=light data.size=256 data.batch_size=8 --images FOLDER --workers 0 1 2
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from hydra.utils import instantiate
from rich.table import Table

from augmentation_baselines import augmenters, collators, decoders, labels_of, samples
from report import RatesTable, composed, parser, print_machine, print_wide, spread
from softpoint.images.decode import read_image
from softpoint.images.listing import list_images
from softpoint.labels.formats import csv_wide
from softpoint.training import keypoint_loss
from softpoint.training.step_time import training_step

NUM_KEYPOINTS = 10
# Ending, height and width of the images that are drawn where the user gives none.
KINDS = [(".jpg", 1080, 1920), (".jpg", 480, 640), (".png", 480, 640), (".png", 400, 400)]
USUAL = ("augment=light", "data.size=256", "data.batch_size=8")


def main(arguments: Sequence[str]) -> None:
    """Print a table of the stages, and one of the speed of training for each way of keeping images."""
    arguments_of = parser(__doc__)
    arguments_of.add_argument("--images", help="a folder of images; without, some are drawn")
    arguments_of.add_argument("--count", type=int, default=8, help="images of each kind")
    arguments_of.add_argument("--train", type=int, default=320, help="images to train on")
    arguments_of.add_argument("--workers", type=int, nargs="*", default=[0, 1, 2], help="loading processes; none skips")
    options = arguments_of.parse_intermixed_args(arguments)
    print_machine()
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        torch.set_num_threads(1)
        table = RatesTable(options.rounds, options.calls)
        if options.images:
            add_stages(
                table, Path(options.images).name, list_images(options.images)[: options.count], options.overrides
            )
        for suffix, height, width in KINDS if not options.images else ():
            name = f"{suffix[1:]} {width}x{height}"
            paths = draw_images(Path(folder, name), suffix, (height, width), options.count)
            add_stages(table, name, paths, options.overrides)
        table.print()
        torch.set_num_threads(threads)
        if options.workers:
            paths = draw_images(Path(folder, "train"), ".jpg", (480, 640), options.train)
            labels = write_labels(paths, (480, 640))
            speeds = Table("images kept", "workers", "% of the speed on a ready batch", "slowest to fastest")
            for cache, workers, shares in shares_of_speed(labels, options.workers, options.rounds, options.overrides):
                speeds.add_row(cache, str(workers), *spread([100 * share for share in shares], 1))
            print_wide(speeds)


def add_stages(table: RatesTable, name: str, paths: Sequence[Path], overrides: Sequence[str]) -> None:
    """Add rows for decoding, augmenting and collating the images at `paths`."""
    cfg = composed(*USUAL, *overrides)
    augment, size = instantiate(cfg.augment), cfg.data.size
    images = [read_image(path, exif="apply") for path in paths]
    images = [image for image in images if image.shape == images[0].shape]
    points = np.random.default_rng(0).uniform(0, min(images[0].shape[:2]) - 1, (NUM_KEYPOINTS, 2))
    dataset = samples(images, points, size, augment)
    batch = [dataset[i % len(images)] for i in range(cfg.data.batch_size)]
    table.measure(f"decode {name}", decoders(paths))
    table.measure(f"augment {name}", augmenters(images, points, size, augment))
    table.measure(f"collate {name}", collators(batch), len(batch))


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


def shares_of_speed(
    labels: Path, workers: Sequence[int], rounds: int, overrides: Sequence[str]
) -> Iterator[tuple[str, int, list[float]]]:
    """Yield for each way of keeping images its name, its workers, and the share of speed that is left in each round.

    All of the speed is that of training steps on one batch that is ready.
    """
    ways = [(cache, count) for cache in ("none", "ram", "disk") for count in workers]
    for cache, count in [*ways, ("device", 0)]:  # where a batch is made after its transfer, without workers
        kept = "data.device_cache=true" if cache == "device" else f"data.cache={cache}"
        own = (f"data.labels={labels}", f"data.cache_dir={labels.parent / 'cache'}", f"data.num_workers={count}")
        cfg = composed("data=custom", *own, kept, "data.group=none", "data.epoch_steps=1", *USUAL, *overrides)
        data = instantiate(cfg.datamodule)
        data.prepare_data()
        data.setup("fit")
        net = instantiate(cfg.model)(num_keypoints=NUM_KEYPOINTS)
        step = training_step(net, keypoint_loss(instantiate(cfg.loss)), instantiate(cfg.optimizer)(net.parameters()))
        loader = data.train_dataloader()
        ready, shares = data.render(next(iter(loader)), "train"), []
        for turn in range(rounds + 1):
            alone = seconds(step, (ready for _ in range(len(loader))))
            fed = seconds(step, (data.render(batch, "train") for batch in loader))
            if turn:  # the first round warms up
                shares.append(alone / fed)
        yield cache, count, shares


def seconds(step: Callable[[Any], None], batches: Iterable[Any]) -> float:
    """Return the time of a step on each batch."""
    start = time.perf_counter()
    for batch in batches:
        step(batch)
    return time.perf_counter() - start


if __name__ == "__main__":
    main(sys.argv[1:])
