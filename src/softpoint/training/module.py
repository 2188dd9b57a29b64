"""A keypoint network in training: its steps, its logged values, and the content of its checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn
from torchmetrics import MeanMetric

from softpoint.functional import transform_covariance, transform_points
from softpoint.inference.build_model import describe_model
from softpoint.inference.compatibility import upgrade
from softpoint.inference.predictor import Predictor
from softpoint.labels.skeleton import Skeleton
from softpoint.layers import Calibration
from softpoint.machine import library_versions
from softpoint.metrics import PointArrays
from softpoint.metrics.epoch_visibility import VisibilityScores
from softpoint.metrics.point_means import PointMeans
from softpoint.models import KeypointNet
from softpoint.models.backbones.backbone import fitted_to
from softpoint.training.callbacks import fraction_of_time
from softpoint.training.checkpoint_checks import check_resumable, check_same_model
from softpoint.training.compiled import compile_regions
from softpoint.training.finder_loss import FinderLoss
from softpoint.training.loss import KeypointLoss
from softpoint.training.mean_teacher import MeanTeacher
from softpoint.training.micro_batches import StepLosses, micro_batches
from softpoint.training.param_groups import parameter_groups, slow_backbone
from softpoint.training.recomputed import recompute_features
from softpoint.training.schedules import check_followed
from softpoint.training.target import Target
from softpoint.types import Batch, Prediction, SceneBatch


class KeypointModule(pl.LightningModule):
    """Trains `net` by `loss`, and measures it in pixels of the original images.

    Args:
        skeleton: names, pairs and edges of the keypoints; their number sizes the network.
        net: called with `num_keypoints`, returns the network. A checkpoint of any Trainer describes it where it is
            `partial(KeypointNet, ...)` of classes, of partials of classes, and of plain values.
        loss: of a prediction; ValueError where its terms cannot train the network's head.
        optimizer: called with the parameters.
        scheduler: called with the optimizer and `progress`, returns Lightning's description of a schedule.
        learn_visibility: predict states of keypoints where the head leaves it open (`head.visibility=null`) and a
            term of the loss trains them.
        backbone_rate: learning rate of the backbone as a fraction of the optimizer's.
        compile: run the network up to its head through torch.compile; True, or one of its modes.
        recompute: compute the backbone's features again in the backward pass, which takes less memory and more time.
        teacher: adds a loss of images without labels; None learns from labels alone.
        finder_loss: of the network's finder, where it has one.
    """

    skeleton: Skeleton
    net: KeypointNet
    loss: KeypointLoss
    optimizer: Any
    scheduler: Any
    mean_loss: Any
    losses: dict[str, Tensor]  # of the training batch in progress: the loss that is minimized, and its terms
    errors: Tensor  # (B, K) of that batch, in pixels of its images; NaN where a point is not trained

    def __init__(
        self,
        skeleton: Skeleton,
        net: Callable[..., KeypointNet],
        loss: KeypointLoss,
        optimizer: Callable[..., torch.optim.Optimizer],
        scheduler: Callable[..., dict[str, Any]],
        learn_visibility: bool = False,
        backbone_rate: float = 1.0,
        compile: bool | str = False,
        recompute: bool = False,
        teacher: MeanTeacher | None = None,
        finder_loss: FinderLoss | None = None,
    ) -> None:
        super().__init__()
        self.finder_loss = finder_loss or FinderLoss()
        self.skeleton = skeleton
        if model := describe_model(net):  # or the command that composed it describes it
            self.save_hyperparameters({"model": model})
        self.input_size: tuple[int, int] | None = None  # of the last batch
        # On a CPU and on tensor cores, convolutions are fastest with channels last.
        self.net = net(num_keypoints=len(skeleton)).to(memory_format=torch.channels_last)
        if getattr(self.net.head, "predicts_visibility", False) is None:
            self.net.head.set_visibility(learn_visibility and loss.trains("visibility"))
        self.loss = loss
        loss.check_head(self.net.head)
        loss.set_keypoints(skeleton.names)
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.backbone_rate, self.teacher = backbone_rate, teacher
        self.mean_loss = nn.ModuleDict({name: MeanMetric() for name in loss.terms})
        self.point_means = PointMeans(len(skeleton))
        self.visibility_scores = VisibilityScores(len(skeleton))
        if recompute:
            recompute_features(self.net)
        if compile:
            compile_regions(self.net, compile)

    def forward(self, image: Tensor, return_attention: bool = False) -> Prediction:
        prediction: Prediction = self.net(image, return_attention)
        return prediction

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        target = self._target(batch, self._progress)
        losses = partial(self._step_losses, counts=self._mean_counts(batch, target))
        divided = micro_batches(self.trainer)
        step = losses(batch) if divided is None else divided.step(self, batch, losses)
        if (every := self.trainer.log_every_n_steps) and (self.trainer.global_step + 1) % every == 0:  # type: ignore[attr-defined]
            self._measure(step.prediction, batch, target)
        errors = (step.prediction["keypoints"].detach().float() - batch["keypoints"]).norm(dim=-1)
        self.errors = errors.where(target.mask, torch.nan)
        for name, value in step.values.items():
            log: Any = {"batch_size": len(batch["image"]), "prog_bar": name == "loss"}
            self.log(f"train/{name}", value.detach(), sync_dist=True, **log)  # the mean is that of the whole batch
        self.losses = {name: value.detach() for name, value in {**step.values, "loss": step.total}.items()}
        return step.total

    def validation_step(self, batch: Batch, batch_idx: int) -> Prediction:
        prediction: Prediction = self.net(batch["image"], return_attention=True)
        self._update_loss(prediction, batch)
        self.point_means.update(original_points(prediction, batch))
        return prediction

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, np.ndarray]:
        """Return the predictions in original pixels, by the steps with which `evaluate` and `predict` make theirs."""
        height, width = batch["image"].shape[-2:]
        predictor = Predictor(self.net, self.skeleton, (height, width), self.device)
        prediction = predictor.forward(batch["image"], getattr(self._data, "batch_size", None))
        self._update_loss(prediction, batch)
        return predictor.postprocess(prediction, batch["matrix"])

    def on_validation_epoch_start(self) -> None:
        for metric in (self.point_means, self.visibility_scores, *self.mean_loss.values()):
            metric.reset()

    def on_test_epoch_start(self) -> None:
        self.on_validation_epoch_start()

    def on_test_epoch_end(self) -> None:
        self._log_loss("test")

    def on_validation_epoch_end(self) -> None:
        self._log_loss("val")
        for name, score in self.visibility_scores.compute().items():
            self.log(f"val/{name}", score, sync_dist=True)
        means = self.point_means.compute()
        for name, value in means.items():
            self.log(f"val/{name}", value.float(), sync_dist=True, prog_bar=name == "epe")

    def configure_optimizers(self) -> Any:
        optimizer = slow_backbone(self.optimizer(parameter_groups(self.net)), self.backbone_rate)
        # A fused one would unscale gradients of float16 itself, after they are clipped and found to be finite.
        optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
        schedule = self.scheduler(optimizer, progress=self.progress)
        check_followed(schedule, bool(self.trainer.limit_val_batches))
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_fit_start(self) -> None:
        if str(self.trainer.precision) in ("bf16-true", "16-true", "transformer-engine", "transformer-engine-float16"):
            raise ValueError(
                f"trainer.precision={self.trainer.precision} would round the labels themselves, by pixels;"
                " use bf16-mixed or 16-mixed"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["skeleton"] = self.skeleton.to_dict()
        checkpoint["crops"] = getattr(self._data, "crops", None)
        if self.net.finder is not None and self._data is not None:
            checkpoint["finder"] = {"size": self._data.finding_size, "anchor": self._data.anchor}
        checkpoint["size"] = getattr(self._data, "size", self.input_size)
        checkpoint["versions"] = library_versions()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that a checkpoint is of the same data and network; ValueError where it is not."""
        checkpoint.update(upgrade(checkpoint))  # in place, because Lightning goes on reading it
        resuming = self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING
        unfitted = Calibration(self.net.num_keypoints).state_dict(prefix="net.calibration.")
        # With averaged weights, these are the first state, and the weights themselves the second.
        for state in filter(None, (checkpoint["state_dict"], checkpoint.get("current_model_state"))):
            # A resumed training starts uncalibrated, and a checkpoint of the first versions has no calibration.
            state.update({key: value.clone() for key, value in unfitted.items() if resuming or key not in state})
        if resuming:
            check_resumable(checkpoint, self._data, len(parameter_groups(self.net)))
        check_same_model(checkpoint, self.skeleton.names, self.state_dict())

    def progress(self, step: int) -> float:
        """Fraction of the run that is done after `step` optimizer steps, by its steps or its minutes, the larger one.

        Raises ValueError for a run without an end.
        """
        steps, spent = self.trainer.estimated_stepping_batches, fraction_of_time(self.trainer)
        if spent is None and not 0 < steps < math.inf:
            raise ValueError(
                "the run has no end that a schedule could aim at; set minutes or trainer.max_epochs, or use "
                "scheduler=constant"
            )
        done = step / steps if 0 < steps < math.inf else 0.0
        return min(max(done, spent or 0.0), 1.0)

    @property
    def learns_unlabeled(self) -> bool:
        """True if training batches need images without labels."""
        return self.teacher is not None

    @property
    def _data(self) -> Any:
        return getattr(self._trainer, "datamodule", None)

    @property
    def summary(self) -> str:
        """Description of the network: its backbone, the weights that this started from, the number of parameters."""
        count = sum(parameter.numel() for parameter in self.net.parameters())
        name = getattr(self.net.backbone, "name", type(self.net.backbone).__name__)
        start: Any = getattr(self.net.backbone, "started_from", None)
        channels = "" if self.net.in_channels == 3 else f", {fitted_to(self.net.in_channels)}"
        weights = f", started from {start['weights']}" if start else ", from random weights"
        return f"{name} network of {count / 1e6:.1f} M parameters{weights}{channels}"

    @property
    def _progress(self) -> float | None:
        endless = math.isinf(self.trainer.estimated_stepping_batches) and fraction_of_time(self.trainer) is None
        return None if endless else self.progress(self.trainer.global_step)

    def _target(self, batch: Batch, progress: float | None = None) -> Target:
        self.input_size = size = (batch["image"].shape[-2], batch["image"].shape[-1])
        return Target.of(batch["keypoints"], batch["visibility"], size, self.net.decoder.stride, progress)

    def _mean_counts(self, batch: Batch, target: Target) -> dict[str, Tensor]:
        """The divisor of each term's mean in a batch, as a mean over the processes.

        Each process divides by it, so that averaging their gradients weighs points, not processes.
        """
        counts = self.loss.counts(target)
        if self.teacher is not None:
            counts["consistency"] = self.teacher.count(batch)
        if "scene" in batch:
            counts["finder"] = self.finder_loss.count(batch["scene"])
        means: Tensor = self.trainer.strategy.reduce(torch.stack([*counts.values()]), reduce_op="mean")
        return dict(zip(counts, means.unbind(), strict=True))

    def _step_losses(self, batch: Batch, counts: Mapping[str, Tensor]) -> StepLosses:
        """Return the losses of a batch, or of a part of the one whose `counts` divide them."""
        prediction = self.net(batch["image"], center=batch.get("center"))
        values = self.loss(prediction, self._target(batch, self._progress), counts)
        total = values["loss"]
        if self.teacher is not None:
            taught = self.teacher.losses(self, batch, counts["consistency"])
            total, values = total + self.teacher.weight(self) * taught["consistency"], {**values, **taught}
        if "scene" in batch:
            found = self.finder_losses(batch["scene"], counts["finder"])
            total, values = total + self.finder_loss.total(found), {**values, **found}
        return StepLosses(total, values, prediction)

    def finder_losses(self, scene: SceneBatch, count: Tensor) -> dict[str, Tensor]:
        """Return the losses of the finder for whole images, divided by `count`."""
        assert self.net.finder is not None
        return self.finder_loss(self.net.find(scene["image"]), scene, self.net.finder.stride, count)

    def _measure(self, prediction: Prediction, batch: Batch, target: Target) -> None:
        """Log the metrics of a training batch, without the points that augmentation moved out of it."""
        inside: Any = {**batch, "visibility": batch["visibility"].where(target.mask, 0)}
        means = PointMeans(len(self.skeleton)).to(self.device)
        means.update(original_points(prediction, inside))
        self.log_dict({f"train/{name}": value.float() for name, value in means.compute().items()})

    def _log_loss(self, stage: str) -> None:
        """Log the loss and its terms before their weights; each term is a mean over the points that it counts."""
        means = {name: metric.compute() for name, metric in self.mean_loss.items() if metric.update_called}
        if means:
            values = torch.stack([self.loss.terms[name].weight * mean for name, mean in means.items()])
            # A term without a point to count has no mean.
            total = torch.where(values.isnan().all(), math.nan, values.nansum())
            self.log_dict({f"{stage}/{name}": mean for name, mean in means.items()}, sync_dist=True)
            self.log(f"{stage}/loss", total, sync_dist=True)

    def _update_loss(self, prediction: Prediction, batch: Batch) -> None:
        """Add a batch to the mean of each term of the loss, and to the scores of visibility."""
        target = self._target(batch)
        if "visibility" in prediction:
            self.visibility_scores.update(prediction["visibility"], target.states)
        for name, value in self.loss(prediction, target).items():
            if name != "loss":
                # A mean leaves out NaN, which would hide that a loss is not finite.
                value = value.nan_to_num(nan=math.inf, posinf=math.inf)
                self.mean_loss[name].update(value, weight=self.loss.shares(self.loss.terms[name], target).sum())


@torch.no_grad()
def original_points(prediction: Prediction, batch: Batch) -> PointArrays:
    """Return the predictions and labels of a batch in original pixels."""
    matrix, labeled = batch["matrix"], batch["visibility"] > 0
    covariance = transform_covariance(prediction["covariance"], prediction["keypoints"], matrix)
    truth = transform_points(batch["keypoints"], matrix).where(labeled[..., None], math.nan)
    points = transform_points(prediction["keypoints"], matrix), truth, prediction["confidence"], covariance
    return PointArrays(*(value.detach().double().cpu().numpy() for value in (*points, batch["scale"], batch["size"])))
