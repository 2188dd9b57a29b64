"""Trained models at work: checkpoints read safely, and what predicts with them."""

from softpoint.inference.checkpoint import Checkpoint, read_checkpoint
from softpoint.inference.predictor import Predictor, load_predictor

__all__ = ["Checkpoint", "Predictor", "load_predictor", "read_checkpoint"]
