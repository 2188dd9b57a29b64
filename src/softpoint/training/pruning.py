"""Trainings of a sweep by Optuna that end when they are worse than the others at the same epoch."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from pytorch_lightning.callbacks import Callback
from pytorch_lightning.trainer.states import TrainerFn

from softpoint.extras import require

# Names the study and the trial of a training in its environment, also in that of further processes.
TRIAL = "SOFTPOINT_TRIAL"


class Pruning(Callback):
    """In a sweep by Optuna, reports `monitor` of each epoch, and ends a run that its study prunes; else nothing."""

    def __init__(self, monitor: str) -> None:
        self.monitor, self.pruned = monitor, False

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if TRIAL not in os.environ or trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        if trainer.is_global_zero:
            self.pruned = _report(float(trainer.callback_metrics[self.monitor]), trainer.current_epoch)
        self.pruned = trainer.strategy.broadcast(self.pruned)
        trainer.should_stop |= self.pruned


def is_pruned(trainer: Any) -> bool:
    """Return whether a training was ended by its study, which is no reason to test it."""
    return any(isinstance(callback, Pruning) and callback.pruned for callback in trainer.callbacks)


def was_pruned() -> bool:
    """Return whether the study of this process' training has ended it, which another process may have carried out."""
    return TRIAL in os.environ and bool(_trial().user_attrs.get("pruned"))


def _trial() -> Any:
    optuna, address = require("optuna", "sweep", "a sweep by Optuna"), json.loads(os.environ[TRIAL])
    pruner = _built(optuna.pruners, address["pruner"])
    study = optuna.load_study(study_name=address["study_name"], storage=address["storage"], pruner=pruner)
    return optuna.trial.Trial(study, address["trial"])


def _built(pruners: Any, config: Mapping[str, Any]) -> Any:
    """Return the pruner of Optuna that a config names, such as one that wraps another."""
    kind = getattr(pruners, config["_target_"].rpartition(".")[2])
    values = {key: _built(pruners, value) if isinstance(value, dict) else value for key, value in config.items()}
    return kind(**{key: value for key, value in values.items() if key != "_target_"})


def _report(value: float, epoch: int) -> bool:
    trial = _trial()
    if epoch not in trial.study.trials[trial.number].intermediate_values:
        trial.report(value, epoch)
    pruned = bool(trial.should_prune())
    if pruned:
        trial.set_user_attr("pruned", True)
    return pruned
