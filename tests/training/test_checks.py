"""Settings that would train, validate or test nothing, or keep the worst epoch, are refused before a step."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

from helpers.training import built, composed
from softpoint.models.heads import ChannelSoftmaxHead, RegressionHead, SimCCHead, SoftArgmaxHead
from softpoint.training import Calibrate
from softpoint.training.callbacks import Duration
from softpoint.training.checks import (
    check_accelerator,
    check_batches,
    check_heatmap_sets,
    check_trainer,
    leave_out_validation,
)
from softpoint.training.pruning import TRIAL

QUIET = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False)


def trainer(*callbacks: Any, **settings: Any) -> Trainer:
    usual = {"accelerator": "cpu", "devices": 1, "max_epochs": 2}
    return Trainer(**usual | QUIET | settings, callbacks=[ModelCheckpoint(monitor="val/epe"), *callbacks])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_epochs": 0}, "trainer.max_epochs=0: give a whole number from 1 on"),
        ({"max_epochs": 1.5}, "trainer.max_epochs=1.5: give a whole"),
        ({"max_steps": 0}, "trainer.max_steps=0: give a whole"),
        ({"accumulate_grad_batches": 0}, "trainer.accumulate_grad_batches=0: give a whole"),
        ({"check_val_every_n_epoch": 0}, "trainer.check_val_every_n_epoch=0: give a whole"),
        ({"check_val_every_n_epoch": 3}, "trainer.check_val_every_n_epoch=3 is more than the 2 epochs"),
        ({"val_check_interval": 0}, "trainer.val_check_interval=0: give a number of batches"),
        ({"gradient_clip_val": -1}, "trainer.gradient_clip_val=-1: give a positive number, or null"),
        ({"limit_train_batches": 0}, "trainer.limit_train_batches=0 leaves no train batch"),
        ({"limit_val_batches": 0.0}, "trainer.limit_val_batches=0 leaves no val batch"),
        ({"devices": 100_000}, "trainer.devices=100000 would start as many processes on "),
    ],
)
def test_a_trainer_that_leaves_out_a_part_of_a_run_is_refused(settings: dict[str, Any], message: str) -> None:
    check_trainer(trainer())
    with pytest.raises(ValueError, match=message):
        check_trainer(trainer(**settings))


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (EarlyStopping("val/epe", patience=0), "patience of EarlyStopping=0: give a whole number from 1 on"),
        (EarlyStopping("val/ep"), "monitor of EarlyStopping='val/ep': did you mean 'val/epe'?"),
        (EarlyStopping("epe"), "monitor of EarlyStopping='epe'"),
        (ModelCheckpoint(monitor="val/median"), "monitor of ModelCheckpoint='val/median'"),
        (ModelCheckpoint(monitor="val/auc"), "ModelCheckpoint of val/auc must have mode=max"),
        (EarlyStopping("val/loss", mode="max"), "EarlyStopping of val/loss must have mode=min"),
    ],
)
def test_a_metric_that_is_not_logged_or_read_the_wrong_way_round_is_refused(callback: Any, message: str) -> None:
    for sound in (ModelCheckpoint(monitor="val/auc", mode="max"), ModelCheckpoint(), EarlyStopping("train/loss")):
        check_trainer(trainer(sound))
    with pytest.raises(ValueError, match=message):
        check_trainer(trainer(callback))


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({}, None),
        ({"limit_test_batches": 0.2}, "trainer.limit_test_batches=0.2 of 4 batches is less than one"),
        ({"limit_test_batches": 0.25}, None),
        ({"val_check_interval": 21}, "trainer.val_check_interval=21 is more than the 20 batches of the run"),
        ({"val_check_interval": 20}, None),
        ({"val_check_interval": 11, "limit_train_batches": 5}, "more than the 10 batches"),
        ({"val_check_interval": 21, "max_steps": 3}, None),
        ({"val_check_interval": 21, "callbacks": [Duration(None, 1.0)]}, None),
        ({"val_check_interval": 31, "max_epochs": None}, "more than the 30 batches"),
    ],
)
def test_a_run_without_a_validation_or_a_test_is_refused(settings: dict[str, Any], refused: str | None) -> None:
    data = SimpleNamespace(batches={"train": 10, "val": 4, "test": 4}.get, default_epochs=3)
    every = {"check_val_every_n_epoch": None} if "val_check_interval" in settings else {}
    callbacks = settings.pop("callbacks", [])
    tried = trainer(*callbacks, **settings, **every)
    if refused is None:
        check_batches(tried, data)
    else:
        with pytest.raises(ValueError, match=refused):
            check_batches(tried, data)


def test_a_device_that_torch_does_not_see_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(
        ValueError, match=r"^trainer.accelerator=mps: torch .* sees no such device .*leave out trainer=mps"
    ):
        check_accelerator("mps")
    check_accelerator("auto")


def test_a_run_that_keeps_no_best_epoch_is_refused() -> None:
    without = Trainer(accelerator="cpu", devices=1, max_epochs=2, callbacks=[ModelCheckpoint()], **QUIET)
    with pytest.raises(ValueError, match="no callback would save the best epoch"):
        check_trainer(without)
    check_trainer(Trainer(accelerator="cpu", fast_dev_run=True, **QUIET))


@pytest.mark.parametrize(
    "settings", [{}, {"check_val_every_n_epoch": 2}, {"check_val_every_n_epoch": None, "val_check_interval": 5}]
)
def test_without_validation_each_epoch_is_kept_whenever_validations_would_come(settings: dict[str, Any]) -> None:
    tried = trainer(EarlyStopping("val/epe"), **settings)
    leave_out_validation(tried)
    (kept,) = tried.checkpoint_callbacks
    assert isinstance(kept, ModelCheckpoint) and kept._should_save_on_train_epoch_end(tried)
    assert not any(isinstance(callback, EarlyStopping) for callback in tried.callbacks)  # type: ignore[attr-defined]


def test_a_study_that_chooses_by_validation_is_refused_without_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRIAL, "{}")
    with pytest.raises(ValueError, match=r"chooses by val/epe, which a training without .*give data.val=0.2"):
        leave_out_validation(trainer())


def test_minutes_are_a_number_and_no_truth_value() -> None:
    with pytest.raises(ValueError, match="minutes must be a positive number, got True"):
        Duration(None, True)


def test_missing_labels_are_named_before_a_network_asks_for_its_weights(tmp_path: Path) -> None:
    words = ["data=custom", f"data.labels={tmp_path}/no.csv", "backbone.weights=no.safetensors"]
    with pytest.raises(FileNotFoundError, match=r"labels .*no\.csv do not exist"):
        built(composed("train", words, tmp_path))


@pytest.mark.parametrize("head", [SoftArgmaxHead, ChannelSoftmaxHead, SimCCHead, RegressionHead])
def test_heatmap_sets_take_a_head_that_trains_its_heatmaps(head: Any) -> None:
    wanted, built_head = trainer(Calibrate(0.05, 10, heatmap_sets=True)), head(4, 2, 4)
    check_heatmap_sets(trainer(Calibrate(0.05, 10)), built_head)
    if head in (SoftArgmaxHead, ChannelSoftmaxHead):
        check_heatmap_sets(wanted, built_head)
        return
    with pytest.raises(
        ValueError, match=f"calibrate.heatmap_sets=true: {head.__name__} trains no heatmap.*head=soft_argmax"
    ):
        check_heatmap_sets(wanted, built_head)
