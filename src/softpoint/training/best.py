"""The best checkpoint of a run, and the value by which it was chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from softpoint.inference.safe_load import read_torch_file

# What the best checkpoint of a run without validation follows: its last weights.
STEP = "step"


class Best(NamedTuple):
    """The best checkpoint of a run, and the value by which it was chosen.

    >>> print(Best(Path("best.ckpt"), 3.21, "val/epe"), Best(Path("best.ckpt"), 0.5, "val/loss"), sep="; ")
    val/epe 3.210 px; val/loss 0.500
    >>> print(Best(Path("best.ckpt"), None, STEP))
    the last weights
    """

    path: Path
    score: float | None  # None without validation, which keeps the last weights
    monitor: str

    def __str__(self) -> str:
        if self.score is None:
            return "the last weights"
        return f"{self.monitor} {self.score:.3f}{' px' * (self.monitor == 'val/epe')}"


def best_checkpoint(trainer: Any) -> Best | None:
    """Return the best checkpoint that this run wrote; None where it wrote none of a finite score."""
    for callback in trainer.checkpoint_callbacks:
        if callback.monitor is not None and (score := callback.best_model_score) is not None and score.isfinite():
            value = None if callback.monitor == STEP else float(score)
            return Best(Path(callback.best_model_path), value, callback.monitor)
    return None


def stored_score(path: Path) -> float | None:
    """Return the score of a best checkpoint, which another process may have written; None of one without validation."""
    states = read_torch_file(path)["callbacks"].values()
    monitored = (state for state in states if state.get("monitor"))
    return next((float(state["best_model_score"]) for state in monitored if state["monitor"] != STEP), None)
