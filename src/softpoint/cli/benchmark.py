"""Times what people wait for, on this machine: python scripts/benchmark.py [networks | data | exports]"""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from omegaconf import DictConfig

from softpoint.cli.hydra_app import launch
from softpoint.suggest import did_you_mean

Work = Callable[[int], Any]


def main(cfg: DictConfig) -> None:
    """Prints a table of `networks` and the scenes they see, of the making of samples (`data`), or of exported files."""
    import cv2
    import torch
    from rich.console import Console

    parts = {"networks": networks, "data": data, "exports": exports}
    if cfg.what not in parts:
        raise ValueError(f"what={cfg.what!r}: {did_you_mean(cfg.what, parts)}")
    cv2.setNumThreads(0)
    torch.manual_seed(0)
    console = Console()
    console.print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    parts[cfg.what](cfg, console)


def networks(cfg: DictConfig, console: Any) -> None:
    """Images per second: of each scene on one core, and of a training step of each network, in turns."""
    import torch
    from hydra.utils import instantiate

    scenes: dict[str, Work] = {}
    for name, painter in instantiate(cfg.scenes).items():
        for size in cfg.sizes:
            scenes[f"{name} {size}x{size}"] = partial(paint, painter, size)
    side = cfg.sizes[0]
    image = torch.randint(0, 256, (cfg.batch_size, 3, side, side), dtype=torch.uint8)
    image = image.to(memory_format=torch.channels_last)
    steps: dict[str, Work] = {}
    for name, net in instantiate(cfg.nets).items():
        net = net(num_keypoints=cfg.num_keypoints).to(memory_format=torch.channels_last)
        steps[name] = partial(train, net, image)
    table = rates_table()
    add_rates(table, "paint", scenes, 1, cfg.rounds, cfg.calls)
    add_rates(table, f"train, batch of {cfg.batch_size}", steps, cfg.batch_size, cfg.rounds, 1)
    console.print(table)


def data(cfg: DictConfig, console: Any) -> None:
    """Images per second and core of each stage beside other pipelines, then what training keeps of its speed."""
    import torch
    from hydra.utils import instantiate
    from rich.table import Table

    from softpoint.cli.dataloader_benchmark import draw_images, labeled, shares, spread, training
    from softpoint.training import KeypointLoss

    augment, threads = instantiate(cfg.augment), torch.get_num_threads()
    net = instantiate(cfg.nets.baseline)(num_keypoints=cfg.num_keypoints).to(memory_format=torch.channels_last)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        torch.set_num_threads(1)
        table = rates_table()
        for name, paths in images(cfg.data, Path(folder)).items():
            add_stages(table, name, paths, cfg, augment)
        console.print(table)
        torch.set_num_threads(threads)
        suffix, width, height = cfg.data.training
        paths = draw_images(Path(folder, "train"), suffix, (height, width), cfg.data.train)
        labels = labeled(paths, (height, width), cfg.num_keypoints)
        table = Table("images kept", "workers", "% of the speed on a ready tensor", "slowest to fastest")
        numbers = (cfg.data.size, cfg.data.batch_size, cfg.data.rounds, cfg.data.workers)
        step = training(net, KeypointLoss(instantiate(cfg.loss)), instantiate(cfg.optimizer)(net.parameters()))
        for cache, workers, found in shares(step, labels, augment, *numbers, Path(folder, "cache")):
            table.add_row(cache, str(workers), *spread([100 * share for share in found], 1))
        console.print(table)


def exports(cfg: DictConfig, console: Any) -> None:
    """Images per second, from bytes to keypoints, of an untrained network in torch and of each file it exports to."""
    import torch
    from hydra.utils import instantiate

    from softpoint.inference import Checkpoint, load_predictor
    from softpoint.inference.export import ComparisonImage, ExportOptions, export
    from softpoint.labels.skeleton import Skeleton
    from softpoint.runtime import load

    rng, (height, width) = np.random.default_rng(0), cfg.exports.image
    images = [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(4)]
    skeleton = Skeleton(tuple(f"keypoint{k}" for k in range(cfg.num_keypoints)))
    net = instantiate(cfg.nets.dsa)(num_keypoints=cfg.num_keypoints).eval()
    with tempfile.TemporaryDirectory() as folder:
        stored = Path(folder, "weights.pt")
        torch.save(net.state_dict(), stored)
        checkpoint = Checkpoint(net, skeleton, (cfg.exports.size[0], cfg.exports.size[1]), None, {}, stored)
        predictor = load_predictor(checkpoint)
        work: dict[str, Work] = {"torch": partial(answer, predictor, images)}
        for precision in cfg.exports.precisions:
            path = Path(folder, f"{precision}.onnx")
            export(
                checkpoint,
                predictor,
                path,
                ExportOptions(precision=precision, calibration=[ComparisonImage(one) for one in images]),
            )
            model = load(path, threads=torch.get_num_threads())
            work[f"onnxruntime, {precision}"] = partial(answer, model, images)
        table = rates_table()
        what = f"{cfg.exports.name}, {width}x{height} to {checkpoint.size[1]}x{checkpoint.size[0]}"
        add_rates(table, what, work, 1, cfg.rounds, cfg.exports.calls)
    console.print(table)


