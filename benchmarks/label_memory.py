"""Memory of the labels of a training, for images with one subject of 17 keypoints each, in a COCO file.

python benchmarks/label_memory.py 100000 300000 1000000
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import multiprocessing
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image
from rich.table import Table

from memory import memory_mib, tree_bytes
from report import print_machine, print_wide
from softpoint.cli.inspect import quiet
from softpoint.data import LabeledData, Loader
from softpoint.labels.source import LabelSource
from softpoint.labels.split import Split

KEYPOINTS, SIDE = 17, 16
LINKS = 30_000  # to one file, of which file systems allow some 65,000


def main(arguments: Sequence[str]) -> None:
    """Print a row for each number of images, measured in a new process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=int, nargs="*", default=[100_000, 300_000, 1_000_000])
    print_machine()
    table = Table("images", "kept, MiB", "GiB per million", "peak, GiB", "pickled for a worker, MiB", "CPU s")
    for count in parser.parse_args(arguments).images:
        with tempfile.TemporaryDirectory() as name, multiprocessing.get_context("spawn").Pool(1) as pool:
            write_set(Path(name) / "set", count)
            write_set(Path(name) / "small", 100)
            kept, peak, pickled, seconds = pool.apply(measured, (Path(name),))
        sizes = f"{kept / 2**20:.0f}", f"{kept / count * 1e6 / 2**30:.2f}", f"{peak / 2**10:.2f}"
        table.add_row(f"{count:,}", *sizes, f"{pickled / 2**20:.0f}", f"{seconds:.1f}")
    print_wide(table)


def measured(folder: Path) -> tuple[int, float, int, float]:
    """Return the bytes that a data module keeps, the peak in MiB, the bytes of its pickled samples, and CPU s."""
    with quiet():
        opened(folder / "small").dataset("train")[0]  # libraries and their caches
        before, start = own_bytes(), time.process_time()
        data = opened(folder / "set")
    seconds, peak = time.process_time() - start, memory_mib("VmHWM")
    return own_bytes() - before, peak, len(pickle.dumps(data.dataset("train"))), seconds


def opened(folder: Path) -> LabeledData:
    """Return a data module with its labels read, its images scanned, and its splits drawn."""
    source = LabelSource(folder / "labels.json", cache_dir=folder / "cache")
    data = LabeledData(source, Split(group="none"), Loader(16), seed=0, size=32)
    data.setup("fit")
    return data


def own_bytes() -> int:
    """Return the memory of this process, without what it has freed."""
    gc.collect()
    with suppress(AttributeError):  # of glibc alone
        ctypes.CDLL(None).malloc_trim(0)
    return tree_bytes(os.getpid())


def write_set(folder: Path, count: int) -> None:
    """Write a COCO file of so many images, and these as links to a few small ones."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = [f"images/{i:012d}.png" for i in range(count)]
    for i, name in enumerate(names):
        if i % LINKS == 0:
            Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(first := folder / name)
        else:
            (folder / name).hardlink_to(first)
    images = ({"id": i, "file_name": name, "height": SIDE, "width": SIDE} for i, name in enumerate(names))
    category = {"id": 1, "name": "animal", "keypoints": [f"part{k}" for k in range(KEYPOINTS)]}
    with (folder / "labels.json").open("w", encoding="utf-8") as file:
        file.write(f'{{"categories": [{json.dumps(category)}], "images": [\n')
        file.write(",\n".join(map(json.dumps, images)) + '], "annotations": [\n')
        file.write(",\n".join(json.dumps(annotation(i, rng)) for i in range(count)) + "]}")


def annotation(number: int, rng: np.random.Generator) -> dict[str, object]:
    """Return a subject with all of its points."""
    points = np.column_stack([rng.integers(1, SIDE - 1, (KEYPOINTS, 2)), np.full(KEYPOINTS, 2)]).ravel().tolist()
    start = {"id": 10**6 + number, "image_id": number, "category_id": 1, "iscrowd": 0, "num_keypoints": KEYPOINTS}
    return start | {"keypoints": points, "bbox": [0.5, 0.5, 14.25, 14.25], "area": 100 + number / 8}


if __name__ == "__main__":
    main(sys.argv[1:])
