"""CPU seconds of reading label files beside pycocotools, of splitting, and of scanning images.

python benchmarks/labels.py --megabytes 199 --rows 100000 --images 120000 --scanned 2000 --rounds 3
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.table import Table

from dataloader import draw_images
from report import parser, print_machine, print_wide, spread
from softpoint.cli.inspect import quiet
from softpoint.images import ImageFolder
from softpoint.images.scan import scan
from softpoint.labels.formats import dlc_csv, read_labels
from softpoint.labels.partition import fold_split, seeded_split
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton

KEYPOINTS = 17
ANNOTATION = 815  # bytes of a COCO file for each of its annotations


def main(arguments: Sequence[str]) -> None:
    """Print a table of the work, the slowest and fastest round of each, and its time relative to the first."""
    arguments_of = parser(__doc__)
    arguments_of.set_defaults(rounds=3)
    arguments_of.add_argument("--megabytes", type=float, default=199, help="of the COCO file")
    arguments_of.add_argument("--rows", type=int, default=100_000, help="of the CSV of DeepLabCut")
    arguments_of.add_argument("--images", type=int, default=120_000, help="that are split")
    arguments_of.add_argument("--scanned", type=int, default=2_000, help="images of 640 x 480 that are scanned")
    options = arguments_of.parse_intermixed_args(arguments)
    print_machine()
    table = Table("work", "by", "CPU s", "fastest to slowest", "time, first = 1", title=f"{options.rounds} rounds")
    with tempfile.TemporaryDirectory() as name, quiet():
        folder = Path(name)
        coco = write_coco(folder / "coco.json", options.megabytes)
        add_rows(table, f"COCO, {coco.stat().st_size / 1e6:.0f} MB", readers(coco), options.rounds)
        rows = random_labels(options.rows)
        dlc_csv.write(rows, folder / "dlc.csv", np.zeros((options.rows, 2), int))
        add_rows(
            table,
            f"DeepLabCut, {options.rows} rows",
            {"softpoint": lambda: read_labels(folder / "dlc.csv")},
            options.rounds,
        )
        add_rows(table, f"split of {options.images}", splitters(options.images), options.rounds)
        images = [path.name for path in draw_images(folder / "drawn", ".jpg", (480, 640), options.scanned)]
        work = {"softpoint": lambda: scan(ImageFolder(folder / "drawn"), images)}
        add_rows(table, f"scan of {options.scanned}", work, options.rounds)
    print_wide(table)


def add_rows(table: Table, name: str, work: Mapping[str, Callable[[], Any]], rounds: int) -> None:
    """Add a row for each piece of `work`, timed in turns."""
    seconds: dict[str, list[float]] = {by: [] for by in work}
    for _ in range(rounds):
        for by, call in work.items():
            start = time.process_time()
            call()
            seconds[by].append(time.process_time() - start)
    first = next(iter(seconds.values()))
    for by, values in seconds.items():
        ratio = median(value / one for value, one in zip(values, first, strict=True))
        table.add_row(name, by, *spread(values, 2), f"{ratio:.2f}")
        name = ""


def readers(path: Path) -> dict[str, Callable[[], Any]]:
    """Return pycocotools and our reader on one file."""
    from pycocotools.coco import COCO

    def theirs() -> object:
        with redirect_stdout(io.StringIO()):
            return COCO(str(path))

    return {"pycocotools": theirs, "softpoint": lambda: read_labels(path)}


def splitters(count: int) -> dict[str, Callable[[], Any]]:
    """Return the seeded split and that of one of five folds of so many images."""
    labels = random_labels(count)
    return {
        "seeded": lambda: seeded_split(labels, 0, 0.1, 0.1),
        "five folds": lambda: fold_split(labels, 0, 1, 5, 0.1),
    }


def random_labels(count: int) -> Labels:
    """Return labels of so many images with points anywhere, of which some are missing."""
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 470, (count, KEYPOINTS, 2)).round(2)
    points[rng.random((count, KEYPOINTS)) < 0.05] = np.nan
    states = np.where(np.isnan(points[..., 0]), 0, 2)
    names = [f"images/{i:06d}.png" for i in range(count)]
    subjects = [Subject(name, f"row {i}", points[i], states[i]) for i, name in enumerate(names)]
    return Labels("benchmark", "", Skeleton(tuple(f"part{k}" for k in range(KEYPOINTS))), tuple(subjects))


def write_coco(path: Path, megabytes: float) -> Path:
    """Write a file like COCO's person_keypoints_train2017.json, of about this size, and return its path."""
    rng, subjects = np.random.default_rng(0), max(1, round(megabytes * 1e6 / ANNOTATION))
    images = max(1, int(subjects / 2.2))
    content = {
        "images": [coco_image(i) for i in range(1, images + 1)],
        "annotations": [coco_annotation(i, int(rng.integers(1, images + 1)), rng) for i in range(1, subjects + 1)],
        "categories": [{"id": 1, "name": "person", "keypoints": [f"part{k}" for k in range(KEYPOINTS)]}],
    }
    path.write_text(json.dumps(content))
    return path


def coco_image(number: int) -> dict[str, Any]:
    """Return an entry of `images` with all that COCO states."""
    name = f"{number:012d}.jpg"
    urls = {"coco_url": f"http://images.cocodataset.org/train2017/{name}", "flickr_url": f"http://farm9.example/{name}"}
    facts = {"license": 3, "file_name": name, "height": 480, "width": 640, "date_captured": "2013-11-14 11:18:45"}
    return facts | urls | {"id": number}


def coco_annotation(number: int, image: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return an entry of `annotations` with an outline and a box; four of seven have points."""
    points = np.zeros((KEYPOINTS, 3), int)
    if number % 7 < 4:
        states = rng.integers(0, 3, KEYPOINTS)
        points[:] = np.column_stack([rng.integers(1, 470, (KEYPOINTS, 2)), states]) * (states > 0)[:, None]
    return {
        "segmentation": [rng.uniform(0, 470, 2 * int(rng.integers(8, 36))).round(2).tolist()],
        "num_keypoints": int((points[:, 2] > 0).sum()),
        "area": 1234.5678,
        "iscrowd": 0,
        "keypoints": points.ravel().tolist(),
        "image_id": image,
        "bbox": rng.uniform(1, 200, 4).round(2).tolist(),
        "category_id": 1,
        "id": number,
    }


if __name__ == "__main__":
    main(sys.argv[1:])
