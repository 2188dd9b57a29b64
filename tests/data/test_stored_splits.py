"""The images of each split come back from a checkpoint, however many they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from softpoint.data import stored_splits
from softpoint.data.stored_splits import MAX_SPLITS, pack_splits, unpack_splits
from softpoint.inference import safe_load
from softpoint.training.checkpoint_io import replace_checkpoint


@pytest.mark.parametrize("names", [[], [""], ["a.png"], ["b/ü 1.png", "a\nb,c.png", "", "\udcff.png"]])
def test_names_come_back_in_order(names: list[str]) -> None:
    splits = {"train": names, "val": []}
    assert unpack_splits(pack_splits(splits)) == splits == unpack_splits(splits)
    assert unpack_splits(pack_splits({"train": names * 2})) == {"train": names}


def test_a_checkpoint_of_more_names_than_a_pickle_may_hold_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safe_load, "MAX_BYTES", 1 << 16)
    splits = {"train": [f"session/camera/img{i:05}.png" for i in range(5000)], "val": []}
    replace_checkpoint(tmp_path / "last.ckpt", {"data": {"splits": pack_splits(splits)}})
    assert unpack_splits(safe_load.read_torch_file(tmp_path / "last.ckpt")["data"]["splits"]) == splits


@pytest.mark.parametrize("text", [torch.zeros(4), torch.zeros(2, 2, dtype=torch.uint8), torch.ones(4).to(torch.uint8)])
def test_other_tensors_are_refused(text: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="no text"):
        unpack_splits({"train": text})


def test_a_small_file_cannot_name_any_number_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    text = torch.zeros(11, dtype=torch.uint8)
    with pytest.raises(ValueError, match=f"where up to {MAX_SPLITS} are possible"):
        unpack_splits({str(i): text for i in range(MAX_SPLITS + 1)})
    monkeypatch.setattr(stored_splits, "MAX_NAMES", 10)
    with pytest.raises(ValueError, match="names 11 images in one split"):
        unpack_splits({"train": text})
    with pytest.raises(ValueError, match="has 11 images"):
        pack_splits({"train": [str(i) for i in range(11)]})
