"""The one path from images of any size to keypoints in their own pixels."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from softpoint.data.crops import input_matrix
from softpoint.data.dataset import unrounded_input
from softpoint.functional import (
    heatmap_set,
    pixel_length,
    spatial_softmax,
    transform_covariance,
    transform_points,
)
from softpoint.images.channels import fitted
from softpoint.inference.checkpoint import Checkpoint, read_checkpoint
from softpoint.inference.flip_tta import FlipAverage, choose_tta, flip_average, measured_change
from softpoint.inference.heatmap_sets import SetPart, set_parts
from softpoint.inference.regions import SETS, bounds_at
from softpoint.labels.skeleton import Skeleton
from softpoint.layers.calibration import ConfidenceParts, evidence
from softpoint.memory import keep_freed_memory
from softpoint.models import Network
from softpoint.runtime import check_inputs
from softpoint.types import Prediction

Image = np.ndarray | torch.Tensor

# Images that the network sees at a time where a `Predictor` is called with several, and by default in an evaluation.
BATCH_SIZE = 16

_log = logging.getLogger(__name__)


class NetworkInput(NamedTuple):
    """A network's input, float32 (h, w, C) in [0, 1], and the matrix (3, 3) from its pixels to the image's."""

    image: np.ndarray
    matrix: np.ndarray


class Predictor:
    """Predicts keypoints in images of any size: `preprocess`, `forward`, `postprocess`.

    `predict`, `evaluate`, the final test of a training run and the comparison of an export all run these three steps,
    so that what is measured is what is predicted.

    Args:
        net: predicts keypoints in the pixels of its input.
        skeleton: names of the keypoints, in the order of the predictions.
        size: (height, width) of the network's input.
        device: of the network.
        crops: `padding` by which the network's training enlarged the box of a subject; None for whole images.
        explain: predictions also have the `ConfidenceParts`, with lengths in original pixels. Raises ValueError for a
            network that was not calibrated.
        tails: (K,) of heatmap sets, which predictions then have, too; NaN for a keypoint without one.
    """

    def __init__(
        self,
        net: Network | FlipAverage,
        skeleton: Skeleton,
        size: tuple[int, int],
        device: str | torch.device,
        crops: Mapping[str, Any] | None = None,
        explain: bool = False,
        tails: np.ndarray | None = None,
    ) -> None:
        if explain and not net.calibration.fitted:
            raise ValueError(
                "explain=true: this network was not calibrated, and the confidence that a head reads from its heatmap"
                " has no parts; use the best.ckpt of a training with callbacks.calibrate"
            )
        keep_freed_memory()
        self.net = net.eval().to(device).to(memory_format=torch.channels_last)
        self.skeleton, self.size, self.device, self.crops = skeleton, size, torch.device(device), crops
        self.explain = explain
        self.tails = None if tails is None else torch.from_numpy(tails)
        self.channels: int = getattr(net, "in_channels", 3)  # of every image

    def __repr__(self) -> str:
        height, width = self.size
        crops = ", crops" if self.crops else ""
        return f"Predictor({len(self.skeleton)} keypoints, input {height}x{width}{crops}, {self.device})"

    @property
    def predicts_visibility(self) -> bool:
        """True if predictions have `visibility`."""
        return getattr(self.net.head, "visibility", None) is not None

    @property
    def map_size(self) -> tuple[int, int] | None:
        """(height, width) of the heatmap sets of predictions in cells; None without any."""
        if self.tails is None:
            return None
        stride: int = self.net.head.stride
        return -(-self.size[0] // stride), -(-self.size[1] // stride)

    def __call__(
        self, images: Image | Sequence[Image], boxes: Sequence[Any] | np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Return predictions for one uint8 RGB image (H, W, 3), a batch (B, H, W, 3), or a list of images of any sizes.

        A model of other channels takes images (H, W, C) of those; one of gray images also RGB, and gray ones (H, W).
        A model trained on crops needs one box per image: (left, top, right, bottom) in its pixels, (4,) or
        (B, 4); for one image, (N, 4) are N subjects in it. Without boxes it sees whole images.
        The result has float32 `keypoints` (K, 2) as (x, y), `confidence` (K,), `covariance` (K, 2, 2) in px^2 and,
        where the network has learned it, `visibility` (K, 3), the probabilities of absent, occluded and visible; with
        heatmap sets their cells, `sets` (K, h, w) bool, whose `parts_in` are polygons in an image;
        with a leading B or N for more than one. Raises ValueError for images or boxes of another shape or type.

        Several images are predicted in batches of `BATCH_SIZE`, with the same bits for an image as any other prediction
        in batches of that size; one alone is predicted alone, which may differ by rounding.
        """
        if isinstance(images, Tensor):
            images = images.cpu().numpy()
        elif not isinstance(images, np.ndarray):
            images = [image.cpu().numpy() if isinstance(image, Tensor) else image for image in images]
        checked, regions, single = check_inputs(images, boxes, self.channels)
        pairs = zip(checked, [None] * len(checked) if regions is None else regions, strict=True)
        inputs = (self.preprocess(image, box) for image, box in pairs)
        predictions = self.predict(inputs, 1 if len(checked) == 1 else BATCH_SIZE)
        if single:
            return next(predictions)
        stacked = list(predictions)
        return {name: np.stack([prediction[name] for prediction in stacked]) for name in stacked[0]}

    def preprocess(self, image: np.ndarray, box: np.ndarray | None = None) -> NetworkInput:
        """Return the network's input for an image uint8 (H, W, C), or for a box (4,) in it, and the matrix back.

        An RGB image becomes gray for a network of such. Raises ValueError for other channels than the network's.
        """
        matrix = self._input_matrix((image.shape[0], image.shape[1]), box)
        pixels = network_pixels(image, matrix, self.size, self.channels)
        return NetworkInput(pixels, np.linalg.inv(matrix).astype(np.float32))

    def _input_matrix(self, size: tuple[int, int], box: np.ndarray | None) -> np.ndarray:
        return input_matrix(size, box, self.size, self.crops["padding"] if self.crops else 1.0)

    @torch.inference_mode()
    def forward(self, images: Float[Tensor, "B C H W"], batch_size: int | None = None) -> Prediction:
        """Return the network's prediction, in pixels of its input and in float32.

        With a `batch_size` the network sees that many images, blank ones after these: the same shape each time gives
        the same bits for an image in every batch.
        """
        count = len(images)
        images = images.to(self.device)
        if batch_size is not None and count < batch_size:
            blank = images.new_zeros(batch_size - count, *images.shape[1:])
            images = torch.cat([images, blank]).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, enabled=False):
            prediction = self.net(images)
        return cast(Prediction, {name: value[:count] for name, value in prediction.items()})

    @torch.inference_mode()
    def postprocess(self, prediction: Prediction, matrix: Float[Tensor, "B 3 3"]) -> dict[str, np.ndarray]:
        """Return a prediction in original pixels, as float32 arrays; `matrix` maps the input's pixels to those."""
        matrix = matrix.to(self.device)
        result = {
            "keypoints": transform_points(prediction["keypoints"], matrix),
            "confidence": prediction["confidence"],
            "covariance": transform_covariance(prediction["covariance"], prediction["keypoints"], matrix),
        }
        if "visibility" in prediction:
            result["visibility"] = prediction["visibility"].float().softmax(-1)
        if self.explain:
            parts = self.net.calibration.parts(evidence(prediction, self.net.head.stride))._asdict()
            pixel = pixel_length(matrix)[:, None]
            result |= parts | {name: parts[name] * pixel for name in ("radius", "spread", "error_scale")}
        arrays = {name: value.float().cpu().numpy() for name, value in result.items()}
        if self.tails is not None:
            heatmap = spatial_softmax(prediction["logits"].float())
            arrays["sets"] = heatmap_set(heatmap, self.tails).cpu().numpy()
        return arrays

    def parts_in(self, sets: np.ndarray, size: tuple[int, int], box: np.ndarray | None = None) -> list[list[SetPart]]:
        """Return the parts of heatmap sets (K, h, w) of an image of `size` (H, W), or of a box in it, in its pixels."""
        matrix = np.linalg.inv(self._input_matrix(size, box))
        return [set_parts(cells, matrix, self.net.head.stride) for cells in sets]

    def predict(self, inputs: Iterable[NetworkInput], batch_size: int) -> Iterator[dict[str, np.ndarray]]:
        """Yield the prediction for each of the inputs of `preprocess`, which are taken `batch_size` at a time."""
        for batch, prediction in self.batches(inputs, batch_size):
            yield from self.postprocess_each(batch, prediction)

    def batches(
        self, inputs: Iterable[NetworkInput], batch_size: int
    ) -> Iterator[tuple[list[NetworkInput], Prediction]]:
        """Yield `batch_size` inputs at a time, fewer at the end, with the network's prediction for them."""
        remaining = iter(inputs)
        while batch := list(islice(remaining, batch_size)):
            images = torch.from_numpy(np.stack([image for image, _ in batch])).permute(0, 3, 1, 2)
            yield batch, self.forward(images, batch_size)

    def postprocess_each(
        self, batch: Sequence[NetworkInput], prediction: Prediction
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yield the prediction in original pixels for each input of a batch."""
        result = self.postprocess(prediction, torch.from_numpy(np.stack([matrix for _, matrix in batch])))
        yield from ({name: value[i] for name, value in result.items()} for i in range(len(batch)))

    def empty(self) -> dict[str, np.ndarray]:
        """Return the prediction for an image that cannot be read: NaN, in the shapes of one image's prediction."""
        K = len(self.skeleton)
        shapes: dict[str, tuple[int, ...]] = {"keypoints": (K, 2), "confidence": (K,), "covariance": (K, 2, 2)}
        if self.predicts_visibility:
            shapes["visibility"] = (K, 3)
        if self.explain:
            shapes |= dict.fromkeys(ConfidenceParts._fields, (K,))
        sets = {} if self.map_size is None else {"sets": np.zeros((K, *self.map_size), bool)}
        return {name: np.full(shape, np.nan, np.float32) for name, shape in shapes.items()} | sets


def network_pixels(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int], channels: int) -> np.ndarray:
    """Return an image uint8 (H, W, C) after `matrix`, as a network of `channels` and an input of `size` sees it.

    An RGB image becomes gray for a network of such. Raises ValueError for other channels than the network's.
    """
    given = image.shape[2]
    if given != channels and (given, channels) != (3, 1):
        raise ValueError(f"it has {given} channels, and this model reads {channels}; give images with those")
    return unrounded_input(fitted(image, channels), matrix, size)


