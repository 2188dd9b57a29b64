"""A run ends by its length, without improvement, or where its errors are not finite, and its end is named."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.demos.boring_classes import BoringModel

from helpers.training import built, composed, tiny
from softpoint.inference import read_checkpoint
from softpoint.signals import SIGNALS
from softpoint.training.best import best_checkpoint
from softpoint.training.ending import exit_on_signals, leave, reason_of_end, usable_best

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*many workers.*")


@pytest.mark.parametrize(
    ("words", "steps", "reason"),
    [
        (["trainer.max_epochs=2"], 4, "after all of its 2 epochs"),
        (["trainer.max_steps=1"], 1, "after trainer.max_steps=1"),
        (["trainer.max_epochs=-1", "scheduler=constant", "trainer.max_steps=3"], 3, "after trainer.max_steps=3"),
        (
            ["trainer.max_epochs=9", "optimizer.lr=1e-30", "~callbacks.ema", "callbacks.early_stopping.patience=2"],
            6,
            "after 2 validations without a better val/epe",
        ),
    ],
)
def test_the_end_of_a_run_is_named_and_its_last_weights_are_validated(
    tmp_path: Path, words: list[str], steps: int, reason: str
) -> None:
    module, data, trainer = built(composed("train", tiny(*words), tmp_path))
    trainer.fit(module, data)
    assert trainer.global_step == steps and reason_of_end(trainer) == reason
    best = usable_best(trainer)
    assert best == best_checkpoint(trainer) and best.path == tmp_path / "checkpoints" / "best.ckpt"
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == steps
    assert read_checkpoint(best.path).net.calibration.fitted


@pytest.mark.parametrize("diverged", [0, 1])
def test_a_run_that_diverges_is_an_error_that_names_its_best_epoch(tmp_path: Path, diverged: int) -> None:
    module, data, trainer = built(
        composed("train", tiny("trainer.max_epochs=5", "~callbacks.ema", "~callbacks.guard"), tmp_path)
    )
    usual = module.training_step

    def step(batch: object, batch_idx: int) -> torch.Tensor:
        return usual(batch, batch_idx) * (torch.nan if trainer.current_epoch == diverged else 1)

    module.training_step = step
    trainer.fit(module, data)
    assert trainer.current_epoch == diverged + 1 and trainer.callback_metrics["val/loss"].isinf()  # at once
    best = best_checkpoint(trainer)
    assert (best is None) == (diverged == 0)
    with pytest.raises(ValueError, match=r"the training diverged: val/epe is nan after .*lower optimizer\.lr") as error:
        usable_best(trainer)
    assert best is None or f"of an epoch before, val/epe {best.score:.3f} px" in str(error.value)


@pytest.mark.parametrize("number", SIGNALS)
def test_outside_of_the_steps_a_signal_ends_the_command_at_once(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as end, exit_on_signals():
        signal.raise_signal(number)
    assert end.value.code == 128 + number and signal.getsignal(number) == before


@pytest.mark.parametrize("hook", ["on_test_end", "teardown"])
def test_no_error_on_the_way_out_hides_a_signal(hook: str, tmp_path: Path) -> None:
    class Broken(pl.Callback):
        def on_exception(self, *_: object) -> None:
            raise RuntimeError("Please call iter(combined_loader) first.")

    setattr(Broken, hook, lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    settings = {"limit_test_batches": 1, "enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    trainer = pl.Trainer(**settings, accelerator="cpu", default_root_dir=tmp_path, callbacks=[Broken()])
    with pytest.raises(SystemExit) as end, exit_on_signals():
        trainer.test(BoringModel(), verbose=False)
    assert end.value.code == 128 + signal.SIGTERM


def test_a_signal_ends_a_block_that_swallows_its_exit_once() -> None:
    with pytest.raises(SystemExit) as end, exit_on_signals(), suppress(SystemExit):
        leave(signal.SIGINT)
    assert end.value.code == 128 + signal.SIGINT
    with pytest.raises(ValueError, match="of its own"), exit_on_signals():
        raise ValueError("of its own")
