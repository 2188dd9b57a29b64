"""Lightning's loggers of W&B and MLflow, or the command that installs what they need."""

from __future__ import annotations

from pathlib import Path

from pytorch_lightning.loggers import MLFlowLogger, WandbLogger

from softpoint.extras import require


def wandb_logger(save_dir: str, project: str, offline: bool) -> WandbLogger:
    """Return a logger to Weights & Biases; ImportError without its library."""
    require("wandb", "wandb", "logger=wandb")
    return WandbLogger(save_dir=save_dir, project=project, offline=offline)


def mlflow_logger(save_dir: str, experiment_name: str, tracking_uri: str | None) -> MLFlowLogger:
    """Return a logger to an MLflow server, or into a database in `save_dir`; ImportError without its library."""
    require("mlflow", "mlflow", "logger=mlflow")
    if tracking_uri is not None:
        return MLFlowLogger(experiment_name, tracking_uri=tracking_uri)
    folder = Path(save_dir).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    artifacts = (folder / "artifacts").as_uri()
    return MLFlowLogger(experiment_name, tracking_uri=f"sqlite:///{folder}/mlflow.db", artifact_location=artifacts)
