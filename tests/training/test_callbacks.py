"""Averaged weights follow their formula, are what is validated, and leave training alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import Callback

from helpers.training import built, composed, tiny
from softpoint.training.callbacks import ExponentialAverage, ModelCheckpoint

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*many workers.*")


class Trace(Callback):
    """Keeps the weights after every step, and those that were validated."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []
        self.validated: dict[str, torch.Tensor] = {}

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.steps.append({key: value.clone() for key, value in pl_module.net.state_dict().items()})

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.validated = {key: value.clone() for key, value in pl_module.net.state_dict().items()}


def traced(folder: Path, *more: str) -> tuple[Trace, dict[str, Any]]:
    module, data, trainer = built(composed("train", tiny("data.train=20", "data.batch_size=2", *more), folder))
    trainer.callbacks.append(trace := Trace())
    trainer.fit(module, data)
    return trace, torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.995])
def test_average_follows_its_formula(tmp_path: Path, decay: float) -> None:
    trace, stored = traced(tmp_path, f"callbacks.ema.decay={decay}")
    assert len(trace.steps) == 10
    for key, value in trace.validated.items():
        average = trace.steps[0][key].double()
        for n, step in enumerate(trace.steps[1:], start=1):
            keep = min(decay, (1 + n) / (10 + n))
            average = keep * average + (1 - keep) * step[key].double()
        expected = average if value.is_floating_point() else trace.steps[-1][key]
        torch.testing.assert_close(value.double(), expected.double(), rtol=1e-4, atol=1e-6)
        assert torch.equal(stored["state_dict"][f"net.{key}"], value)
        assert torch.equal(stored["current_model_state"][f"net.{key}"], trace.steps[-1][key])


def test_averaging_does_not_touch_training(tmp_path: Path) -> None:
    averaged, _ = traced(tmp_path / "a")
    plain, _ = traced(tmp_path / "b", "~callbacks.ema")
    for key, value in averaged.steps[-1].items():
        assert torch.equal(value, plain.steps[-1][key])


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_decay_is_a_fraction(decay: float) -> None:
    with pytest.raises(ValueError, match=rf"callbacks.ema.decay must be in \[0, 1\), got {decay}"):
        ExponentialAverage(decay)


def test_the_score_of_the_last_validation_is_kept(tmp_path: Path) -> None:
    before, after = (ModelCheckpoint(dirpath=tmp_path, monitor="val/epe") for _ in range(2))
    before.current_score = torch.tensor(3.0)
    after.load_state_dict(before.state_dict())
    assert after.state_dict()["current_score"] == 3
