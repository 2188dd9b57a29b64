"""Commands run in the test's own process, and one tiny trained run."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.commands import start
from helpers.studies import Pretence
from helpers.training import trained

__all__ = ["start"]


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder; what it was trained on has been moved away."""
    return trained(tmp_path_factory.mktemp("trained"), "data.batch_size=2", "trainer.max_epochs=2", "report=true")


@pytest.fixture
def pretence(monkeypatch: pytest.MonkeyPatch) -> Pretence:
    """Trainings of no time."""
    return Pretence(monkeypatch)
