"""A run shows how far it is: in lines without a terminal, and by its minutes where these end it."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning.trainer.states import TrainerFn

from helpers.training import composed
from softpoint.cli.trainer import make_trainer
from softpoint.training import progress_bar as module
from softpoint.training.callbacks import Duration
from softpoint.training.progress_bar import ProgressLines, TerminalBar, epoch_text, fraction_done, progress_bar


def a_trainer(max_epochs: int | None, minutes: float | None, steps: float, done: int = 0) -> Any:
    """A trainer of these lengths after `done` steps, which chooses the lowest val/epe."""
    best = SimpleNamespace(monitor="val/epe", mode="min", best_model_score=None)
    return SimpleNamespace(
        callbacks=[Duration(max_epochs, minutes)], checkpoint_callbacks=[best], callback_metrics={}, world_size=1,
        max_epochs=-1 if minutes else max_epochs, estimated_stepping_batches=steps, global_step=done, current_epoch=3,
        sanity_checking=False, state=SimpleNamespace(fn=TrainerFn.FITTING), num_val_batches=[2], is_global_zero=True,
    )  # fmt: skip


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_is_for_terminals_that_can_redraw_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(progress_bar(), TerminalBar)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(progress_bar(), ProgressLines)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert isinstance(progress_bar(), ProgressLines)


def test_a_run_of_epochs_or_minutes_is_measured_by_these() -> None:
    assert epoch_text(a_trainer(9, None, 90)) == "epoch 4 of 9"
    assert epoch_text(a_trainer(-1, None, float("inf"))) == "epoch 4"
    assert fraction_done(a_trainer(9, None, 90, 30)) == pytest.approx(1 / 3)
    assert fraction_done(a_trainer(-1, None, float("inf"), 30)) is None
    timed = a_trainer(None, 12, float("inf"), 30)
    timed.callbacks[0].spent = 0.25
    assert epoch_text(timed) == "epoch 4, 3.0 of 12 min" and fraction_done(timed) == 0.25
    timed.estimated_stepping_batches = 40  # trainer.max_steps, which ends it earlier
    assert fraction_done(timed) == 0.75
    timed.callbacks[0].spent = 1.1
    assert fraction_done(timed) == 1


def test_lines_come_after_validations_and_minutes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    trainer, lines, batch = a_trainer(9, None, 90), ProgressLines(), {"image": torch.zeros(8, 1)}
    lines.on_train_start(trainer, None)
    for step in range(1, 11):  # 8 images in 8 s
        now[0], trainer.global_step = now[0] + 8, step
        trainer.callback_metrics["train/loss"] = torch.tensor(10.0 - step)
        lines.on_train_batch_end(trainer, None, None, batch, step - 1)
    assert capsys.readouterr().out == "epoch 4 of 9, step 8 of 90, loss 2, 1 images/s, about 11 min left\n"
    for value, best in ((5.0, 5.0), (6.0, 5.0)):
        lines.on_validation_start(trainer, None)
        now[0] += 1000  # of the validation, which is no training
        lines.on_validation_batch_end(trainer, None, None, batch, 0)
        trainer.callback_metrics["val/epe"] = torch.tensor(value)
        lines.on_validation_end(trainer, None)
        out = capsys.readouterr().out
        assert out.startswith(f"epoch 4 of 9, step 10 of 90, loss 0, val/epe {value:.4g} (best {best:.4g}), ")
        assert ("1 images/s" in out) == (value == 5)
        trainer.checkpoint_callbacks[0].best_model_score = torch.tensor(best)
    lines.disable()
    lines.on_validation_end(trainer, None)
    assert capsys.readouterr().out == ""


def test_the_bar_of_a_test_has_ended_when_its_table_is_printed(tmp_path: Path) -> None:
    bar, ended = TerminalBar(), []
    bar.progress = SimpleNamespace(stop=lambda: ended.append(True))
    bar.on_test_epoch_end(None, None)
    assert ended
    names = [*composed("train", [], tmp_path).callbacks]
    assert names.index("progress") < names.index("final_test")


@pytest.mark.parametrize("words", [["~callbacks.progress"], ["trainer.enable_progress_bar=false"]])
def test_one_setting_leaves_the_progress_out(words: list[str], tmp_path: Path) -> None:
    cfg = composed("train", ["trainer.accelerator=cpu", "logger=none", *words], tmp_path)
    trainer = make_trainer(cfg.trainer)
    assert trainer.progress_bar_callback is None
    best = trainer.checkpoint_callback
    assert Path(best.dirpath) == tmp_path / "checkpoints"  # references are followed all the same
