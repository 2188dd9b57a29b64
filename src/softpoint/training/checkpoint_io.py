"""Checkpoints, each written beside the one that it then replaces, and checked when it is read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain, count
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from softpoint.inference.safe_load import check_length, read_torch_file
from softpoint.paths import atomic_write, sync

# The checkpoint that a run is resumed from, and the one before it, for the case that a disk damages the last.
LAST, PREVIOUS = "last.ckpt", "last-previous.ckpt"
BEST = "best.ckpt"


def find_in_run(place: str, names: Sequence[str]) -> str:
    """Return the path of the first of these checkpoints that a run has; `place` where that is no folder of a run.

    The folder is that of the run or of its checkpoints.
    """
    folder = Path(place) if Path(place).name == "checkpoints" else Path(place, "checkpoints")
    return next((str(path) for name in names if (path := folder / name).is_file()), place)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Leaves the earlier checkpoint as it is until the new one is complete, also on a full disk.

    Lightning's own copies the new one over it, where the folder of temporary files is on another disk, and its reader
    does not notice damage.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        assert storage_options is None
        replace_checkpoint(Path(path), checkpoint)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        stored: dict[str, Any] = read_torch_file(Path(path))
        return stored


def replace_checkpoint(path: Path, stored: dict[str, Any]) -> None:
    """Write a checkpoint beside the one that it then replaces, and keep that one as PREVIOUS where it is LAST."""
    with atomic_write(path) as beside:
        torch.save(stored, beside)
        _check(path, beside)
        if path.name == LAST and path.exists():
            sync(beside)
            _keep(path, path.with_name(PREVIOUS))


def _check(path: Path, written: Path) -> None:
    """Raise ValueError for a checkpoint that no command would read, before the training goes on for nothing."""
    try:
        check_length(written)
    except ValueError as error:
        raise ValueError(
            f"{path} cannot be written so that it is read again: {error}; what a callback, module or data module of"
            " yours adds to checkpoints belongs in tensors"
        ) from error


def remove_unfinished(folder: Path) -> None:
    """Remove checkpoints that a killed process was writing; no other one may be writing there."""
    for path in folder.glob(".*.ckpt"):
        path.unlink(missing_ok=True)


def set_unused_aside(last: Path, resumed: str | Path | None) -> None:
    """Let a run go on from another of its checkpoints than the last one: from now on that one is the last.

    Those that are then of no use, which else would be lost, get another name: last-unused.ckpt, last-unused-2.ckpt.
    """
    if not resumed or Path(resumed).resolve() == last.resolve():
        return
    previous = last.with_name(PREVIOUS)
    for path in [previous, last] if Path(resumed).resolve() != previous.resolve() else [last]:
        if path.exists():
            path.replace(_unused(path))
    _keep(Path(resumed), last)  # for a crash before the first save


def _unused(path: Path) -> Path:
    names = chain([f"{path.stem}-unused"], map(f"{path.stem}-unused-{{}}".format, count(2)))
    return next(free for name in names if not (free := path.with_name(f"{name}{path.suffix}")).exists())


def not_finite(stored: dict[str, Any]) -> str | None:
    """Return the name of a weight or value of the optimizer that is not finite; None where all are.

    >>> not_finite({"state_dict": {"a": torch.ones(2), "b": torch.tensor(torch.nan)}})
    'state_dict.b'
    """
    parts = ("state_dict", "current_model_state", "optimizer_states")
    return next((name for part in parts for name in _names(stored.get(part), part)), None)


def _names(node: Any, name: str) -> Iterator[str]:
    if isinstance(node, dict | list | tuple):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _names(value, f"{name}.{key}")
    elif isinstance(node, torch.Tensor) and node.is_floating_point() and not node.isfinite().all():
        yield name


def _keep(path: Path, kept: Path) -> None:
    """Give a file a second name, at which it stays when another replaces it; the first name is never without a file.

    A copy takes the second name where a file system has no links.
    """
    with suppress(OSError), atomic_write(kept) as beside:  # a full disk leaves the one kept before
        beside.unlink(missing_ok=True)  # of a killed process of the same number
        try:
            os.link(path, beside)
        except OSError:
            shutil.copyfile(path, beside)
