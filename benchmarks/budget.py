"""The test error of trainings that take equal CPU time with inputs of different sizes, and batches of different ones.

python benchmarks/budget.py mirror_mouse openfield --minutes 1.5 3 --pixels 16384 36864 110592 --page docs/results.md

The time of a step is that of the network alone, on one thread; a training then makes as many steps as the minutes hold,
so that other work of the machine changes nothing. Finished rows are kept in a CSV, and not repeated.
"""

from __future__ import annotations

import csv
import itertools
import math
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from rounds import QUIET, test_error
from softpoint.cli.command_line import CONFIGS
from softpoint.studies.markdown import hardware, update_page
from softpoint.training import keypoint_loss
from softpoint.training.step_time import random_batch, training_step

KEYS = ("data", "minutes", "pixels", "batch", "seed", "steps", "epe")


def main(arguments: Sequence[str]) -> None:
    """Train with every combination that the CSV lacks, and print the table of all."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", help="presets of softpoint train")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.5, 3])
    parser.add_argument("--pixels", type=int, nargs="+", default=[16384, 25600, 36864, 50176, 110592])
    parser.add_argument("--batch", type=int, nargs="+", default=[8])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rows", type=Path, default=Path("budget.csv"), help="CSV of the finished trainings")
    parser.add_argument("--page", type=Path, help="Markdown page whose section is replaced")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    settings = (options.minutes, options.data, options.seeds, options.batch, options.pixels)
    for minutes, data, seed, batch, pixels in itertools.product(*settings):
        key = {"data": data, "minutes": f"{minutes:g}", "pixels": str(pixels), "batch": str(batch), "seed": str(seed)}
        if not any(row | key == row for row in read(options.rows)):
            steps = max(1, round(60 * minutes / step_seconds(pixels, batch, options.rows)))
            append(options.rows, {**key, "steps": str(steps), "epe": f"{train(key, steps):.3f}"})
    table = "\n".join(lines_of(read(options.rows)))
    print(table)
    if options.page:
        command = f"`python benchmarks/budget.py {' '.join(arguments)}`"
        title = "### Input size and batch by CPU time\n\nMean error in px on the test images."
        update_page(options.page, "budget", f"{title}\n\n{table}\n\n{command}, on {hardware()}.")


def step_seconds(pixels: int, batch: int, rows: Path) -> float:
    """Return the CPU time of a training step of the default network: that of an earlier row, or the least of six."""
    for row in read(rows):
        if (row["pixels"], row["batch"]) == (str(pixels), str(batch)):
            return 60 * float(row["minutes"]) / int(row["steps"])
    side = 32 * round(math.sqrt(pixels) / 32)
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("train", ["data=custom", "data.labels=none", "backbone.pretrained=false"])
    net = instantiate(cfg.model)(num_keypoints=12)
    step = training_step(net, keypoint_loss(instantiate(cfg.loss)), instantiate(cfg.optimizer)(net.parameters()))
    batch_of_images = random_batch((side, side), batch, 12)
    times = []
    for _ in range(7):
        start = time.process_time()
        step(batch_of_images)
        times.append(time.process_time() - start)
    return min(times) * pixels / side**2


def train(key: Mapping[str, str], steps: int) -> float:
    """Return the test error of a training of so many steps."""
    words = [f"data={key['data']}", f"data.pixels={key['pixels']}", f"data.batch_size={key['batch']}"]
    words += [f"seed={key['seed']}", f"trainer.max_steps={steps}", "trainer.max_epochs=-1"]
    with tempfile.TemporaryDirectory() as folder:
        return test_error(Path(folder, "run"), [*words, "data.cache=ram", "data.num_workers=0", *QUIET])


def read(path: Path) -> list[dict[str, Any]]:
    """Return the rows of finished trainings."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [*csv.DictReader(file)]


def append(path: Path, row: Mapping[str, str]) -> None:
    """Add a row, and print it."""
    is_new = not path.is_file()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, KEYS)
        if is_new:
            writer.writeheader()
        writer.writerow(row)
    print(*row.values(), flush=True)


def lines_of(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Return a Markdown table: a row for each set, time and batch, a column for each size, with the steps."""
    sizes = sorted({int(row["pixels"]) for row in rows})
    head = ["set", "CPU min", "batch", *(f"{math.isqrt(size)}²" for size in sizes)]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * 3}{'---:|' * len(sizes)}"]
    for group in dict.fromkeys((row["data"], row["minutes"], row["batch"]) for row in rows):
        cells = []
        for size in sizes:
            same = [r for r in rows if (r["data"], r["minutes"], r["batch"], r["pixels"]) == (*group, str(size))]
            errors = [float(row["epe"]) for row in same]
            cells.append(f"{mean(errors):.2f} ({same[0]['steps']} steps)" if same else "")
        lines.append(f"| {' | '.join([*group, *cells])} |")
    return lines


if __name__ == "__main__":
    main(sys.argv[1:])
