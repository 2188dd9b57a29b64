"""Trained models: checkpoints read safely, prediction, and folders to share."""

from softpoint.inference.checkpoint import Checkpoint, read_checkpoint
from softpoint.inference.predictor import Predictor, load_predictor
from softpoint.inference.pretrained import push_to_hub, save_pretrained

__all__ = ["Checkpoint", "Predictor", "load_predictor", "push_to_hub", "read_checkpoint", "save_pretrained"]
