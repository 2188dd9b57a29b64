"""Images per second, bytes and memory of trainings on many GPUs, calculated and simulated; docs/scaling.md explains it.

python benchmarks/scaling.py
python benchmarks/scaling.py gpu_images=400 node_cores=48   other machines

What this machine can measure is measured: the time of a core to decode and augment an image, the bytes of an image, the
time and memory of a shuffle, and the bytes and writing time of a checkpoint. The rest are assumptions, printed first,
which KEY=VALUE changes.
"""

from __future__ import annotations

import io
import math
import os
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate
from rich.table import Table

from dataloader import NUM_KEYPOINTS, draw_images, write_labels
from report import composed, print_machine, print_wide
from softpoint.data.dataset import Draw
from softpoint.data.loaders import EpochSampler
from softpoint.paths import atomic_write

SIZES = (1_000_000, 100_000_000)
GPUS = (8, 32, 128, 512)
SHUFFLED = 10_000_000  # images of the shuffle that is measured
DEPTH = 8  # batches that the workers of a process hold ready


@dataclass(frozen=True)
class Cluster:
    """What is assumed of GPUs, nodes, network and object store; rates are per second."""

    gpu_images: float = 1500  # images that a GPU trains on: efficientnet_lite0, 256 x 256, mixed precision
    batch: int = 64  # images per GPU
    node_gpus: int = 8
    node_cores: int = 96
    node_network: float = 12.5e9  # bytes: 100 Gbit/s, shared by images and gradients
    node_link: float = 300e9  # bytes between the GPUs of a node
    requests: float = 5500  # range requests that one prefix of the object store answers; 0 for local disks
    store: float = 1e12  # bytes of the object store
    disk: float = 5e9  # bytes of a node's disks
    noise: float = 0.3  # standard deviation of the time of a batch's images, over its mean
    minutes: float = 10  # between checkpoints


@dataclass(frozen=True)
class Measured:
    """What was measured on this machine."""

    core_images: float  # decoded and augmented per second of a core
    image_bytes: float
    checkpoint_bytes: float
    write: float  # bytes of a checkpoint per second, to the disk
    gradient_bytes: float
    shuffle_seconds: float  # per image of the set
    shuffle_bytes: float  # per image of the set


def main(arguments: Sequence[str]) -> None:
    """Print what is assumed and measured, the simulated trainings, and where each resource is exhausted."""
    if "-h" in arguments or "--help" in arguments:
        print(__doc__)
        return
    print_machine()
    cluster = parse(arguments)
    print("assumed: " + ", ".join(f"{field.name}={getattr(cluster, field.name):g}" for field in fields(cluster)))
    measured = measure()
    print("measured: " + ", ".join(f"{field.name}={getattr(measured, field.name):.4g}" for field in fields(measured)))
    for place, used in (("an object store", cluster), ("disks of the nodes", replace(cluster, requests=0))):
        print_wide(trainings(f"images on {place}", used, measured))
        print_wide(breaks(used, measured))


def trainings(title: str, cluster: Cluster, measured: Measured) -> Table:
    """Return the simulated trainings of all sizes."""
    columns = ("images", "GPUs", "images/s", "GPUs busy", "limited by", "epoch", "read per epoch", "shuffle per node",
               "cores used per node", "checkpoints")  # fmt: skip
    table = Table(*columns, title=title)
    for images in SIZES:
        for gpus in GPUS:
            table.add_row(*row(images, gpus, cluster, measured))
    return table


def parse(words: Sequence[str]) -> Cluster:
    """Return the cluster of KEY=VALUE words; ValueError for an unknown key.

    >>> parse(["gpu_images=400", "batch=8"]).batch
    8
    """
    names = {field.name: type(getattr(Cluster(), field.name)) for field in fields(Cluster)}
    values = dict(word.partition("=")[::2] for word in words)
    if unknown := sorted(values.keys() - names.keys()):
        raise ValueError(f"unknown {', '.join(unknown)}; choose from {', '.join(names)}")
    return replace(Cluster(), **{key: names[key](value) for key, value in values.items()})


def measure() -> Measured:
    """Measure samples of 640 x 480 JPEGs, a shuffle, and a checkpoint of efficientnet_lite0 with Adam and averages."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as temporary:
        torch.set_num_threads(1)
        paths = draw_images(Path(temporary, "images"), ".jpg", (480, 640), 48)
        labels = write_labels(paths, (480, 640))
        words = ("data=custom", f"data.labels={labels}", "data.group=none", "augment=light", "data.size=256")
        data = instantiate(composed(*words, "data.num_workers=0").datamodule)
        data.setup("fit")
        dataset, start = data.dataset("train"), time.process_time()
        for epoch in range(6):
            for index in range(len(dataset)):
                dataset[Draw(epoch, index)]
        core_images = 6 * len(dataset) / (time.process_time() - start)
        net = instantiate(
            composed("backbone=efficientnet_lite0", "backbone.weights=null", "backbone.pretrained=false").model
        )
        weights = [parameter.detach() for parameter in net(num_keypoints=NUM_KEYPOINTS).parameters()]
        size, write = checkpoint(weights, Path(temporary, "a.ckpt"))
        image_bytes = sum(path.stat().st_size for path in paths) / len(paths)
    seconds, shuffle = shuffled()
    gradient = sum(tensor.numel() * tensor.element_size() for tensor in weights)
    return Measured(core_images, image_bytes, size, write, gradient, seconds, shuffle)


def checkpoint(weights: Sequence[torch.Tensor], path: Path) -> tuple[float, float]:
    """Return the bytes of a checkpoint with the average and Adam's moments of weights, and those written per second."""
    stored = {str(copy): [tensor.clone() for tensor in weights] for copy in range(4)}
    torch.save(stored, buffer := io.BytesIO())
    times = []
    for _ in range(3):
        start = time.perf_counter()
        with atomic_write(path) as beside:
            torch.save(stored, beside)
        times.append(time.perf_counter() - start)
    return buffer.tell(), buffer.tell() / min(times)


