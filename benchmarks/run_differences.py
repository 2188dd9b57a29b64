"""Differences between two runs that should be equal: of their checkpoints, curves and tests, bit by bit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from softpoint.inference.safe_load import read_torch_file

# Where a run is and what the clock decides.
PRIVATE = re.compile(
    "/(hyper_parameters/resume|dirpath|save_dir|default_root_dir|(best|kth_best|last)_model_path|best_k_models/.*|record/(minutes|date)|time_elapsed)$"
)
CLOCK = ("speed/",)


def differences(whole: Path, other: Path) -> list[str]:
    """Return the names of values that differ between two runs."""
    differing = []
    for name in ("last.ckpt", "best.ckpt"):
        first, second = (read_torch_file(run / "checkpoints" / name) for run in (whole, other))
        differing += [f"{name}{place}" for place in differing_values(first, second)]
    if (whole / "test.csv").read_bytes() != (other / "test.csv").read_bytes():
        differing.append("test.csv")
    return differing + [f"curve {tag}" for tag in _differing_curves(curves(whole), curves(other))]


def differing_values(whole: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Return the places of values that differ between two checkpoints, or that one of them lacks."""
    expected, result = dict(leaves(whole)), dict(leaves(other))
    both = sorted(expected.keys() & result.keys())
    return sorted(expected.keys() ^ result.keys()) + [name for name in both if not same(expected[name], result[name])]


def _differing_curves(whole: dict[str, dict[int, list[float]]], other: dict[str, dict[int, list[float]]]) -> list[str]:
    tags = sorted(whole.keys() | other.keys())
    return [tag for tag in tags if not _same_curve(whole.get(tag, {}), other.get(tag, {}))]


def _same_curve(a: dict[int, list[float]], b: dict[int, list[float]]) -> bool:
    return a.keys() == b.keys() and all(same(x, y) for step in a for x in a[step] for y in b[step])


def curves(run: Path) -> dict[str, dict[int, list[float]]]:
    """Return the logged values of a run by tag and step, also those logged twice, all but those of the clock."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0}, purge_orphaned_data=False)
    board.Reload()
    tags = [tag for tag in board.Tags()["scalars"] if not tag.startswith(CLOCK)]
    found: dict[str, dict[int, list[float]]] = {tag: {} for tag in tags}
    for tag in tags:
        for event in board.Scalars(tag):
            found[tag].setdefault(event.step, []).append(event.value)
    return found


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value of a checkpoint with its place, all but those that differ between any two runs."""
    if isinstance(node, dict | list | tuple):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from leaves(value, f"{path}/{key}")
    elif not PRIVATE.search(path):
        yield path, node


def same(a: Any, b: Any) -> bool:
    """Return whether two values have one type and the same bits."""
    if type(a) is not type(b):
        return False
    if torch.is_tensor(a):
        return bool(a.dtype == b.dtype and a.shape == b.shape) and a.numpy().tobytes() == b.numpy().tobytes()
    return bool(np.float64(a).tobytes() == np.float64(b).tobytes() if isinstance(a, float) else a == b)