def load_predictor(
    ckpt: str | Path | Checkpoint,
    device: str | torch.device = "cpu",
    tta: str | None = None,
    unpaired: bool = False,
    trust: Sequence[str] = (),
    explain: bool = False,
    flip_pairs: Sequence[tuple[str, str]] = (),
    heatmap_sets: float | None = None,
) -> Predictor:
    """Return a predictor from a .ckpt file, a folder of `save_pretrained` or "hf://user/name", see `read_checkpoint`.

    The network is rebuilt from the config in it, of softpoint's modules and those of the packages in `trust`.

    A `Checkpoint` that has been read lends its network. `tta="flip"` averages over each image and its mirror;
    `flip_pairs` are the left and right keypoints where the checkpoint knows none, and `unpaired` states that there are
    none (see `flip_average`). A network that it makes worse is warned of, and one that was trained without mirrored
    images where it was not measured. `tta="auto"` does so where it is measured to help (`choose_tta`). With `explain`,
    predictions also have the parts of each confidence (`softpoint.layers.calibration.ConfidenceParts`), and with
    `heatmap_sets` the cells that hold each point with this probability.
    Raises FileNotFoundError or ValueError as `read_checkpoint` does, and ValueError for another device or `tta`, and
    for a probability of which the model has no heatmap sets.
    """
    device = best_device() if device == "auto" else device
    check_device(device)
    checkpoint = ckpt if isinstance(ckpt, Checkpoint) else read_checkpoint(ckpt, trust)
    if tta not in (None, "flip", "auto"):
        raise ValueError(f"tta={tta!r} is unknown; choose flip, auto, or null")
    if tta == "auto":
        tta = choose_tta(checkpoint.skeleton, checkpoint.record)[0]
    net: Network | FlipAverage = checkpoint.net
    if tta:
        skeleton = checkpoint.skeleton
        net = flip_average(
            checkpoint.net, replace(skeleton, flip_pairs=skeleton.flip_pairs or tuple(flip_pairs)), unpaired
        )
        augment, change = checkpoint.data.get("augment"), measured_change(checkpoint.record)
        if change is not None and change[0] > 0:
            _log.warning(
                "%s: tta=flip made errors on the validation images larger, by %.2f to %.2f px (95 %% interval)",
                *(checkpoint.path, *change),
            )
        elif change is None and not (skeleton.can_mirror and isinstance(augment, Mapping) and augment.get("flip")):
            _log.warning(
                "%s was trained without mirrored images, which augment.flip makes where data.flip_pairs hold every"
                " keypoint that has a side: tta=flip may help or harm it; softpoint evaluate split=val with it and"
                " without it tells which",
                checkpoint.path,
            )
    names = checkpoint.skeleton.names
    tails = None if heatmap_sets is None else bounds_at(net, names, SETS, heatmap_sets)
    return Predictor(net, checkpoint.skeleton, checkpoint.size, device, checkpoint.crops, explain, tails)


def best_device() -> str:
    """Return the device that torch is fastest on here: cuda, mps or another accelerator, else cpu.

    >>> best_device() in ("cpu", "cuda", "mps")
    True
    """
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return "cpu" if accelerator is None else accelerator.type


def check_device(device: str | torch.device) -> None:
    """Raise ValueError for a device that torch does not know or see."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        best = best_device()
        ways = "auto or cpu: torch sees no GPU (cuda, mps)" if best == "cpu" else f"auto, cpu or {best}"
        raise ValueError(f"device={device} cannot be used here; choose {ways}") from error
