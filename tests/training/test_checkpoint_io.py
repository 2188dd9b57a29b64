"""The earlier checkpoint stays until the new one is complete."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers.training import built, composed, tiny
from softpoint.training.checkpoint_io import AtomicCheckpointIO

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*many workers.*")


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = built(composed("train", tiny(), tmp_path / "run"))[2]
    writer, path = trainer.strategy.checkpoint_io, tmp_path / "checkpoints" / "best.ckpt"
    assert isinstance(writer, AtomicCheckpointIO)
    writer.save_checkpoint({"step": 1}, str(path))

    def fill(stored: object, beside: Path) -> None:
        beside.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fill)
    with pytest.raises(OSError, match="No space left"):
        writer.save_checkpoint({"step": 2}, str(path))
    assert writer.load_checkpoint(path, weights_only=True) == {"step": 1} and [*path.parent.iterdir()] == [path]
