"""Images of any size in, keypoints in their own pixels out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from softpoint.data.crops import input_matrix
from softpoint.data.geometry import warp
from softpoint.functional import transform_covariance, transform_points
from softpoint.images.decode import MAX_PIXELS
from softpoint.images.video_play import Playback
from softpoint.inference.checkpoint import Checkpoint, read_checkpoint
from softpoint.inference.flip_tta import FlipAverage, flip_average
from softpoint.labels.skeleton import Skeleton
from softpoint.models import KeypointNet

Image = np.ndarray | torch.Tensor


class Predictor:
    """Letterboxes images, or crops of them, to the network's size, predicts, and answers in the images' own pixels.

    `skeleton` names the keypoints, in the order of the answers. `crops` is how the network's training cropped (see
    `Checkpoint`): a box is shown its `padding` times as large.
    """

    def __init__(
        self,
        net: KeypointNet | FlipAverage,
        skeleton: Skeleton,
        size: tuple[int, int],
        device: str | torch.device,
        crops: dict[str, Any] | None = None,
    ) -> None:
        self.net = net.eval().to(device).to(memory_format=torch.channels_last)
        self.skeleton, self.size, self.device, self.crops = skeleton, size, device, crops

    @property
    def tells_visibility(self) -> bool:
        """Whether answers have `visibility`."""
        return getattr(self.net.head, "visibility", None) is not None

    def __call__(
        self, images: Image | Sequence[Image], boxes: Sequence[Any] | np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Predictions for one uint8 RGB image (H, W, 3), a batch (B, H, W, 3), or a list of any sizes.

        A model trained on crops wants one box an image: (left, top, right, bottom) in its pixels, (4,) or
        (B, 4); for one image (N, 4) is N subjects in it. Without boxes it looks at whole images.
        Returns float32 `keypoints` (K, 2) as (x, y), `confidence` (K,) and `covariance` (K, 2, 2) in px^2,
        and `visibility` (K, 3), the probabilities of absent, hidden and visible, where the network learned it;
        with a leading B or N for more than one. Raises ValueError for another shape or type.
        """
        single = isinstance(images, (np.ndarray, torch.Tensor)) and images.ndim < 4
        checked = [_check(image) for image in (images[None] if single else images)]  # type: ignore[call-overload]
        if not checked:
            raise ValueError("no images to predict: the list is empty")
        regions: Sequence[np.ndarray | None] = [None] * len(checked)
        if boxes is not None:
            given = np.asarray(boxes, dtype=float)
            regions = list(_check_boxes(given, len(checked), single))
            if single:
                single, checked = given.ndim == 1, checked * len(regions)
        seen = [self.look(one, box) for one, box in zip(checked, regions, strict=True)]
        answer = self.answer(np.stack([view for view, _ in seen]), np.stack([matrix for _, matrix in seen]))
        return {name: value[0] if single else value for name, value in answer.items()}

    def look(self, image: np.ndarray, box: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """What the network sees of an image (H, W, 3): float32 levels of its input's size; and the matrix (3, 3) to it.

        Not rounded to whole levels: an export would decide over halves otherwise, and a network may hear them.
        """
        padding = self.crops["padding"] if self.crops else 1.0
        matrix = input_matrix((image.shape[0], image.shape[1]), box, self.size, padding)
        return warp(image, matrix, self.size, rounded=False), matrix

    @torch.inference_mode()
    def answer(self, views: np.ndarray, matrices: np.ndarray) -> dict[str, np.ndarray]:
        """The answers for views (B, h, w, 3) that `look` made with these matrices (B, 3, 3)."""
        found = self.net(torch.from_numpy(views).to(self.device).permute(0, 3, 1, 2) / 255)
        back = torch.from_numpy(np.linalg.inv(matrices)).float().to(self.device)
        answer = {
            "keypoints": transform_points(found["keypoints"], back),
            "confidence": found["confidence"],
            "covariance": transform_covariance(found["covariance"], found["keypoints"], back),
        }
        if "visibility" in found:
            answer["visibility"] = found["visibility"].float().softmax(-1)
        return {name: value.float().cpu().numpy() for name, value in answer.items()}

    def nothing(self) -> dict[str, np.ndarray]:
        """The answer for an image that cannot be read: NaN everywhere, in the shapes of one image's answer."""
        K = len(self.skeleton)
        shapes = {"keypoints": (K, 2), "confidence": (K,), "covariance": (K, 2, 2)}
        shapes |= {"visibility": (K, 3)} if self.tells_visibility else {}
        return {name: np.full(shape, np.nan, np.float32) for name, shape in shapes.items()}

    def predict_video(
        self, path: str | Path, batch_size: int = 16, max_pixels: int = MAX_PIXELS
    ) -> Iterator[dict[str, np.ndarray]]:
        """The answer for each frame of a video, in order, as for one image, and its `time` () in seconds.

        The k-th is that of frame k; for one that cannot be decoded all but the time is NaN. Frames are decoded while
        the network runs, at most 3 batches ahead, so memory does not grow with the video. A model trained on crops
        looks at whole frames. Needs PyAV; raises ValueError for a file that is no video.
        """
        from softpoint.inference.batch.stream import Shot, answered

        shown = Playback(Path(path), max_pixels).play()
        shots = (Shot(one.number, str(one.number), one.time, one.pixels, None, one.error) for one in shown)
        for shot, answers in answered(self, shots, batch_size):
            yield {**(answers[0] if answers else self.nothing()), "time": np.array(shot.time)}


def check_device(device: str | torch.device) -> None:
    """ValueError for a device that torch does not know or see."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device={device} cannot be used here; choose cpu, or cuda where torch sees a GPU") from error


def load_predictor(
    ckpt: str | Path | Checkpoint, device: str | torch.device = "cpu", tta: str | None = None
) -> Predictor:
    """A predictor from a checkpoint alone: its network is rebuilt from its own config, trusting nothing else in it.

    A `Checkpoint` that has been read lends its network. `tta` "flip" averages over each image and its mirror (see
    `flip_average`).
    Raises FileNotFoundError or ValueError as `read_checkpoint` does, and ValueError for another `tta`.
    """
    check_device(device)
    checkpoint = ckpt if isinstance(ckpt, Checkpoint) else read_checkpoint(ckpt)
    if tta not in (None, "flip"):
        raise ValueError(f"tta={tta!r} is unknown; choose flip, or null")
    net = flip_average(checkpoint.net, checkpoint.skeleton) if tta else checkpoint.net
    return Predictor(net, checkpoint.skeleton, checkpoint.size, device, checkpoint.crops)


def _check(image: Image) -> np.ndarray:
    image = image.cpu().numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
    if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise ValueError(
            f"an image must be uint8 RGB of shape (H, W, 3), got {image.dtype} {image.shape};"
            " softpoint.images.decode.read_image makes one from a file"
        )
    return image


def _check_boxes(boxes: np.ndarray, count: int, single: bool) -> np.ndarray:
    """The boxes as (N, 4); ValueError unless each is one with an area, and there is one an image."""
    rows = np.atleast_2d(boxes)
    if rows.ndim != 2 or rows.shape[1] != 4 or not (single or len(rows) == count) or not len(rows):
        raise ValueError(f"boxes have shape {boxes.shape}; {count} images need ({count}, 4), one image (4,) or (N, 4)")
    if wrong := [i for i, box in enumerate(rows) if not (np.isfinite(box).all() and (box[2:] > box[:2]).all())]:
        raise ValueError(
            f"box {wrong[0]} is {rows[wrong[0]].tolist()}; it must be (left, top, right, bottom) with an area"
        )
    return rows
