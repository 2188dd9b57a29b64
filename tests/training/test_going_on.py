"""A run goes on from a checkpoint that is proved, with the settings that its command changed."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from threading import get_ident
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from softpoint.inference.safe_load import read_torch_file
from softpoint.training.callbacks import EarlyStopping, ModelCheckpoint
from softpoint.training.checkpoint_io import LAST, PREVIOUS, remove_unfinished, replace_checkpoint, set_unused_aside
from softpoint.training.ending import leave
from softpoint.training.resume import Resume, find_checkpoint
from softpoint.training.schedules import constant, plateau


def checkpoint(step: int, weight: float = 1.0) -> dict[str, Any]:
    weights = {"net.a": torch.full((64,), weight)}
    return {"global_step": step, "hyper_parameters": {"seed": 0}, "state_dict": weights}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that has written two checkpoints."""
    for step in (3, 6):
        replace_checkpoint(tmp_path / "checkpoints" / LAST, checkpoint(step))
    return tmp_path


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    place = content.find(torch.full((64,), 1.0).numpy().tobytes())
    content[place + 9] ^= 1
    path.write_bytes(content)


def test_the_last_checkpoint_and_the_one_before_are_kept(run: Path) -> None:
    assert find_checkpoint(run)[1]["global_step"] == 6
    assert read_torch_file(run / "checkpoints" / PREVIOUS)["global_step"] == 3
    (run / "checkpoints" / f".12-34.{LAST}").touch()
    remove_unfinished(run / "checkpoints")
    assert {path.name for path in (run / "checkpoints").iterdir()} == {LAST, PREVIOUS}


@pytest.mark.parametrize("state", ["one file", "no links", "stray"])
def test_the_checkpoint_before_is_kept_after_a_kill_and_without_links(
    run: Path, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    last, previous = (run / "checkpoints" / name for name in (LAST, PREVIOUS))
    if state == "one file":  # a kill between the two renames
        previous.unlink()
        os.link(last, previous)
    elif state == "stray":  # a kill before both, of a process with the number and thread of this one
        os.link(last, previous.with_name(f".{os.getpid()}-{get_ident()}.{PREVIOUS}"))
    else:
        monkeypatch.setattr(os, "link", lambda *_: (run / "no such file").stat())
    for step in (7, 8):
        replace_checkpoint(last, checkpoint(step))
        before = 6 if step == 7 else 7
        assert read_torch_file(last)["global_step"] == step and read_torch_file(previous)["global_step"] == before
        assert {*last.parent.iterdir()} == {last, previous}


@pytest.mark.parametrize("fault", ["damaged", "missing", "cut", "ruined"])
def test_a_run_goes_on_from_the_checkpoint_before_a_bad_one(
    run: Path, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    last = run / "checkpoints" / LAST
    if fault == "damaged":
        flip_bit(last)
        with pytest.raises(ValueError, match="its bytes are not those written"):
            read_torch_file(last)
    elif fault == "ruined":
        torch.save(checkpoint(6, torch.nan), last)
    else:
        last.unlink() if fault == "missing" else last.write_bytes(last.read_bytes()[:500])
    path, stored = find_checkpoint(run)
    assert path.name == PREVIOUS and stored["global_step"] == 3
    assert "goes on from last-previous.ckpt, step 3, and repeats 0.0 minutes" in capsys.readouterr().out
    set_unused_aside(last, path)
    replace_checkpoint(last, checkpoint(5))
    assert find_checkpoint(run)[1]["global_step"] == 5 and read_torch_file(path)["global_step"] == 3
    flip_bit(path)
    last.unlink()
    with pytest.raises(ValueError, match=r"is damaged: .*; start a new run$"):
        find_checkpoint(run)
    best = path.with_name("best.ckpt")
    torch.save(checkpoint(4), best)
    with pytest.raises(ValueError, match=f"go on from its best epoch by softpoint resume {best}, or start a new run$"):
        find_checkpoint(run)
    assert find_checkpoint(best)[1]["global_step"] == 4


def test_a_run_that_goes_on_from_an_earlier_checkpoint_keeps_all_that_it_leaves(run: Path) -> None:
    folder = run / "checkpoints"
    last, previous, best = (folder / name for name in (LAST, PREVIOUS, "best.ckpt"))
    replace_checkpoint(best, checkpoint(4))
    set_unused_aside(last, last)
    set_unused_aside(last, None)
    assert {*folder.iterdir()} == {last, previous, best}
    set_unused_aside(last, best)
    assert find_checkpoint(run)[1]["global_step"] == 4 and not previous.exists()  # after a crash at once
    for step in (5, 7):
        replace_checkpoint(last, checkpoint(step))
        assert read_torch_file(previous)["global_step"] == {5: 4, 7: 5}[step]
    set_unused_aside(last, best)
    steps = {path.name: read_torch_file(path)["global_step"] for path in folder.iterdir()}
    first, second = {"last-unused.ckpt": 6, "last-previous-unused.ckpt": 3}, {"last-unused-2.ckpt": 7}
    assert steps == {LAST: 4, "best.ckpt": 4, **first, **second, "last-previous-unused-2.ckpt": 5}
    replace_checkpoint(best, checkpoint(8))
    assert find_checkpoint(run)[1]["global_step"] == 4


def config(**optimizer: Any) -> dict[str, Any]:
    return {"optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.1, "weight_decay": 0.01} | optimizer}


@pytest.mark.parametrize("schedule", [constant, plateau])
def test_a_changed_learning_rate_scales_the_one_that_was_reached(schedule: Any) -> None:
    weights = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    groups = [{"params": weights[:1]}, {"params": weights[1:], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.1, weight_decay=0.01)
    arguments = {} if schedule is constant else {"factor": 0.5, "patience": 1}
    scheduler = schedule(optimizer, lambda step: 0.0, **arguments)["scheduler"]
    trainer = SimpleNamespace(optimizers=[optimizer], lr_scheduler_configs=[SimpleNamespace(scheduler=scheduler)])
    stored = {"hyper_parameters": config() | {"scheduler": {"patience": 1}}, "versions": {"numpy": "1.0"}}
    changed = {"lr": 0.02, "weight_decay": 0.5, "betas": [0.8, 0.9]}  # of which the run had none, but a default
    resume = Resume(stored, config(**changed) | {"scheduler": {"patience": 7}})
    before = optimizer.state_dict()
    scheduler.patience = 7
    optimizer.param_groups[0] |= {"weight_decay": 0.5, "betas": (0.8, 0.9)}  # as made from the new config
    optimizer.param_groups[1]["betas"] = (0.8, 0.9)
    resume.on_fit_start(trainer, None)
    optimizer.load_state_dict(before)
    scheduler.patience = 1
    resume.on_train_start(trainer, None)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.02, 0.02])
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.0]
    assert [group["betas"] for group in optimizer.param_groups] == [(0.8, 0.9)] * 2
    assert schedule is constant or scheduler.patience == 7
    optimizer.step()
    if schedule is constant:
        scheduler.step()
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.02)
    assert "optimizer.lr 0.1 -> 0.02" in str(resume) and "numpy 1.0 -> " in str(resume)


