"""Trainings of a second, started as users start them but within the test's own process."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from softpoint.cli.build import build

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"

# What makes any training small: the network, its input, one epoch, nothing drawn on the terminal, and no figures for
# TensorBoard, which take as long as all the rest.
DASHBOARD = "~callbacks.dashboard"
SMALL = (
    "data.size=64",
    "data.batch_size=4",
    "data.num_workers=0",
    "decoder.channels=8",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=1",
    "~callbacks.progress",
    DASHBOARD,
    "trainer.enable_progress_bar=false",
    "trainer.log_every_n_steps=1",
    "report=false",
    "must_work=false",
)
NETWORK = ("backbone.width=8",)
SYNTHETIC = (*NETWORK, "data.train=8", "data.val=4", "data.test=5")

# Four keypoints of which two are a pair, as a tool for labeling would name them.
NAMES = ("nose", "left_ear", "right_ear", "tail")


def composed(name: str, overrides: Sequence[str], output: Path, mode: RunMode = RunMode.RUN) -> DictConfig:
    """The config that a script would get from this command line, with `output` as the run's folder."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose(name, list(dict.fromkeys(overrides)), return_hydra_config=True)  # nothing is dropped twice
    output.mkdir(parents=True, exist_ok=True)
    cfg.hydra.runtime.output_dir, cfg.hydra.mode = str(output), mode
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg.hydra
    return cfg


def tiny(*overrides: str) -> list[str]:
    """Overrides of a tiny training on synthetic scenes, the last ones winning."""
    return [*SMALL, *SYNTHETIC, *overrides]


def drawn(overrides: Sequence[str]) -> list[str]:
    """The overrides of a small training, with its figures."""
    return [word for word in overrides if word != DASHBOARD]


# Module, data and trainer.
built = build


def write_labels(folder: Path, count: int = 12, seed: int = 0, missing: Sequence[tuple[int, int]] = ()) -> list[str]:
    """Writes images of several sizes and a CSV with four keypoints each; the overrides that read them.

    Every keypoint is a bright disc of its own color; `missing` lists (image, keypoint) that are not labeled.
    """
    rng = np.random.default_rng(seed)
    rows: list[list[Any]] = [
        ["scorer", *["us"] * 8],
        ["bodyparts", *(name for name in NAMES for _ in "xy")],
        ["coords", *["x", "y"] * 4],
    ]
    for i in range(count):
        height, width = [(64, 64), (48, 96), (90, 61)][i % 3]
        points = rng.uniform([6, 6], [width - 7, height - 7], (4, 2)).round(2)
        path = f"video{i % 4}/img{i:02}.png"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / path), _discs(rng, (height, width), points))
        cells = [("", "") if (i, k) in missing else (x, y) for k, (x, y) in enumerate(points)]
        rows.append([path, *(cell for pair in cells for cell in pair)])
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return ["data=custom", f"data.labels={folder / 'labels.csv'}", f"data.images={folder}"]


def labeled(overrides: Sequence[str], *more: str) -> list[str]:
    """Overrides of a tiny training on labels that `write_labels` wrote."""
    return [
        *overrides,
        *SMALL,
        "backbone=small",
        *NETWORK,
        "data.epoch_steps=1",
        "data.val=0.2",
        "data.test=0.2",
        *more,
    ]


def trained(folder: Path, *more: str) -> Path:
    """The folder of a run of scripts/train.py on tiny labels that are gone when it ends."""
    from softpoint.cli.train import main

    main(composed("train", labeled(write_labels(folder / "data"), *more), folder / "run"))
    (folder / "data" / "labels.csv").rename(folder / "labels.csv")
    (folder / "data").rename(folder / "moved")
    return folder / "run"


def spoil(path: Path) -> None:
    """Damage the pixels of an image file, not its header."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 100] = bytes(100)
    path.write_bytes(data)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _discs(rng: np.random.Generator, size: tuple[int, int], points: np.ndarray) -> np.ndarray:
    image = rng.integers(0, 60, (*size, 3), dtype=np.uint8)
    colors = [(255, 40, 40), (40, 255, 40), (40, 40, 255), (255, 255, 60)]
    for (x, y), color in zip(points, colors, strict=True):
        cv2.circle(image, (math.floor(x + 0.5), math.floor(y + 0.5)), 4, color, -1)
    return image
