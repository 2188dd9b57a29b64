"""Networks of every kind, as checkpoints that no training has to make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate

from helpers.training import composed, tiny
from softpoint.inference import Checkpoint
from softpoint.labels.skeleton import Skeleton

Making = Callable[..., Checkpoint]


@pytest.fixture(autouse=True)
def traced(unchecked: None) -> None:
    """Checks of shapes would fix the symbols of a traced program to one example's numbers."""


@pytest.fixture
def make(tmp_path: Path) -> Making:
    """Makes a calibrated checkpoint of the config that overrides of train.py give."""

    def making(*overrides: str, size: tuple[int, int] = (64, 96), crops: dict | None = None) -> Checkpoint:
        cfg = composed("train", tiny("head.visibility=false", "backbone.stages=[2,3]", *overrides), tmp_path / "run")
        torch.manual_seed(0)
        net = instantiate(cfg.model)(num_keypoints=3).eval()
        with torch.no_grad():
            for name, weight in net.head.named_parameters():
                if weight.ndim > 1 and "refine" not in name:
                    weight.add_(torch.randn_like(weight))  # maps with clear maxima, as a trained head has
        net.calibration.set(radius=torch.tensor(3.0), log_scale=torch.tensor([-0.5, 0.0, 0.5]))
        path = tmp_path / "best.ckpt"
        path.write_bytes(b"weights")
        skeleton = Skeleton(("nose", "left_ear", "right_ear"), flip_pairs=(("left_ear", "right_ear"),))
        return Checkpoint(net, skeleton, size, crops, {}, path)

    return making
