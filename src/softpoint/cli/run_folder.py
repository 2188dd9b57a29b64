"""Folders that a command writes to: a new one of its own, and none that another process is writing to."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from softpoint.paths import exclusive_lock

LOCK = ".lock"
# The locks and the new folders of the running command; closing it unlocks, and removes folders without a result.
held = ExitStack()


class LockFolder(Callback):
    """Hydra's callback that locks the folder of a run or a sweep before Hydra writes the config there."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        self._lock(config.hydra.run.dir)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        self._lock(config.hydra.sweep.dir)

    def _lock(self, folder: str) -> None:
        try:
            lock(Path(folder))
        except ValueError as error:  # of which Hydra would make a warning
            sys.exit(f"error: {error}")


def run_folder(ckpt_path: str | None, parent: str) -> str:
    """Return the folder of the run that a checkpoint belongs to, so that resuming goes on there; else a new one.

    >>> run_folder("outputs/a/checkpoints/last.ckpt", "outputs/b")
    'outputs/a'
    """
    folder = Path(ckpt_path or "").parent
    return str(folder.parent) if folder.name == "checkpoints" else new_folder(parent)


def new_folder(parent: str) -> str:
    """Return a folder in `parent`, named by the time, that this process alone has made.

    The other processes of a distributed training use the first one's: Lightning gives it to those that it starts, and
    those of torchrun ask the store that torchrun keeps.
    """
    name, store = f"{datetime.now():%Y-%m-%d_%H-%M-%S}", None
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        from torch.distributed import TCPStore  # type: ignore[attr-defined]

        store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
        key = f"softpoint/{os.environ.get('TORCHELASTIC_RESTART_COUNT')}/{parent}"
    if _follows():
        return store.get(key).decode() if store else str(Path(parent, name))
    for suffix in chain([""], map("_{}".format, count(2))):
        folder = Path(parent, name + suffix)
        missing = [above for above in folder.absolute().parents if not above.exists()]
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            held.callback(_remove_without_result, folder.absolute(), missing)
            break
    if store:
        store.set(key, str(folder))
    return str(folder)


def lock(folder: Path) -> None:
    """Keep other commands from writing to a folder until this one ends; ValueError where one does already."""
    if _follows():
        return
    try:
        held.enter_context(exclusive_lock(folder / LOCK, wait=False))
    except BlockingIOError as error:
        raise ValueError(
            f"another process is writing to {folder}; wait until it has ended, or name another folder"
        ) from error


def _follows() -> bool:
    """Return whether this is not the first process of a distributed training."""
    names = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")
    return any(int(os.environ.get(name) or 0) for name in names)


def _remove_without_result(folder: Path, above: Sequence[Path]) -> None:
    """Remove a folder that holds no more than the config of the command, and the empty ones `above` made for it."""
    results = (path for path in folder.rglob("*") if path.is_file() and ".hydra" not in path.parts)
    if all(path.name in (LOCK, "multirun.yaml") for path in results):
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            for parent in above:
                parent.rmdir()
