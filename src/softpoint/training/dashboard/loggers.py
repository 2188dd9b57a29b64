"""Lightning's loggers of W&B and MLflow, or the command that installs what they need."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from pytorch_lightning.loggers import MLFlowLogger, WandbLogger

from softpoint.extras import require

_REFUSED = re.compile(r"[^\w .-]|^\.+$", re.ASCII)  # by MLflow in a part of a name


class SpelledMLFlowLogger(MLFlowLogger):
    """Lightning's logger with names that MLflow takes, which Lightning alone would shorten, some to nothing."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        super().log_metrics({spelled(name): value for name, value in metrics.items()}, step)


def spelled(name: str) -> str:
    """Return a name in the characters that MLflow allows; others are spelled by their code points.

    >>> spelled("val/pck@0.1"), spelled("lr-AdamW/rest, not decayed"), spelled("val_epe/耳")
    ('val/pck at 0.1', 'lr-AdamW/rest not decayed', 'val_epe/u8033')
    """
    parts = name.replace("@", " at ").replace(",", "").split("/")
    return "/".join(_REFUSED.sub(lambda found: "".join(f"u{ord(c):04x}" for c in found[0]), p) or "_" for p in parts)


def wandb_logger(save_dir: str, project: str, offline: bool) -> WandbLogger:
    """Return a logger to Weights & Biases; ImportError without its library."""
    require("wandb", "wandb", "logger=wandb")
    return WandbLogger(save_dir=save_dir, project=project, offline=offline)


def mlflow_logger(save_dir: str, experiment_name: str, tracking_uri: str | None) -> MLFlowLogger:
    """Return a logger to an MLflow server, or into a database in `save_dir`; ImportError without its library."""
    require("mlflow", "mlflow", "logger=mlflow")
    if tracking_uri is not None:
        return SpelledMLFlowLogger(experiment_name, tracking_uri=tracking_uri)
    folder = Path(save_dir).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    artifacts = (folder / "artifacts").as_uri()
    uri = f"sqlite:///{folder}/mlflow.db"
    return SpelledMLFlowLogger(experiment_name, tracking_uri=uri, artifact_location=artifacts)