def test_another_optimizer_is_refused() -> None:
    with pytest.raises(ValueError, match=r"optimizer._target_ was torch.optim.AdamW .* start a new run"):
        Resume({"hyper_parameters": config()}, config(_target_="torch.optim.SGD"))


@pytest.mark.parametrize("norm", [None, {"_target_": "softpoint.layers.GroupNorm", "width": 8}])
def test_another_normalization_is_refused(norm: Any) -> None:
    before = {"model": {"norm": {"_target_": "softpoint.layers.GroupNorm", "width": 16}}}
    with pytest.raises(ValueError, match=r"model\.norm\.\S+ was (16|softpoint.layers.GroupNorm) .* start a new run"):
        Resume({"hyper_parameters": before}, {"model": {"norm": norm}})


@pytest.mark.parametrize("part", ["optimizer", "scheduler"])
def test_a_setting_that_neither_optimizer_nor_schedule_has_is_refused(part: str) -> None:
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))])
    scheduler = plateau(optimizer, lambda step: 0.0, factor=0.5, patience=1)["scheduler"]
    trainer = SimpleNamespace(optimizers=[optimizer], lr_scheduler_configs=[SimpleNamespace(scheduler=scheduler)])
    before = config() | {"scheduler": {"patience": 1}}
    resume = Resume({"hyper_parameters": before}, before | {part: before[part] | {"lookahead": 2}})
    with pytest.raises(
        ValueError, match=rf"{part}.lookahead was none in the run so far and is 2 now, .* start a new run"
    ):
        resume.on_fit_start(trainer, None)
    with pytest.raises(ValueError, match=r"optimizer.lr was none in the run so far and is 0.1 now"):
        Resume({"hyper_parameters": {"optimizer": {}}}, {"optimizer": {"lr": 0.1}})


def test_a_moved_run_keeps_its_best_checkpoint_unless_that_is_damaged(run: Path, tmp_path: Path) -> None:
    first = ModelCheckpoint(tmp_path / "gone", monitor="val/epe")
    best = str(tmp_path / "gone" / LAST)
    first.best_model_path, first.kth_best_model_path, first.best_model_score = best, best, torch.tensor(3.0)
    first.best_k_models = {best: torch.tensor(3.0)}
    moved = ModelCheckpoint(run / "checkpoints", monitor="val/epe")
    moved.load_state_dict(first.state_dict())
    here = str(run / "checkpoints" / LAST)
    assert moved.best_model_score == 3 and moved.best_model_path == moved.kth_best_model_path == here
    assert moved.best_k_models == {here: 3.0}
    flip_bit(run / "checkpoints" / LAST)
    again = ModelCheckpoint(run / "checkpoints", monitor="val/epe")
    again.load_state_dict(moved.state_dict())
    assert again.best_model_score is None and again.best_model_path == ""


def test_a_run_that_had_stopped_does_not_go_on() -> None:
    stopped, trainer = EarlyStopping("val/epe", patience=2), SimpleNamespace(should_stop=False)
    stopped.wait_count = 2
    longer = EarlyStopping("val/epe", patience=9)
    for callback, stops in ((longer, False), (EarlyStopping("val/epe", patience=2), True)):
        callback.load_state_dict(stopped.state_dict())
        callback.on_fit_start(trainer, None)
        assert trainer.should_stop is stops


def test_usr1_asks_slurm_to_start_the_job_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "scontrol"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    for rank, asked in (("1", False), ("0", True)):
        monkeypatch.setenv("SLURM_PROCID", rank)
        with pytest.raises(SystemExit) as end:
            leave(signal.SIGUSR1)
        assert end.value.code == 128 + signal.SIGUSR1 and (tmp_path / "asked").exists() is asked
    assert (tmp_path / "asked").read_text() == "requeue 42\n" and "SLURM starts job 42 again" in capsys.readouterr().out
