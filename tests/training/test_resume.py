"""A run that is stopped and resumed ends where a run that was never stopped ends, to the last bit."""

from __future__ import annotations

import gzip
import io
import signal
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from helpers.training import ROOT, built, composed, labeled, write_labels
from softpoint.signals import SIGNALS

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*", "ignore:.*many workers.*", "ignore:.*is not empty.*", "ignore:The dirpath has changed"
)


class Diary(Callback):
    """Writes down what was drawn, at which rate, and what was measured; pulls the plug after `stop` epochs.

    It also adds noise to the gradients, as dropout and stochastic depth do.

    Or it sends this process a `sent` signal in the second step of that epoch.
    """

    def __init__(self, stop: int | None = None, sent: int | None = None) -> None:
        self.stop, self.sent, self.pages = stop, sent, []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        image = batch["image"].double().sum().item()
        self.pages.append((trainer.current_epoch, trainer.global_step, batch["index"].tolist(), image, rate))

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self.sent and trainer.current_epoch == self.stop and batch_idx == 1:
            signal.raise_signal(self.sent)

    def on_after_backward(self, trainer: pl.Trainer, pl_module: Any) -> None:
        pl_module.net.head.logits.weight.grad += torch.rand(())

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.pages.append((trainer.current_epoch, trainer.callback_metrics["val/epe"].item()))

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.current_epoch == self.stop and not self.sent:
            raise InterruptedError


def run(
    overrides: list[str], folder: Path, stop: int | None = None, sent: int | None = None
) -> tuple[list[Any], dict[str, Any]]:
    """The diary of a run, and the last checkpoint that it wrote."""
    module, data, trainer = built(cfg := composed("train", overrides, folder))
    # Before the callback that stops the run in the same hook.
    trainer.callbacks.insert(0, diary := Diary(stop, sent))
    try:
        trainer.fit(module, data, ckpt_path=cfg.resume, weights_only=True)
    except InterruptedError:
        assert stop is not None
    except SystemExit as end:
        assert end.code == 128 + (sent or 0)
    return diary.pages, torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.fixture
def differing_values(monkeypatch: pytest.MonkeyPatch) -> Callable:
    """The comparison of two checkpoints by which the trials of kills are judged."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    compare: Callable = import_module("run_differences").differing_values
    return compare


PLAIN = "~callbacks.dashboard"  # whose drawings take longer than such a run
VERSION_0_1 = Path(__file__).parents[1] / "assets" / "version_0_1.ckpt.gz"


@pytest.mark.parametrize(
    ("workers", "more", "sent"),
    [
        (0, ["augment=strong"], None),
        (1, [PLAIN, "augment=strong", "trainer.max_steps=12"], signal.SIGINT),
        (0, [PLAIN, "augment=strong", "scheduler=plateau", "scheduler.patience=0"], signal.SIGTERM),
        (0, [PLAIN, "scheduler=constant", "trainer.check_val_every_n_epoch=2"], None),
        (0, [PLAIN, "data.mode=multi", "data.boxes=keypoints", "augment=strong"], None),
        # The teacher is the average that a checkpoint holds as its weights.
        (0, [PLAIN, "semi=mean_teacher", "data.unlabeled_images.source={data}", "module.teacher.threshold=0"], None),
    ],
    ids=["main", "worker-interrupted", "plateau-terminated", "rarely-validated", "several-subjects", "mean-teacher"],
)
def test_resumed_run_equals_the_whole_one(
    tmp_path: Path, workers: int, more: list[str], sent: int | None, differing_values: Callable
) -> None:
    labels = write_labels(tmp_path / "data", missing=[(0, 1), (5, 3)])
    overrides = labeled(labels, "data.batch_size=2", f"data.num_workers={workers}", "trainer.max_epochs=3")
    overrides += [word.format(data=tmp_path / "data") for word in more]
    whole, end = run(overrides, tmp_path / "whole")
    handlers = [signal.getsignal(number) for number in SIGNALS]
    first, _ = run(overrides, tmp_path / "parts", 2, sent)
    assert [signal.getsignal(number) for number in SIGNALS] == handlers
    ckpt = f"resume={tmp_path / 'parts' / 'checkpoints' / 'last.ckpt'}"
    second, resumed = run([*overrides, ckpt], tmp_path / "parts")
    assert first + second == whole
    assert second[0][0] == 2 and resumed["epoch"] == end["epoch"] == 3
    # What a module drew when it was first imported differs between the two.
    assert [place for place in differing_values(end, resumed) if "/python/" not in place] == []


def test_a_checkpoint_of_version_0_1_is_trained_further_in_the_rest_of_its_minutes(tmp_path: Path) -> None:
    stored = torch.load(io.BytesIO(gzip.decompress(VERSION_0_1.read_bytes())), weights_only=True)
    spent = {"train": 45.0, "sanity_check": 0, "validate": 0, "test": 0, "predict": 0}
    stored["callbacks"]["TimeBudget"] = {"time_elapsed": spent}
    torch.save(stored, tmp_path / "old.ckpt")
    network = ["backbone.width=2", "decoder.channels=4", "data.unlabeled=unknown", "data.epoch_steps=1"]
    words = labeled(write_labels(tmp_path / "data"), *network, "minutes=1")
    module, data, trainer = built(composed("train", words, tmp_path / "run"))
    progress = []

    class Watch(Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
            progress.append((trainer.global_step, pl_module.progress(trainer.global_step)))
            trainer.should_stop = True

    trainer.callbacks.append(Watch())
    trainer.fit(module, data, ckpt_path=tmp_path / "old.ckpt", weights_only=True)
    assert progress[0][0] == stored["global_step"] == 1 and 0.75 <= progress[0][1] < 1


def test_a_refused_resume_changes_no_file_of_its_run(tmp_path: Path) -> None:
    overrides = labeled(write_labels(tmp_path / "data"), f"data.cache_dir={tmp_path / 'cache'}")
    folder = tmp_path / "run"
    run(overrides, folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert folder / "splits.csv" in before
    other = ["data.split_seed=7", "trainer.max_epochs=2", f"resume={folder / 'checkpoints' / 'last.ckpt'}"]
    with pytest.raises(ValueError, match="trained on another split"):
        run([*overrides, *other], folder)
    assert [path for path, content in before.items() if path.read_bytes() != content] == []
