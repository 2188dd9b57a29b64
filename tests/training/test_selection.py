"""The last weights of a finished run become best.ckpt, unless an earlier epoch is better beyond chance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from helpers.training import built, composed, tiny
from softpoint.training import selection
from softpoint.training.best import best_checkpoint
from softpoint.training.callbacks import SELECTED
from softpoint.training.selection import Selection, Validation, lead

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*many workers.*", "ignore:Checkpoint directory")


def validation(errors: np.ndarray, count: int = 1) -> Validation:
    counts = torch.full((len(errors),), count)
    return Validation(0, float(errors.mean()), torch.arange(len(errors)), torch.from_numpy(errors) * counts, counts)


def test_the_interval_is_that_of_a_paired_test() -> None:
    rng = np.random.default_rng(0)
    best, last = rng.normal(5, 1, 12), rng.normal(6, 1, 12)
    expected = stats.ttest_rel(last, best).confidence_interval(0.95)
    for points in (1, 7):
        np.testing.assert_allclose(lead(validation(best, points), validation(last, points), np.arange(12)), expected)
    by_group = (last - best).reshape(4, 3).mean(1)
    expected = stats.ttest_1samp(by_group, 0).confidence_interval(0.95)
    np.testing.assert_allclose(lead(validation(best), validation(last), np.repeat(np.arange(4), 3)), expected)


def test_images_of_one_group_tell_little() -> None:
    """The error of a group is mostly common to its images, which as single images would seem sure of a difference."""
    rng = np.random.default_rng(1)
    unit = np.repeat(np.arange(4), 25)
    sure = {"groups": 0, "images": 0}
    for _ in range(200):
        difference = rng.normal(0, 1, 4)[unit] + rng.normal(0, 0.3, 100)
        best, last = np.zeros(100), difference
        sure["groups"] += lead(validation(best), validation(last), unit)[0] > 0
        sure["images"] += lead(validation(best), validation(last), np.arange(100))[0] > 0
    assert sure["groups"] <= 12 and sure["images"] > 60  # of 200, where 5 are expected


def trained(folder: Path, *more: str, ckpt: Path | None = None) -> tuple[Any, Selection]:
    words = tiny(
        "trainer.max_epochs=3",
        "optimizer.lr=1e-9",
        "data.val=6",
        "~callbacks.calibrate",
        "trainer.log_every_n_steps=0",
        *more,
    )
    module, data, trainer = built(composed("train", words, folder))
    trainer.fit(module, data, ckpt_path=ckpt, weights_only=True)
    return trainer, next(callback for callback in trainer.callbacks if isinstance(callback, Selection))


def stored(folder: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return content


def test_the_last_weights_are_chosen_and_a_longer_run_compares_with_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([3.0, 1.0, 2.0, 1.5, 4.0])
    monkeypatch.setattr(
        "softpoint.metrics.point_means.PointMeans.compute", lambda self: {"epe": torch.tensor(next(scores))}
    )
    monkeypatch.setattr(selection, "lead", lambda best, last, unit: (-1.0, 1.0))
    trainer, chosen = trained(tmp_path)
    best, last = stored(tmp_path, "best"), stored(tmp_path, "last")
    assert best[SELECTED] == "last" and best["global_step"] == last["global_step"] == trainer.global_step
    assert all(torch.equal(value, last["state_dict"][key]) for key, value in best["state_dict"].items())
    assert str(best_checkpoint(trainer)) == "val/epe 2.000 px" and chosen.best is chosen.last
    assert "best.ckpt has the last weights (step 6, 2.000 px): step 4, val/epe 1.000 px, is not better" in (
        capsys.readouterr().out
    )
    monkeypatch.setattr(selection, "lead", lambda best, last, unit: (0.5, 1.0))
    trainer, again = trained(tmp_path, "trainer.max_epochs=5", ckpt=tmp_path / "checkpoints" / "last.ckpt")
    # 1.5 is better than the 2.0 that best.ckpt held, though not than the 1.0 that is gone.
    assert again.best is not None and again.best.score == 1.5 and again.best.step == 8
    assert stored(tmp_path, "best")["global_step"] == 8 and SELECTED not in stored(tmp_path, "best")
    assert "beyond chance" in capsys.readouterr().out and str(best_checkpoint(trainer)) == "val/epe 1.500 px"


def test_a_schedule_that_is_not_over_keeps_the_best_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([1.0, 3.0, 2.0])
    monkeypatch.setattr(
        "softpoint.metrics.point_means.PointMeans.compute", lambda self: {"epe": torch.tensor(next(scores))}
    )
    trained(tmp_path, "trainer.max_epochs=9", "callbacks.early_stopping.patience=2")
    assert SELECTED not in stored(tmp_path, "best") and stored(tmp_path, "best")["global_step"] == 2


def test_the_errors_of_a_validation_are_kept(tmp_path: Path) -> None:
    trainer, chosen = trained(tmp_path, "trainer.max_epochs=1")
    assert chosen.last is not None and chosen.last.samples.tolist() == list(range(6))
    mean = chosen.last.total.sum() / chosen.last.points.sum()
    assert float(mean) == pytest.approx(float(trainer.callback_metrics["val/epe"]), rel=1e-6)
    state = Selection()
    state.load_state_dict(chosen.state_dict())
    assert state.last is not None and torch.equal(state.last.total, chosen.last.total)
