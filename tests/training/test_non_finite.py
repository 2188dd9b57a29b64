"""A step whose loss or gradients are not finite leaves no trace; many of them bring the last good weights back."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import Callback

from helpers.training import built, composed, labeled, tiny, write_labels
from softpoint.inference.safe_load import read_torch_file
from softpoint.training.non_finite import NonFiniteGuard, all_finite

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


class Copy(Callback):
    """Keeps the trainer, and a copy of last.ckpt after the fourth step."""

    def on_step_done(self, trainer: Any, pl_module: Any) -> None:
        self.trainer, folder = trainer, Path(trainer.default_root_dir)
        if trainer.global_step == 4:
            shutil.copy(folder / "checkpoints" / "last.ckpt", folder / "fourth.ckpt")


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
    assert stored["good_weights"] == {"name": "of epoch 1"}  # which are its own
    kept = [stored["state_dict"], stored["current_model_state"], *stored["optimizer_states"][0]["state"].values()]
    assert all(torch.as_tensor(value).isfinite().all() for part in kept for value in part.values())


def test_of_summed_gradients_the_whole_step_is_skipped_and_its_image_named(tmp_path: Path) -> None:
    words = labeled(write_labels(tmp_path / "data", 20), "data.batch_size=2", "trainer.accumulate_grad_batches=2")
    trainer = run(tmp_path / "run", {2: math.nan}, [*words, "trainer.limit_train_batches=4"])
    guard = guard_of(trainer)
    assert (guard.skipped, guard.steps, trainer.global_step) == (1, 2, 2)
    assert "heatmap_ce is nan" in guard.first and "batch 3 of epoch 1 (video" in guard.first


@pytest.mark.filterwarnings("ignore:.*is not empty.*")
def test_after_many_in_a_row_the_last_good_weights_return_and_then_the_run_stops(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that is resumed between two returns has the weights of the start again too, to the last bit."""
    words = tiny("data.train=40", "callbacks.guard.in_a_row=2", "scheduler=constant", "optimizer.lr=0.01")
    words.append("checkpoint_every.steps=4")
    spoiled = dict.fromkeys((1, 2, 4, 5, 7, 8), math.nan)
    reason = r"diverged after 9 steps, also at 0\.01 times the learning rate: 2 steps in a row were skipped;"
    with pytest.raises(ValueError, match=reason) as end:
        run(tmp_path, spoiled, words, whole := Copy())
    assert "lower optimizer.lr, which is 0.0001 now" in str(end.value)
    assert "in batch 9 of epoch 1 (scene " in str(end.value)
    assert caplog.text.count("the weights of the start return, with 0.1 times the learning rate") == 2
    assert read_torch_file(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 8
    with pytest.raises(ValueError, match=reason):
        run(tmp_path / "resumed", spoiled, words, resumed := Copy(), ckpt=tmp_path / "fourth.ckpt")
    torch.testing.assert_close(state(resumed.trainer), state(whole.trainer), rtol=0, atol=0)


def test_without_validation_the_weights_of_the_last_good_epoch_return() -> None:
    module, guard = torch.nn.Linear(1, 1, bias=False), NonFiniteGuard(in_a_row=1, rate=0.5, returns=9)
    trainer: Any = SimpleNamespace(
        lightning_module=module, optimizers=[torch.optim.SGD(module.parameters(), lr=1.0)], lr_scheduler_configs=[],
        callbacks=[], world_size=1, strategy=SimpleNamespace(root_device=torch.device("cpu")), global_step=0,
        current_epoch=0, is_global_zero=False, limit_val_batches=0,
    )  # fmt: skip

    def after_epoch(weight: float, row: int = 0, batches: int = 0) -> float:
        """The weight that returns after an epoch that ends with this one, after so many bad steps in a row."""
        torch.nn.init.constant_(module.weight, weight)
        guard.row, trainer.limit_val_batches = row, batches
        guard.on_train_epoch_end(trainer, module)
        torch.nn.init.zeros_(module.weight)
        guard._good.restore(trainer)
        return module.weight.item()

    torch.nn.init.ones_(module.weight)
    guard.on_train_start(trainer, module)
    assert [after_epoch(2), after_epoch(3, row=1), after_epoch(4), after_epoch(math.nan)] == [2, 2, 4, 4]
    assert guard.returned == 1 and after_epoch(5, batches=1) == 4  # a validation keeps them where there is one


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    trainer = run(tmp_path, {}, tiny())
    path = tmp_path / "checkpoints" / "last.ckpt"
    good = path.read_bytes()
    with torch.no_grad():
        next(trainer.lightning_module.parameters())[0, 0, 0, 0] = torch.inf
    with pytest.raises(ValueError, match="a weight is no longer finite, and the last checkpoint is left as it was"):
        trainer.save_checkpoint(path)
    assert path.read_bytes() == good


@pytest.mark.parametrize("values", [[math.nan, 1], [math.inf, 1], [math.inf, -math.inf], [-math.inf, 1]])
def test_one_number_that_is_not_finite_is_found(values: list[float]) -> None:
    assert not all_finite(iter([torch.ones(2), torch.tensor(values)]))


def test_large_numbers_and_whole_ones_are_finite() -> None:
    largest = torch.full((3,), torch.finfo(torch.float32).max)
    assert all_finite(iter([largest, torch.empty(0), torch.tensor([1, 2])]))
