"""Semi-supervised training: an average of the network's weights teaches it on images without labels."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from softpoint.functional import transform_points
from softpoint.training.callbacks import ExponentialAverage
from softpoint.training.target import Target
from softpoint.types import Batch, UnlabeledViews

if TYPE_CHECKING:
    from softpoint.training.module import KeypointModule


class MeanTeacher:
    """Teaches a `KeypointModule` by images without labels.

    The teacher is the average that `callbacks.ema` keeps, the network that is validated and saved. It predicts the
    plain view of each unlabeled image; the network in training has to predict the same points in a strongly augmented
    view, where the known matrix maps them. The loss is that of labeled points, over the points of which the teacher is
    confident, divided by the number of all points: an unconfident teacher teaches little.

    Args:
        consistency: weight of that loss at its full height.
        threshold: smallest confidence at which a point of the teacher is a target.
        ramp: fraction of the run during which the weight rises (`ramp_up`).

    Raises ValueError for numbers out of range.
    Sources: Tarvainen and Valpola, arXiv:1703.01780; Sohn et al., FixMatch, arXiv:2001.07685.
    """

    def __init__(self, consistency: float, threshold: float, ramp: float) -> None:
        if consistency < 0 or not 0 <= threshold <= 1 or not 0 <= ramp <= 1:
            raise ValueError(
                f"module.teacher.consistency={consistency} must be at least 0, module.teacher.threshold={threshold} and"
                f" module.teacher.ramp={ramp} from 0 to 1"
            )
        self.consistency, self.threshold, self.ramp = consistency, threshold, ramp

    def count(self, batch: Batch) -> Tensor:
        """Return the number of points of a batch that are taught; ValueError without unlabeled images."""
        if "unlabeled" not in batch:
            raise ValueError("semi=mean_teacher needs images: data.unlabeled_images.source=FOLDER_OR_VIDEO")
        order = batch["unlabeled"]["order"]
        return torch.tensor(float(order.numel()), device=order.device)

    def weight(self, module: KeypointModule) -> float:
        """Return the factor of the consistency in the loss, at the present step of a training."""
        return self.consistency * ramp_up(module.progress(module.trainer.global_step), self.ramp)

    def losses(self, module: KeypointModule, batch: Batch, count: Tensor) -> dict[str, Tensor]:
        """Return the loss of the augmented views against the teacher's points in the plain ones, divided by `count`.

        It is `consistency`, before its weight; `confident` is the fraction of points that are taught. Raises ValueError
        without `callbacks.ema`.
        """
        views = batch["unlabeled"]
        image = _as_batch(views["image"])
        points, confidence = _teach(_average(module), views)
        size, confident = (image.shape[-2], image.shape[-1]), 2 * (confidence >= self.threshold).long()
        progress = module.progress(module.trainer.global_step)
        target = Target.of(points, confident, size, module.net.decoder.stride, progress)
        # The teacher's points are no labels of visibility.
        target = replace(target, states=torch.full_like(target.states, -1))
        loss: Tensor = module.loss(module.net(image), target, dict.fromkeys(module.loss.terms, count))["loss"]
        return {"consistency": loss, "confident": target.mask.sum() / count}


def _average(module: KeypointModule) -> nn.Module:
    """The averaged network; ValueError without `callbacks.ema`."""
    callbacks: list[Any] = module.trainer.callbacks  # type: ignore[attr-defined]
    for callback in callbacks:
        if isinstance(callback, ExponentialAverage):
            net: nn.Module = callback.module.net.eval()
            return net
    raise ValueError("semi=mean_teacher needs the average that callbacks.ema keeps; do not drop that callback")


@torch.no_grad()
def _teach(teacher: nn.Module, views: UnlabeledViews) -> tuple[Float[Tensor, "B K 2"], Float[Tensor, "B K"]]:
    """The teacher's points, mapped into the augmented views, and their confidence."""
    prediction, order = teacher(_as_batch(views["plain"])), views["order"].flatten(0, 1)
    points = prediction["keypoints"].gather(1, order[..., None].expand(-1, -1, 2))
    return transform_points(points, views["matrix"].flatten(0, 1)), prediction["confidence"].gather(1, order)


def ramp_up(progress: float, ramp: float) -> float:
    """Factor that grows from nearly 0 to 1 during the first fraction `ramp` of a run: exp(-5 (1 - t)^2).

    Source: Laine and Aila, arXiv:1610.02242.

    >>> [round(ramp_up(progress, 0.5), 3) for progress in (0.0, 0.25, 0.5, 1.0)], ramp_up(0.0, 0.0)
    ([0.007, 0.287, 1.0, 1.0], 1.0)
    """
    left = 1 - min(progress / ramp, 1.0) if ramp else 0.0
    return math.exp(-5 * left**2)


def _as_batch(images: UInt8[Tensor, "B M H W 3"]) -> UInt8[Tensor, "N 3 H W"]:
    """The M images of all samples as one batch, with channels last in memory."""
    return images.flatten(0, 1).permute(0, 3, 1, 2)
