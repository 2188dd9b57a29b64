"""Shared parts of the benchmarks: their command lines, configs composed as for a training, and wide tables."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from statistics import median

import cv2
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from softpoint.cli.command_line import CONFIGS
from softpoint.machine import cores, processor


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the arguments of every benchmark."""
    arguments = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    arguments.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of the config of softpoint train")
    arguments.add_argument("--rounds", type=int, default=7, help="rounds of measuring, after one to warm up")
    arguments.add_argument("--calls", type=int, default=20, help="calls of each in a round")
    return arguments


def composed(*overrides: str) -> DictConfig:
    """Return the config of a training of a small network on heatmaps, with these overrides."""
    usual = ("backbone=small", "loss=heatmap_ce+coordinate", "head.visibility=false")
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", [*usual, *overrides])


def print_machine() -> None:
    """Print the processor, the threads and the version of torch, and let OpenCV use one thread."""
    cv2.setNumThreads(0)
    torch.manual_seed(0)
    print(f"{processor()}, {cores()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}")


def print_wide(table: Table) -> None:
    """Print a table at least 120 columns wide."""
    Console(width=max(120, Console().width)).print(table)


def spread(values: Sequence[float], digits: int = 0) -> tuple[str, str]:
    """Return the median, and the smallest and the largest value."""
    return f"{median(values):.{digits}f}", f"{min(values):.{digits}f} to {max(values):.{digits}f}"
