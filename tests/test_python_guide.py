"""The code of docs/guides/python.md runs as it is written, from one block to the next."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import softpoint
from helpers.training import ROOT, labeled, write_labels
from softpoint.inference import read_checkpoint
from softpoint.models import FusionDecoder, KeypointNet, Small, SoftArgmaxHead

GUIDE = (ROOT / "docs/guides/python.md").read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore:.*many workers.*", "ignore:.*smaller than the logging.*", "ignore:.*LeafSpec.*")
def test_the_guide_runs_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_labels(tmp_path)
    train = softpoint.train

    def small(*words: str, minutes: float, **settings: Any) -> softpoint.Run:
        assert minutes == 12
        return train(*words, *labeled([]), **settings)

    monkeypatch.setattr(softpoint, "train", small, raising=False)
    names: dict[str, Any] = {"image": np.zeros((48, 96, 3), np.uint8)}
    for block in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL):
        exec(block.replace("seed=0)", "seed=0, size=64, epoch_steps=1)"), names)
    assert names["run"].folder.is_relative_to(tmp_path / "outputs/custom") and np.isfinite(names["run"].metrics["epe"])
    assert names["prediction"]["keypoints"].shape == (4, 2)
    # What a plain Trainer saved is the network that it trained.
    image = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    loaded, module = read_checkpoint("mine.ckpt"), names["module"].eval()
    torch.testing.assert_close(loaded.net(image)["logits"], module(image)["logits"], atol=1e-5, rtol=1e-4)
    assert (loaded.size, loaded.skeleton) == ((64, 64), names["data"].skeleton)


def test_a_checkpoint_without_a_description_says_what_it_lacks(tmp_path: Path) -> None:
    net = KeypointNet(1, Small(width=8), FusionDecoder, SoftArgmaxHead)
    weights = {f"net.{name}": value for name, value in net.state_dict().items()}
    skeleton = {"names": ["nose"], "flip_pairs": [], "edges": []}
    torch.save({"state_dict": weights, "skeleton": skeleton, "size": (64, 64)}, tmp_path / "plain.ckpt")
    with pytest.raises(ValueError, match="it does not describe its network"):
        softpoint.load_predictor(tmp_path / "plain.ckpt")
    torch.save({"state_dict": weights, "skeleton": skeleton, "hyper_parameters": {"model": {}}}, tmp_path / "no.ckpt")
    with pytest.raises(ValueError, match="it lacks the size of its input"):
        softpoint.load_predictor(tmp_path / "no.ckpt")
