"""The earlier checkpoint stays until the new one is complete."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers.training import built, composed, tiny
from softpoint.inference import safe_load
from softpoint.training.checkpoint_io import AtomicCheckpointIO, replace_checkpoint

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


def test_a_checkpoint_that_would_be_refused_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_load, "MAX_BYTES", 1 << 14)
    replace_checkpoint(tmp_path / "last.ckpt", {"mine": torch.zeros(1 << 14)})
    before = (tmp_path / "last.ckpt").read_bytes()
    with pytest.raises(ValueError, match=r"last.ckpt cannot be written .* take 1\d{4} bytes, where up to 16384 are"):
        replace_checkpoint(tmp_path / "last.ckpt", {"mine": [0.5] * 2000})
    assert [*tmp_path.iterdir()] == [tmp_path / "last.ckpt"] and (tmp_path / "last.ckpt").read_bytes() == before
