"""The sub-pixel floor: the error on rendered edges, whose true positions are known.

python benchmarks/subpixel.py --steps 600 --seeds 0 1 --page docs/results.md

Each image shows a rectangular part, turned and shifted by fractions of a pixel, blurred and noisy as by a camera; its
four corners are the keypoints. Every decoder reads the same trained networks, on images that none was trained on.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from report import print_machine
from rounds import QUIET
from softpoint.inference import load_predictor
from softpoint.inference.predictor import Predictor
from softpoint.studies.markdown import hardware, update_page

SIDE, FINER = 128, 8  # pixels of an image, and of the rendering for each
BLUR, NOISE = 0.7, 3.0  # deviation of the optics in pixels, and of the sensor in gray levels
CORNERS = ("top_left", "top_right", "bottom_right", "bottom_left")
DECODERS = ("window", "dark", "expectation", "argmax")


def main(arguments: Sequence[str]) -> None:
    """Train with every seed, and print the errors of each decoder."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of the trainings")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--images", type=int, default=300, help="to train on, and as many to test on")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--page", type=Path, help="Markdown page whose section is replaced")
    options = parser.parse_intermixed_args(arguments)
    print_machine()
    rng = np.random.default_rng(1)
    tested = [render(rng) for _ in range(options.images)]
    truth = np.stack([corners for _, corners in tested])
    offsets: dict[str, list[np.ndarray]] = {decoder: [] for decoder in DECODERS}
    with tempfile.TemporaryDirectory() as folder:
        write_set(Path(folder), options.images)
        for seed in options.seeds:
            predictor = trained(Path(folder), options.steps, seed, options.overrides)
            for decoder in DECODERS:
                predictor.net.head.decode = decoder
                offsets[decoder].append(predictor([image for image, _ in tested])["keypoints"] - truth)
    table = "\n".join(lines_of({name: np.concatenate(values) for name, values in offsets.items()}))
    print(table)
    if options.page:
        title = (
            "### Sub-pixel floor\n\nErrors in px at the corners of rendered parts, on images that were not trained on."
        )
        command = f"`python benchmarks/subpixel.py {' '.join(arguments)}`"
        update_page(options.page, "subpixel", f"{title}\n\n{table}\n\n{command}, on {hardware()}.")


def render(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return an image uint8 (H, W, 3) of a part, and its corners (4, 2) in pixels."""
    half, angle = rng.uniform([20, 12], [32, 20]), np.radians(rng.uniform(-25, 25))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half @ turn.T + rng.uniform(44, SIDE - 44, 2)
    dark, bright = rng.uniform(20, 90), rng.uniform(150, 230)
    places = (np.arange(SIDE * FINER) + 0.5) / FINER - 0.5  # an integer is the center of a pixel
    # The distances along both sides of the part from its center, which are within half of them inside.
    along = [places * axis[0] + places[:, None] * axis[1] - corners.mean(0) @ axis for axis in turn.T]
    inside = (np.abs(along[0]) < half[0]) & (np.abs(along[1]) < half[1])
    covered = inside.reshape(SIDE, FINER, SIDE, FINER).mean((1, 3))
    image = cv2.GaussianBlur(dark + (bright - dark) * covered, (0, 0), BLUR)
    image = image + rng.normal(0, 15) * np.linspace(-1, 1, SIDE)[:, None] + rng.normal(0, NOISE, image.shape)
    return np.repeat(image.clip(0, 255).round().astype(np.uint8)[..., None], 3, axis=2), corners


def write_set(folder: Path, images: int) -> None:
    """Write images and their labels."""
    rng, header = np.random.default_rng(0), [f"{name}_{axis}" for name in CORNERS for axis in "xy"]
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *header])
        for i in range(images):
            image, corners = render(rng)
            cv2.imwrite(str(folder / f"{i:04}.png"), image)
            writer.writerow([f"{i:04}.png", *(f"{value:.4f}" for value in corners.ravel())])


def trained(folder: Path, steps: int, seed: int, overrides: Sequence[str]) -> Predictor:
    """Return the predictor of a training with the default recipe at the size of the images."""
    words = ["data=custom", f"data.labels={folder / 'labels.csv'}", "data.group=none", "data.test=0"]
    words += [f"data.size=[{SIDE},{SIDE}]", "data.cache=ram", "data.num_workers=0", f"seed={seed}"]
    words += [f"trainer.max_steps={steps}", "trainer.max_epochs=-1", *QUIET, *overrides]
    run = folder / f"run{seed}"
    command = [sys.executable, "-m", "softpoint.cli", "train", *words, f"hydra.run.dir={run}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return load_predictor(run / "checkpoints" / "best.ckpt")


def lines_of(offsets: dict[str, np.ndarray]) -> list[str]:
    """Return a Markdown table; the bias is the larger mean error, along x or along y."""
    lines = ["| decoder | median | 90 % | 99 % | bias | within 0.2 px |", "|---|---:|---:|---:|---:|---:|"]
    for decoder, offset in offsets.items():
        error = np.linalg.norm(offset, axis=-1)
        cells = [f"{np.quantile(error, share):.3f}" for share in (0.5, 0.9, 0.99)]
        mean = np.abs(offset.reshape(-1, 2).mean(0)).max()
        lines.append(f"| {decoder} | {' | '.join(cells)} | {mean:.3f} | {100 * (error <= 0.2).mean():.1f} % |")
    return lines


if __name__ == "__main__":
    main(sys.argv[1:])