def shuffled() -> tuple[float, float]:
    """Return the seconds and the largest memory of a shuffle, per image of the set."""
    tracemalloc.start()
    start = time.process_time()
    EpochSampler(SHUFFLED, seed=0, world=8).order()
    seconds = time.process_time() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return seconds / SHUFFLED, peak / SHUFFLED


def rates(gpus: int, cluster: Cluster, measured: Measured) -> dict[str, float]:
    """Return the images per second that each resource can give to one GPU."""
    nodes = max(1.0, gpus / cluster.node_gpus)
    per_node = gpus / nodes
    limits = {
        "GPU": cluster.gpu_images,
        "cores": (cluster.node_cores / per_node - 1) * measured.core_images,
        "network": cluster.node_network / per_node / measured.image_bytes,
        "store bytes": cluster.store / gpus / measured.image_bytes,
        "requests": cluster.requests / gpus,
        "disk": cluster.disk / per_node / measured.image_bytes,
    }
    unused = ("disk",) if cluster.requests else ("network", "store bytes", "requests")
    return {name: rate for name, rate in limits.items() if name not in unused}


def simulate(gpus: int, cluster: Cluster, measured: Measured, steps: int = 300) -> tuple[float, float]:
    """Return the images per second of a training, and the share of time that its GPUs compute.

    Each process makes batches at the rate of its scarcest resource with random times, holds DEPTH of them ready, and
    computes; a step ends for all when the slowest has computed and the gradients are summed, of which half of the time
    is hidden behind the backward pass.
    """
    limits = rates(gpus, cluster, measured)
    mean = cluster.batch / min(rate for name, rate in limits.items() if name != "GPU")
    compute, draw = cluster.batch / cluster.gpu_images, np.random.default_rng(0)
    shape = 1 / cluster.noise**2
    ready, ends, taken = np.zeros(gpus), 0.0, [np.zeros(gpus)] * DEPTH
    for _ in range(steps):
        ready = np.maximum(ready, taken[-DEPTH]) + draw.gamma(shape, mean / shape, gpus)
        begin = np.maximum(ready, ends)
        taken = [*taken[1:], begin]
        ends = float(begin.max()) + compute + max(0.0, reduction(gpus, cluster, measured) - compute / 2)
    return gpus * cluster.batch * steps / ends, steps * compute / ends


def reduction(gpus: int, cluster: Cluster, measured: Measured) -> float:
    """Return the seconds of summing the gradients in a ring, within nodes and then between them."""
    within = min(gpus, cluster.node_gpus)
    nodes = math.ceil(gpus / cluster.node_gpus)
    inside = 2 * (within - 1) / within * measured.gradient_bytes / cluster.node_link
    between = 2 * (nodes - 1) / nodes * measured.gradient_bytes / cluster.node_network + 20e-6 * 2 * (nodes - 1)
    return inside + between


def row(images: int, gpus: int, cluster: Cluster, measured: Measured) -> list[str]:
    """Return the cells of one training."""
    speed, busy = simulate(gpus, cluster, measured)
    limits = rates(gpus, cluster, measured)
    scarce = min(limits, key=lambda name: limits[name])
    local = min(gpus, cluster.node_gpus)
    writing = measured.checkpoint_bytes / measured.write
    return [
        f"{images / 1e6:g} M",
        str(gpus),
        f"{speed:,.0f}",
        f"{100 * busy:.0f} %",
        scarce if busy < 0.9 else "-",
        duration(images / speed),
        f"{images * measured.image_bytes / 1e12:.2f} TB",
        f"{images * measured.shuffle_bytes * local / 1e9:.1f} GB, {images * measured.shuffle_seconds:.1f} s",
        f"{speed * local / gpus / measured.core_images:.0f}",
        f"{writing:.1f} s, {100 * writing / (60 * cluster.minutes):.2f} %",
    ]


def breaks(cluster: Cluster, measured: Measured) -> Table:
    """Return the number of GPUs from which each resource keeps them waiting."""
    table = Table("resource", "enough for GPUs", title="where it breaks")
    for name in rates(1, cluster, measured):
        if name != "GPU":
            most = [gpus for gpus in range(1, 4097) if rates(gpus, cluster, measured)[name] >= cluster.gpu_images]
            table.add_row(name, "more than 4096" if most and most[-1] == 4096 else str(most[-1] if most else 0))
    return table


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it.

    >>> duration(90), duration(86400)
    ('90 s', '24.0 h')
    """
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 3600:.1f} h"


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(sys.argv[1:])
