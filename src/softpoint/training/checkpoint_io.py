"""Checkpoints, each written beside the one that it then replaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from softpoint.paths import atomic_write


class AtomicCheckpointIO(TorchCheckpointIO):
    """Leaves the earlier checkpoint as it is until the new one is complete, also on a full disk.

    Lightning's own copies the new one over it, where the folder of temporary files is on another disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        assert storage_options is None
        replace_checkpoint(Path(path), checkpoint)


def replace_checkpoint(path: Path, stored: dict[str, Any]) -> None:
    """Write a checkpoint beside the one that it then replaces."""
    with atomic_write(path) as beside:
        torch.save(stored, beside)
