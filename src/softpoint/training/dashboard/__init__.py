"""What a training shows while it runs: curves, images and tables in TensorBoard, W&B and MLflow."""

from softpoint.training.dashboard.callback import Dashboard
from softpoint.training.dashboard.scalars import Monitor

__all__ = ["Dashboard", "Monitor"]
