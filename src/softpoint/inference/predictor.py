"""Pictures of any size in, keypoints in their own pixels out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from softpoint.data.geometry import letterbox_matrix, warp
from softpoint.data.skeleton import Skeleton
from softpoint.functional import transform_covariance, transform_points
from softpoint.inference.checkpoint import read_checkpoint
from softpoint.models import KeypointNet

Image = np.ndarray | torch.Tensor


class Predictor:
    """Letterboxes images to the network's size, predicts, and answers in the images' own pixels.

    `skeleton` names the keypoints, in the order of the answers.
    """

    def __init__(self, net: KeypointNet, skeleton: Skeleton, size: tuple[int, int], device: str | torch.device) -> None:
        self.net = net.eval().to(device).to(memory_format=torch.channels_last)
        self.skeleton, self.size, self.device = skeleton, size, device

    @torch.inference_mode()
    def __call__(self, images: Image | Sequence[Image]) -> dict[str, np.ndarray]:
        """Predictions for one uint8 RGB image (H, W, 3), a batch (B, H, W, 3), or a list of any sizes.

        Returns float32 `keypoints` (K, 2) as (x, y), `confidence` (K,) and `covariance` (K, 2, 2) in
        px^2; with a leading B for a batch or a list. Raises ValueError for another shape or type.
        """
        single = isinstance(images, (np.ndarray, torch.Tensor)) and images.ndim < 4
        pictures = [_check(image) for image in (images[None] if single else images)]  # type: ignore[call-overload]
        if not pictures:
            raise ValueError("no images to predict: the list is empty")
        matrices = [letterbox_matrix(picture.shape[:2], self.size) for picture in pictures]
        batch = np.stack([warp(p, m, self.size) for p, m in zip(pictures, matrices, strict=True)])
        found = self.net(torch.from_numpy(batch).to(self.device).permute(0, 3, 1, 2))
        back = torch.from_numpy(np.linalg.inv(matrices)).float().to(self.device)
        answer = {
            "keypoints": transform_points(found["keypoints"], back),
            "confidence": found["confidence"],
            "covariance": transform_covariance(found["covariance"], found["keypoints"], back),
        }
        return {name: (value[0] if single else value).float().cpu().numpy() for name, value in answer.items()}


def load_predictor(ckpt: str | Path, device: str | torch.device = "cpu") -> Predictor:
    """A predictor from a checkpoint alone: its network is rebuilt from its own config, trusting nothing else in it.

    Raises FileNotFoundError or ValueError as `read_checkpoint` does.
    """
    checkpoint = read_checkpoint(ckpt)
    return Predictor(checkpoint.net, checkpoint.skeleton, checkpoint.size, device)


def _check(image: Image) -> np.ndarray:
    image = image.cpu().numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
    if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise ValueError(
            f"an image must be uint8 RGB of shape (H, W, 3), got {image.dtype} {image.shape};"
            " softpoint.data.images.read_image makes one from a file"
        )
    return image
