"""The choice between the last weights of a finished run and those of its lowest validation error.

The lowest of many noisy values is of a lucky epoch where few images are validated, often one amid the schedule, before
the learning rate has fallen. The averaged weights at the end of a schedule are therefore kept, unless an earlier epoch
is better by more than chance explains.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from softpoint.evaluation.bootstrap import count_units, find_units, ratio_interval
from softpoint.training.best import Best, best_checkpoint
from softpoint.training.calibrate import read_stored
from softpoint.training.callbacks import SELECTED
from softpoint.training.checkpoint_io import replace_checkpoint
from softpoint.training.keep_last import KeepLast
from softpoint.training.module import original_points
from softpoint.training.processes import gather_objects, on_first_process
from softpoint.training.pruning import is_pruned

MONITOR = "val/epe"


class Validation(NamedTuple):
    """The errors of one validation, in original pixels."""

    step: int
    score: float  # `MONITOR`
    samples: Tensor  # int64 (N,), those of the validation split
    total: Tensor  # float64 (N,), sum of the errors of a sample's labeled points
    points: Tensor  # int64 (N,), number of these


class Selection(Callback):
    """At the end of a schedule, makes the last weights best.ckpt unless the best epoch was better beyond chance."""

    def __init__(self) -> None:
        self.best: Validation | None = None
        self.last: Validation | None = None
        self._rows: dict[int, tuple[float, int]] = {}

    def on_validation_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._rows = {}

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if _is_sought(trainer):
            points = original_points(outputs, batch)
            errors = np.linalg.norm(points.keypoints - points.truth, axis=-1)
            sums, counts = np.nansum(errors, 1).tolist(), np.isfinite(points.truth).all(-1).sum(1).tolist()
            rows = zip(batch["index"].tolist(), sums, counts, strict=True)
            self._rows |= {index: (total, count) for index, total, count in rows if count}

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        score = trainer.callback_metrics.get(MONITOR)
        if not _is_sought(trainer) or score is None:
            return
        rows = {index: row for share in gather_objects(trainer, self._rows) for index, row in share.items()}
        index = sorted(rows)
        total, count = torch.tensor([rows[i] for i in index], dtype=torch.float64).reshape(-1, 2).unbind(1)
        self.last = Validation(trainer.global_step, float(score), torch.tensor(index), total, count.long())
        if self.best is None or self.last.score < self.best.score:  # as of the callback that keeps the best checkpoint
            self.best = self.last

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Take what best.ckpt holds for the best where a run goes on for which the last weights were chosen."""
        best = best_checkpoint(trainer)
        if self.best is not None and (best is None or best.score != self.best.score):
            self.best = self.last if best is not None and self.last and self.last.score == best.score else None

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        best, last = best_checkpoint(trainer), self.last
        path = next((c.path for c in trainer.callbacks if isinstance(c, KeepLast)), None)
        if best is None or best.monitor != MONITOR or path is None or last is None or self.best is None:
            return
        ended = last.step == trainer.global_step and _is_over(trainer, pl_module) and not is_pruned(trainer)
        if not ended or last.step == self.best.step or last.samples.tolist() != self.best.samples.tolist():
            return
        unit, kind = _units(trainer, last.samples.tolist())
        low, high = lead(self.best, last, unit)
        earlier = low > 0
        if trainer.is_global_zero:
            print(_reason(self.best, last, (low, high), count_units(len(set(unit.tolist())), kind), earlier))
        if not earlier:
            on_first_process(trainer, lambda: choose_last(path, best, last))
            self._follow(trainer, last)

    def _follow(self, trainer: Any, last: Validation) -> None:
        self.best = last
        for callback in trainer.checkpoint_callbacks:
            if callback.monitor == MONITOR:
                score = torch.as_tensor(last.score).to(callback.best_model_score)
                callback.best_model_score = callback.kth_value = score
                callback.best_k_models = {callback.best_model_path: score}

    def state_dict(self) -> dict[str, Any]:
        return {name: value._asdict() for name in ("best", "last") if (value := getattr(self, name)) is not None}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, values in state_dict.items():
            setattr(self, name, Validation(**values))


def choose_last(path: Path, best: Best, last: Validation) -> None:
    """Replace the best checkpoint by the one at `path`, of the last weights, and by its score."""
    stored = read_stored(path)
    for state in stored["callbacks"].values():
        if state.get("monitor") == best.monitor and "best_k_models" in state:
            score = torch.as_tensor(last.score).to(state["best_model_score"])
            models = dict.fromkeys(state["best_k_models"], score)
            state |= {"best_model_score": score, "kth_value": score, "best_k_models": models}
    replace_checkpoint(best.path, stored | {SELECTED: "last"})


def lead(best: Validation, last: Validation, unit: Int[np.ndarray, " N"]) -> tuple[float, float]:
    """Return the 95 % interval of the mean error of `last` less that of `best`, in px, by independent units.

    >>> one, errors = torch.ones(4, dtype=torch.int64), ([1.0, 1.0, 1.0, 1.0], [2.0, 3.0, 2.0, 3.0])
    >>> best, last = (Validation(0, 0.0, one, torch.tensor(own), one) for own in errors)
    >>> [round(end, 3) for end in lead(best, last, np.arange(4))]
    [0.581, 2.419]
    """
    return ratio_interval((last.total - best.total).numpy(), last.points.numpy(), unit)


def _units(trainer: Any, index: list[int]) -> tuple[Int[np.ndarray, " N"], str]:
    """Return the independent unit of each sample, and their kind."""
    labels = getattr(trainer.datamodule.sources["val"], "labels", None)
    if labels is None:
        return np.arange(len(index)), "images"
    return find_units([labels.images[i] for i in index], [labels.groups[i] for i in index], labels.has_groups)


def _is_sought(trainer: Any) -> bool:
    return trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking and not trainer.fast_dev_run


def _is_over(trainer: Any, module: Any) -> bool:
    """Return whether the schedule of a run has come to its end."""
    try:
        return bool(module.progress(trainer.global_step) >= 1)
    except ValueError:  # a run without an end
        return False


def _reason(best: Validation, last: Validation, interval: tuple[float, float], units: str, earlier: bool) -> str:
    low, high = interval
    between = "one unit tells nothing" if np.isinf(low) else f"95 % interval {low:.2f} to {high:.2f} px, {units}"
    ends = (f"step {best.step}, val/epe {best.score:.3f} px", f"step {last.step}, {last.score:.3f} px")
    if earlier:
        return f"best.ckpt is of {ends[0]}: better than the last weights ({ends[1]}) beyond chance ({between})"
    return f"best.ckpt has the last weights ({ends[1]}): {ends[0]}, is not better beyond chance ({between})"
