"""One tiny trained run, for everything that reads a checkpoint."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.training import trained


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder; what it was trained on has been moved away."""
    return trained(tmp_path_factory.mktemp("trained"), "trainer.max_epochs=2")


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
