"""Trained models: checkpoints read safely, prediction, and folders to share."""

from softpoint.inference.batch.stream import predict_video
from softpoint.inference.checkpoint import Checkpoint, read_checkpoint
from softpoint.inference.predictor import NetworkInput, Predictor, load_predictor
from softpoint.inference.pretrained import push_to_hub, save_pretrained

__all__ = [
    "Checkpoint", "NetworkInput", "Predictor", "load_predictor", "predict_video", "push_to_hub", "read_checkpoint",
    "save_pretrained",
]  # fmt: skip
