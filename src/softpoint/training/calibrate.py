"""Makes the best checkpoint's confidences and covariances agree with its errors on the validation split."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.utilities import move_data_to_device
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset

from softpoint.data.dataset import collate
from softpoint.labels.schema import ABSENT
from softpoint.layers.calibration import Evidence, evidence
from softpoint.models import KeypointNet
from softpoint.paths import atomic_write
from softpoint.training.calibration_fit import Measured, fit_calibration

# Fewer labeled points than these say little of their own.
FEW = 30


class Calibrate(Callback):
    """After training, fits `net.calibration` to the validation split and writes it into the best checkpoint.

    The first process fits while the others wait; the file is written beside the checkpoint and then takes its name.

    Args:
        fraction: of a subject's scale, the error up to which the confidence is the probability of. It is applied
            to the typical subject, so that the distance in input pixels is a fixed number.
        images: how many validation images are enough.
    """

    def __init__(self, fraction: float, images: int) -> None:
        if not fraction > 0 or images < 1:
            raise ValueError(
                f"callbacks.calibrate.fraction={fraction} must be positive, and callbacks.calibrate.images={images} at"
                " least 1; drop the callback with '~callbacks.calibrate'"
            )
        self.fraction, self.images = fraction, images

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        best = getattr(trainer.checkpoint_callback, "best_model_path", "")
        if trainer.is_global_zero and best and trainer.datamodule is not None and not trainer.fast_dev_run:
            print(self._calibrate(trainer, pl_module, Path(best)))
        trainer.strategy.barrier("calibrate")

    def _calibrate(self, trainer: Any, module: Any, path: Path) -> str:
        """Writes what was fitted, and says it in a sentence."""
        stored = torch.load(path, map_location="cpu", weights_only=True)
        net = _restored(module, stored["state_dict"])
        found = measure(net, _batches(trainer, module.device, self.images), self.fraction)
        if found is None:
            return "not calibrated, as no point of the validation split is labeled: confidence is the head's own"
        measured, radius, absent = found
        net.calibration.set(**fit_calibration(measured, radius, absent))
        for name, value in net.calibration.state_dict(prefix="net.calibration.").items():
            stored["state_dict"][name] = value.cpu()
        replace_checkpoint(path, stored)
        images, points = len(measured.mask), int(measured.mask.sum())
        caution = f", whose {points} points are few, so that it leans on other sets" if points < FEW else ""
        return (
            f"calibrated on {images} images{caution}: confidence = probability of an error up to"
            f" {100 * self.fraction:g} % of the subject's size, usually {radius:.1f} px of the input"
        )


@torch.no_grad()
def measure(
    net: KeypointNet, batches: Iterator[dict[str, Any]], fraction: float
) -> tuple[Measured, Tensor, Evidence] | None:
    """How far from the truth `net` predicts, the radius that is `fraction` of the typical scale, and absent points.

    Those are labeled points in images moved so far that they lie outside, and what is labeled absent. All on the
    CPU; None where no point is labeled.
    """
    stride, rows, gone = net.decoder.stride, [], []
    for batch in batches:
        prediction, mask = net(batch["image"]), batch["visibility"] > 0
        truth = batch["keypoints"]
        length = batch["scale"] / _pixels(batch["matrix"])
        seen = evidence(prediction, stride)
        rows.append((*seen, prediction["keypoints"].float() - truth, mask, length))
        gone.append(_where(seen, batch["visibility"] == ABSENT))
        for moved, outside in moves(batch["image"], truth, stride):
            gone.append(_where(evidence(net(moved), stride), outside & mask))
    if not any(row[-2].any() for row in rows):
        return None
    spread, contrast, present, error, mask, length = (torch.cat(column).cpu() for column in zip(*rows, strict=True))
    scale = length[mask.any(1)]
    hit = error.norm(dim=-1) <= fraction * length[:, None]
    absent = Evidence(*(torch.cat(column).cpu() for column in zip(*gone, strict=True)))
    return Measured(Evidence(spread, contrast, present), error, mask, hit), fraction * scale.median(), absent


def moves(image: Tensor, keypoints: Tensor, margin: float) -> Iterator[tuple[Tensor, Tensor]]:
    """The images (B, 3, H, W) moved by half of their size to each side, and which points then lie outside by `margin`.

    >>> image, points = torch.ones(1, 3, 8, 8), torch.tensor([[[1.0, 4.0], [6.0, 4.0]]])
    >>> [outside[0].tolist() for _, outside in moves(image, points, 1.0)]
    [[True, False], [False, True], [False, False], [False, False]]
    """
    height, width = image.shape[-2:]
    for dx, dy in ((-(width // 2), 0), (width // 2, 0), (0, -(height // 2)), (0, height // 2)):
        there = keypoints + keypoints.new_tensor([dx, dy])
        beyond = torch.maximum(-0.5 - there, there - there.new_tensor([width - 0.5, height - 0.5])).amax(-1)
        # Padding by a negative number cuts.
        yield F.pad(image, (dx, -dx, dy, -dy)), beyond > margin


def _batches(trainer: Any, device: torch.device, images: int) -> Iterator[dict[str, Any]]:
    """The validation split, or so many images of it at even distances, whole in this process."""
    data = trainer.datamodule
    dataset = data.dataset("val")
    few = range(0, len(dataset), max(1, -(-len(dataset) // images)))
    for batch in DataLoader(Subset(dataset, few), data.batch_size, collate_fn=collate):
        # Not the strategy's own transfer: that asks the data for what training shows.
        yield data.render(move_data_to_device(batch, device), "val")


def _restored(module: Any, state: dict[str, Tensor]) -> KeypointNet:
    """The module's network with the weights of a checkpoint."""
    net: KeypointNet = copy.deepcopy(module.net).eval()
    weights = {key.removeprefix("net."): value for key, value in state.items() if key.startswith("net.")}
    # A checkpoint from before there was a calibration has none of its buffers.
    net.load_state_dict({**net.calibration.state_dict(prefix="calibration."), **weights})
    net.calibration.radius.zero_()
    net.calibration.set()
    return net


def _pixels(matrix: Tensor) -> Tensor:
    """How many original pixels one of the input is long (B,), by the area that an affine `matrix` makes of it."""
    area: Tensor = torch.linalg.det(matrix[:, :2, :2].float()).abs()
    return area.sqrt()


def _where(seen: Evidence, mask: Tensor) -> Evidence:
    return Evidence(*(value[mask] for value in seen))


def replace_checkpoint(path: Path, stored: dict[str, Any]) -> None:
    """Writes a checkpoint beside the one that it then takes the place of."""
    with atomic_write(path) as beside:
        torch.save(stored, beside)
