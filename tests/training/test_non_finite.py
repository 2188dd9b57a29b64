"""A step whose loss or gradients are not finite leaves no trace; many of them bring the last good weights back."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import Callback

from helpers.training import built, composed, labeled, tiny, write_labels
from softpoint.inference.safe_load import read_torch_file
from softpoint.training.non_finite import NonFiniteGuard

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*many workers.*")


class Poison(Callback):
    """Multiplies images of these batches by NaN, or gradients by another number; keeps the state before a step."""

    def __init__(self, factors: dict[int, float]) -> None:
        self.factors, self.before = factors, list[Any]()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self.before = state(trainer)
        if math.isnan(factor := self.factors.get(batch_idx, 1.0)):
            batch["image"] = batch["image"].float() * factor

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        for parameter in pl_module.parameters():
            if parameter.grad is not None:
                parameter.grad *= self.factors.get(trainer.fit_loop.batch_idx, 1.0)


class After(Callback):
    """Compares weights, statistics and optimizer with those before a step with a poisoned batch."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        poison = next(callback for callback in trainer.callbacks if isinstance(callback, Poison))
        batches = range(batch_idx + 1 - trainer.accumulate_grad_batches, batch_idx + 1)
        if not trainer.fit_loop._should_accumulate() and guard_of(trainer).row and poison.factors.keys() & batches:
            torch.testing.assert_close(state(trainer), poison.before, rtol=0, atol=0)


def state(trainer: Any) -> list[Any]:
    optimizer = trainer.optimizers[0].state_dict()["state"]
    return [value.clone() for value in trainer.lightning_module.state_dict().values()] + [
        {key: torch.as_tensor(value).clone() for key, value in entry.items()} for entry in optimizer.values()
    ]


def guard_of(trainer: Any) -> NonFiniteGuard:
    return next(callback for callback in trainer.callbacks if isinstance(callback, NonFiniteGuard))


class Copies(Callback):
    """Keeps a copy of last.ckpt of each step."""

    def on_step_done(self, trainer: Any, pl_module: Any) -> None:
        folder = Path(trainer.default_root_dir)
        shutil.copy(folder / "checkpoints" / "last.ckpt", folder / f"{trainer.global_step}.ckpt")

    on_epoch_done = on_step_done


def run(folder: Path, factors: dict[int, float], words: Sequence[str], *more: Callback, ckpt: Any = None) -> Any:
    """The trainer after a run of which some batches are spoiled."""
    unneeded = ("~callbacks.calibrate", "~callbacks.monitor", "~callbacks.lr_monitor")
    module, data, trainer = built(composed("train", [*words, *unneeded, "logger=csv"], folder))
    trainer.callbacks[:0] = [Poison(factors)]
    trainer.callbacks += [After(), *more]
    trainer.fit(module, data, ckpt_path=ckpt, weights_only=True)
    return trainer


def test_a_skipped_step_leaves_no_trace(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer = run(tmp_path, {1: math.nan, 3: math.inf, 4: 1e30}, tiny("data.train=24"))
    guard = guard_of(trainer)
    assert (guard.skipped, guard.row, guard.steps, trainer.global_step) == (3, 0, 6, 6)
    assert "3 of 6 steps were skipped" in caplog.text and "batch 2 of epoch 1 (scene " in caplog.text
    stored = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    kept = [stored["state_dict"], stored["current_model_state"], *stored["optimizer_states"][0]["state"].values()]
    assert all(torch.as_tensor(value).isfinite().all() for part in kept for value in part.values())


def test_of_summed_gradients_the_whole_step_is_skipped_and_its_image_named(tmp_path: Path) -> None:
    words = labeled(write_labels(tmp_path / "data", 20), "data.batch_size=2", "trainer.accumulate_grad_batches=2")
    trainer = run(tmp_path / "run", {2: math.nan}, [*words, "trainer.limit_train_batches=4"])
    guard = guard_of(trainer)
    assert (guard.skipped, guard.steps, trainer.global_step) == (1, 2, 2)
    assert "heatmap_ce is nan" in guard.first and "batch 3 of epoch 1 (video" in guard.first


def test_after_many_in_a_row_the_last_good_weights_return_and_then_the_run_stops(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = tiny("data.train=40", "callbacks.guard.in_a_row=2", "scheduler=constant", "optimizer.lr=0.01")
    reason = r"diverged after 9 steps, also at 0\.01 times the learning rate: 2 steps in a row were skipped;"
    with pytest.raises(ValueError, match=reason) as end:
        run(tmp_path, dict.fromkeys((1, 2, 4, 5, 7, 8), math.nan), words)
    assert "lower optimizer.lr, which is 0.0001 now" in str(end.value)
    assert "in batch 9 of epoch 1 (scene " in str(end.value)
    assert caplog.text.count("the weights of the start return, with 0.1 times the learning rate") == 2
    assert not (tmp_path / "checkpoints" / "last.ckpt").exists()


@pytest.mark.filterwarnings("ignore:.*is not empty.*")
def test_a_resumed_run_returns_to_the_weights_of_the_run_that_never_stopped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = tiny("data.train=16", "trainer.max_epochs=2", "callbacks.guard.in_a_row=2", "checkpoint_every.steps=1")
    spoiled: dict[int, float] = {1: math.nan, 2: math.nan}
    whole = run(tmp_path / "whole", spoiled, words, Copies())
    after_epoch, within = (read_torch_file(tmp_path / "whole" / f"{step}.ckpt")["good_weights"] for step in (4, 5))
    assert after_epoch == {"name": "of epoch 1"} and within["name"] == "of epoch 1"
    caplog.clear()
    resumed = run(tmp_path / "resumed", spoiled, words, ckpt=tmp_path / "whole" / "5.ckpt")
    assert "the weights of epoch 1 return, with 0.1 times the learning rate" in caplog.text
    torch.testing.assert_close(state(resumed), state(whole), rtol=0, atol=0)
    assert resumed.optimizers[0].param_groups[0]["lr"] == whole.optimizers[0].param_groups[0]["lr"]


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    trainer = run(tmp_path, {}, tiny())
    path = tmp_path / "checkpoints" / "last.ckpt"
    good = path.read_bytes()
    with torch.no_grad():
        next(trainer.lightning_module.parameters())[0, 0, 0, 0] = torch.inf
    with pytest.raises(ValueError, match="a weight is no longer finite, and the last checkpoint is left as it was"):
        trainer.save_checkpoint(path)
    assert path.read_bytes() == good
