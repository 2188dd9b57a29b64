"""A second round of labeling: all labels from scratch, or from a model that was trained on half of them.

python benchmarks/rounds.py data=mirror_mouse 'data.size=[160,160]' data.num_workers=0 --steps 200 --seeds 0 1 2

Both take the same steps and are tested on the same images, which the first round held out as well.
"""

from __future__ import annotations

import csv
import statistics
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from report import print_machine

QUIET = ("report=false", "must_work=false", "logger=none", "~callbacks.progress", "trainer.enable_progress_bar=false")


def main(arguments: Sequence[str]) -> None:
    """Print the test error of half of the labels, of all from scratch, and of all from the model of half, by seed."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("overrides", nargs="*", help="of the trainings")
    parser.add_argument("--labels", type=int, default=36, help="images of the first round")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_intermixed_args(arguments)
    print_machine()
    errors: dict[str, list[float]] = {"half of the labels": [], "all, from scratch": [], "all, from the model": []}
    with tempfile.TemporaryDirectory() as folder:
        for seed in options.seeds:
            base = [
                *options.overrides,
                f"trainer.max_steps={options.steps}",
                f"seed={seed}",
                "data.split_seed=0",
                *QUIET,
            ]
            first = Path(folder, f"first{seed}")
            more: list[list[str]] = [[f"data.limit={options.labels}"], [], [f"init={first}"]]
            runs = first, Path(folder, f"scratch{seed}"), Path(folder, f"second{seed}")
            for name, run, words in zip(errors, runs, more, strict=True):
                errors[name].append(test_error(run, [*base, *words]))
            print(
                f"seed {seed}:", ", ".join(f"{name} {found[-1]:.2f} px" for name, found in errors.items()), flush=True
            )
    for name, found in errors.items():
        print(f"{name}: {statistics.mean(found):.2f} px")


def test_error(run: Path, words: Sequence[str]) -> float:
    """Train in a folder, and return the mean error on the test split in pixels of the original images."""
    command = [sys.executable, "-m", "softpoint.cli", "train", *words, f"hydra.run.dir={run}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with (run / "test.csv").open(newline="") as file:
        return float(next(row["epe"] for row in csv.DictReader(file) if row["keypoint"] == "all"))


if __name__ == "__main__":
    main(sys.argv[1:])
