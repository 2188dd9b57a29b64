"""The checkpoint of one tiny trained run, and changed copies of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture(scope="session")
def stored(run: Path) -> dict[str, Any]:
    """The content of its best checkpoint."""
    return torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)


@pytest.fixture
def changed(stored: dict[str, Any], tmp_path: Path) -> Callable[[Callable[[dict[str, Any]], object]], Path]:
    """Writes the checkpoint after a change to it."""

    def write(change: Callable[[dict[str, Any]], object]) -> Path:
        altered = copy.deepcopy(stored)
        change(altered)
        torch.save(altered, tmp_path / "changed.ckpt")
        return tmp_path / "changed.ckpt"

    return write
