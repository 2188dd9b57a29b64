"""Which weights of a run are best on new images: those of its lowest val/epe, its last, or what training chooses.

python benchmarks/selection.py data=mirror_mouse 'data.size=[128,128]' --val 0.05 --test 0.45 --steps 300 --seeds 0 1 2

Each seed draws its own split and trains once; all three weights are tested on the same images.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from report import print_machine
from softpoint.evaluation.bootstrap import find_units
from softpoint.evaluation.eval_data import open_set
from softpoint.evaluation.predict import evaluation_predictor, predict
from softpoint.evaluation.results import Results
from softpoint.inference import read_checkpoint
from softpoint.training.selection import Validation, lead

QUIET = ("report=false", "must_work=false", "logger=none", "~callbacks.progress", "trainer.enable_progress_bar=false",
         "~callbacks.selection", "~callbacks.calibrate", "data.num_workers=0", "trainer.max_epochs=null")  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    """Print the test error of the three by seed, their means, and the interval of the paired differences."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("overrides", nargs="*", help="of the trainings")
    parser.add_argument("--val", type=float, default=0.05)
    parser.add_argument("--test", type=float, default=0.45)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_intermixed_args(arguments)
    print_machine()
    rows = []
    for seed in options.seeds:
        split = ("data.splits=null", f"data.val={options.val}", f"data.test={options.test}", "data.group=none")
        words = [*options.overrides, *split, f"seed={seed}", f"trainer.max_steps={options.steps}", *QUIET]
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "softpoint.cli", "train", *words, f"hydra.run.dir={folder}"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            rows.append(measured(Path(folder) / "checkpoints"))
        print(
            f"seed {seed}: lowest val/epe {rows[-1][0]:.2f} px, last {rows[-1][1]:.2f}, chosen {rows[-1][2]:.2f}",
            flush=True,
        )
    errors = np.array(rows)
    print(
        ", ".join(
            f"{name} {mean:.2f} px" for name, mean in zip(("lowest", "last", "chosen"), errors.mean(0), strict=True)
        )
    )
    for name, column in (("last", 1), ("chosen", 2)):
        gain = (errors[:, 0] - errors[:, column]).tolist()
        half = statistics.stdev(gain) / len(gain) ** 0.5
        print(f"lowest less {name}: {statistics.mean(gain):.3f} px, standard error {half:.3f}")


def measured(checkpoints: Path) -> tuple[float, float, float]:
    """Return the test errors of the weights of the lowest val/epe, of the last, and of those that training chooses."""
    val, test = (
        [results(checkpoints / f"{name}.ckpt", split) for name in ("best", "last")] for split in ("val", "test")
    )
    low, _ = lead(validation(val[0]), validation(val[1]), find_units(val[0].images, val[0].groups)[0])
    best, last = (float(np.nanmean(errors(found))) for found in test)
    return best, last, best if low > 0 else last


def results(path: Path, split: str) -> Results:
    """Return the predictions of a checkpoint for a split of its run."""
    checkpoint = read_checkpoint(path)
    chosen = open_set(checkpoint, split)
    return predict(evaluation_predictor(checkpoint, chosen), chosen)


def errors(found: Results) -> np.ndarray:
    """Return the errors (N, K) in pixels, NaN where unlabeled."""
    distance: np.ndarray = np.linalg.norm(found.keypoints - found.truth, axis=-1)
    return np.where(found.labeled, distance, np.nan)


def validation(found: Results) -> Validation:
    """Return predictions as what training keeps of a validation."""
    own = errors(found)
    total, count = torch.tensor(np.nansum(own, 1)), torch.tensor(np.isfinite(own).sum(1))
    return Validation(0, float(np.nanmean(own)), torch.arange(len(own)), total, count)


if __name__ == "__main__":
    main(sys.argv[1:])
