"""One tiny trained run, for everything that reads a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from runs import trained


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder; what it was trained on has been moved away."""
    return trained(tmp_path_factory.mktemp("trained"), "trainer.max_epochs=2")