def images(cfg: DictConfig, folder: Path) -> dict[str, list[Path]]:
    """The user's images, or some of each usual kind."""
    from softpoint.cli.dataloader_benchmark import draw_images

    if cfg.images is not None:
        from softpoint.images.decode import list_images

        return {Path(cfg.images).name: list_images(cfg.images)[: cfg.count]}
    kinds = {f"{kind[1:]} {width}x{height}": (kind, (height, width)) for kind, width, height in cfg.kinds}
    return {name: draw_images(folder / name, *kind, cfg.count) for name, kind in kinds.items()}


def add_stages(table: Any, name: str, paths: list[Path], cfg: DictConfig, augment: Any) -> None:
    """Rows for decoding, augmenting and collating the images at `paths`."""
    from softpoint.cli.augmentation_baselines import augmenters, collators, decoders, samples
    from softpoint.images.decode import read_image

    images = [read_image(path, exif="apply") for path in paths]
    images = [image for image in images if image.shape == images[0].shape]
    points = np.random.default_rng(0).uniform(0, min(images[0].shape[:2]) - 1, (cfg.num_keypoints, 2))
    dataset = samples(images, points, cfg.data.size, augment)
    batch = [dataset[i % len(images)] for i in range(cfg.data.batch_size)]
    rounds, calls = cfg.data.rounds, cfg.data.calls
    add_rates(table, f"decode {name}", decoders(paths), 1, rounds, calls)
    add_rates(table, f"augment {name}", augmenters(images, points, cfg.data.size, augment), 1, rounds, calls)
    add_rates(table, f"collate {name}", collators(batch), len(batch), rounds, calls)


def rates_table() -> Any:
    """An empty table for `add_rates`."""
    from rich.table import Table

    return Table("what", "of", "images/s", "slowest to fastest", "speed, first = 1")


def add_rates(table: Any, what: str, work: dict[str, Work], images: int, rounds: int, calls: int) -> None:
    """A row for each piece of work, timed in turns; one call of it makes so many `images`."""
    from softpoint.cli.dataloader_benchmark import spread

    rates = rates_in_turns(work, rounds, calls)
    first = next(iter(rates.values()))
    for name, values in rates.items():
        ratios = [value / one for value, one in zip(values, first, strict=True)]
        table.add_row(what, name, *spread([images * value for value in values]), f"{median(ratios):.2f}")
        what = ""


def train(net: Any, image: Any, i: int) -> None:
    """One pass forward and back."""
    from softpoint.cli.dataloader_benchmark import step

    step(net, image)


def answer(model: Any, images: list[np.ndarray], i: int) -> None:
    """Predicts on one image."""
    model(images[i % len(images)])


def paint(painter: Any, size: int, i: int) -> None:
    """Draws one scene."""
    painter.draw(np.random.default_rng(i), (size, size))


def rates_in_turns(work: dict[str, Work], rounds: int, calls: int) -> dict[str, list[float]]:
    """Calls per second of each, `rounds` times over, one after the other so that a slow spell meets them all."""
    rates: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(rounds + 1):
        for name, call in work.items():
            start = time.perf_counter()
            for i in range(calls):
                call(turn * calls + i)
            if turn:  # the first round warms up
                rates[name].append(calls / (time.perf_counter() - start))
    return rates


def worded(words: list[str]) -> list[str]:
    """The command line with a leading word taken for `what`.

    >>> worded(["data", "augment=strong"])
    ['what=data', 'augment=strong']
    """
    if words and "=" not in words[0] and not words[0].startswith(("-", "~")):
        return [f"what={words[0]}", *words[1:]]
    return words


def run(words: list[str]) -> None:
    """Run the command with the arguments `words`."""
    launch("benchmark", main, worded(words))
