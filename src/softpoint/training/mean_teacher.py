"""Learning from images without labels, taught by the average of the network's own past."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from softpoint.functional import transform_points
from softpoint.labels.skeleton import Skeleton
from softpoint.models import KeypointNet
from softpoint.training.callbacks import ExponentialAverage
from softpoint.training.loss import KeypointLoss, trainable
from softpoint.training.module import Batch, KeypointModule


class SemiSupervisedModule(KeypointModule):
    """A `KeypointModule` that also learns from images without labels: a mean teacher.

    The teacher is the average that `callbacks.ema` keeps, the network that is validated and saved. It predicts each
    unlabeled image as it is; in a strongly changed view of the image the network in training has to find the same
    points where the known matrix moves them. The loss is that of labeled points, of those that the teacher is sure
    of, divided by all: a teacher in doubt teaches little.

    Args:
        consistency: weight of that loss, once it has risen.
        threshold: from which confidence on the teacher is sure of a point.
        ramp: fraction of the run during which the weight rises, as `rise` tells.

    Raises ValueError for numbers out of range, and when training starts without `callbacks.ema` or unlabeled images.
    Sources: Tarvainen and Valpola, arXiv:1703.01780; Sohn et al., FixMatch, arXiv:2001.07685.
    """

    learns_unlabeled = True

    def __init__(
        self,
        skeleton: Skeleton,
        net: Callable[..., KeypointNet],
        loss: KeypointLoss,
        optimizer: Callable[..., torch.optim.Optimizer],
        scheduler: Callable[..., dict[str, Any]],
        consistency: float,
        threshold: float,
        ramp: float,
        backbone_rate: float = 1.0,
        pck_alpha: float = 0.1,
        compile: bool = False,
    ) -> None:
        if consistency < 0 or not 0 <= threshold <= 1 or not 0 <= ramp <= 1:
            raise ValueError(
                f"module.consistency={consistency} must be at least 0, module.threshold={threshold} and"
                f" module.ramp={ramp} from 0 to 1"
            )
        super().__init__(skeleton, net, loss, optimizer, scheduler, backbone_rate, pck_alpha, compile)
        self.consistency, self.threshold, self.ramp = consistency, threshold, ramp

    def on_train_start(self) -> None:
        self.teacher.eval()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if "unlabeled" not in batch:
            raise ValueError("semi=mean_teacher needs images: data.unlabeled_images.source=FOLDER_OR_VIDEO")
        loss = super().training_step(batch, batch_idx)
        return loss + self.consistency * rise(self._done, self.ramp) * self._taught(batch["unlabeled"])

    @property
    def teacher(self) -> nn.Module:
        """The averaged network."""
        trainer: Any = self.trainer
        average = next((one for one in trainer.callbacks if isinstance(one, ExponentialAverage)), None)
        if average is None:
            raise ValueError("semi=mean_teacher is taught by the average that callbacks.ema keeps; do not drop it")
        return average.module.net

    @property
    def _done(self) -> float:
        return self.progress(self.trainer.global_step)

    def _taught(self, unlabeled: Batch) -> Tensor:
        """The loss of the changed views against what the teacher found in the plain ones."""
        image = _batch(unlabeled["image"])
        points, confidence = self._found(unlabeled)
        sure = trainable(points, 2 * (confidence >= self.threshold).long(), (image.shape[-2], image.shape[-1]))
        everything = torch.tensor(float(sure.numel()), device=sure.device)
        values = self.loss(self.net(image), points, sure, self._stride, everything, progress=self._done)
        self.log("train/consistency", values["loss"].detach(), batch_size=len(image))
        self.log("train/sure", sure.float().mean(), batch_size=len(image))
        return values["loss"]

    @torch.no_grad()
    def _found(self, unlabeled: Batch) -> tuple[Float[Tensor, "B K 2"], Float[Tensor, "B K"]]:
        """Where the teacher's points lie in the changed views, and how sure of them it is."""
        found, order = self.teacher(_batch(unlabeled["plain"])), unlabeled["order"].flatten(0, 1)
        points = found["keypoints"].gather(1, order[..., None].expand(-1, -1, 2))
        return transform_points(points, unlabeled["matrix"].flatten(0, 1)), found["confidence"].gather(1, order)


def rise(progress: float, ramp: float) -> float:
    """The factor that grows from nearly 0 to 1 during the first fraction `ramp` of a run: exp(-5 (1 - t)^2).

    Source: Laine and Aila, arXiv:1610.02242.

    >>> [round(rise(progress, 0.5), 3) for progress in (0.0, 0.25, 0.5, 1.0)], rise(0.0, 0.0)
    ([0.007, 0.287, 1.0, 1.0], 1.0)
    """
    left = 1 - min(progress / ramp, 1.0) if ramp else 0.0
    return math.exp(-5 * left**2)


def _batch(images: UInt8[Tensor, "B M H W 3"]) -> UInt8[Tensor, "N 3 H W"]:
    """The M images of all samples as one batch, its channels last in memory."""
    return images.flatten(0, 1).permute(0, 3, 1, 2)
