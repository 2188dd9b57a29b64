"""Batches that memory does not hold, trained in parts whose gradients are summed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.memory import garbage_collection_cuda
from torch import Tensor

from softpoint.machine import memory_is_full
from softpoint.training.random_state import random_state, set_random_state
from softpoint.types import Batch, Prediction

_log = logging.getLogger(__name__)

# Parts of a prediction that are measured.
_MEASURED = ("keypoints", "confidence", "covariance")


class StepLosses(NamedTuple):
    """What a training step makes of a batch, or of a part of it."""

    total: Tensor  # that is minimized
    values: dict[str, Tensor]  # that are logged: the loss of the labels, its terms, and those of a teacher
    prediction: Prediction


class MicroBatches(Callback):
    """Halves the part of a batch that is trained at once whenever memory does not hold it; the step stays the same.

    The gradients of the parts are summed within one training step, in which every part is divided by the counts of the
    whole batch: optimizer, schedules and the position in an epoch know nothing of parts. All processes have parts of
    one size, which checkpoints keep. Batch normalization alone sees the parts.

    Raises ValueError where memory does not even hold one image.
    """

    def __init__(self) -> None:
        self.size: int | None = None  # samples of a part; None for whole batches

    def state_dict(self) -> dict[str, Any]:
        return {"size": self.size}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.size = state_dict["size"]

    def step(self, module: Any, batch: Batch, losses: Callable[[Batch], StepLosses]) -> StepLosses:
        """Return the sums of `losses` of all parts of a batch; going back from the total gives their gradients."""
        buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
        state = random_state(module.device)
        while True:
            step = self._attempt(module, batch, losses)
            if not self._halve(module.trainer, len(batch["image"]), short=step is None):
                assert step is not None
                return step
            # Also where only another process was short: all of them repeat the step as if they had not tried.
            step = None
            for buffer, before in buffers:
                buffer.copy_(before)
            set_random_state(state, module.device)
            garbage_collection_cuda()

    def _attempt(self, module: Any, batch: Batch, losses: Callable[[Batch], StepLosses]) -> StepLosses | None:
        """Return the step, or None where memory is short."""
        try:
            return _summed(module, _parts(batch, self.size or len(batch["image"])), losses)
        except (RuntimeError, MemoryError) as error:
            if not memory_is_full(error):
                raise
        return None  # and let go of the error, whose traceback holds the tensors of the attempt

    def _halve(self, trainer: Any, samples: int, short: bool) -> bool:
        """Return whether a process was short of memory, and lower the size in all of them then."""
        largest = min(samples, self.size or samples)
        if trainer.world_size > 1:
            numbers = torch.tensor([short, largest], device=trainer.strategy.root_device)
            short, largest = trainer.strategy.reduce(numbers, reduce_op="max").tolist()
        if not short:
            return False
        if largest == 1:
            raise ValueError(
                "memory does not hold a training step of one image, even with trainer.accumulate=auto: lower data.size,"
                " choose a smaller network, or set trainer.precision=bf16-mixed"
            )
        self.size = (largest + 1) // 2
        if trainer.is_global_zero:
            _log.warning(
                "memory does not hold %d images in training: a batch is trained in parts of %d from now on, whose"
                " gradients are summed; only batch normalization sees a part in place of the batch",
                *(largest, self.size),
            )
        return True


def micro_batches(trainer: Any) -> MicroBatches | None:
    """Return the callback of a trainer that divides batches; None where they stay whole."""
    return next((callback for callback in trainer.callbacks if isinstance(callback, MicroBatches)), None)


def _parts(batch: Any, size: int) -> Iterator[Any]:
    """A batch in parts of `size` samples, the last one of the rest; tensors and lists have one entry per sample.

    >>> batch = {"image": torch.zeros(3), "group": ["a", "b", "c"], "unlabeled": {"order": torch.arange(3)}}
    >>> [(part["group"], part["unlabeled"]["order"].tolist()) for part in _parts(batch, 2)]
    [(['a', 'b'], [0, 1]), (['c'], [2])]
    """
    for start in range(0, len(batch["image"]), size):
        yield _cut(batch, slice(start, start + size))


def _cut(value: Any, part: slice) -> Any:
    return {key: _cut(item, part) for key, item in value.items()} if isinstance(value, dict) else value[part]


def _summed(module: Any, parts: Iterator[Batch], losses: Callable[[Batch], StepLosses]) -> StepLosses:
    """The sums over the parts, each of which is let go before the next one."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    scaler = getattr(module.trainer.precision_plugin, "scaler", None)  # without, float16 loses small gradients
    one = torch.ones((), device=module.device)
    scale = one if scaler is None else scaler.scale(one)
    sums: dict[Any, Tensor] = {}
    steps = []
    for part in parts:
        step = losses(part)
        with torch.autocast(module.device.type, enabled=False):
            gradients = torch.autograd.grad(step.total, parameters, scale, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                sums[parameter] = sums[parameter] + gradient if parameter in sums else gradient
        steps.append(_without_graph(step))
    total, values, prediction = _together(steps)
    given: Any = _Given
    return StepLosses(given.apply(total, scale, [*sums.values()], *sums), values, prediction)


def _without_graph(step: StepLosses) -> StepLosses:
    parts: Any = step.prediction
    measured: Any = {key: parts[key].detach() for key in _MEASURED}
    values = {name: value.detach() for name, value in step.values.items()}
    return StepLosses(step.total.detach(), values, measured)


def _together(steps: Sequence[StepLosses]) -> StepLosses:
    """One step of several: the sums of their losses, and the predictions of all samples."""
    values = {name: torch.stack([step.values[name] for step in steps]).sum() for name in steps[0].values}
    predictions: Any = [step.prediction for step in steps]
    joined: Any = {key: torch.cat([prediction[key] for prediction in predictions]) for key in predictions[0]}
    return StepLosses(torch.stack([step.total for step in steps]).sum(), values, joined)


class _Given(torch.autograd.Function):
    """A loss whose gradients were computed before, times `scale`."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, scale: Tensor, gradients: list[Tensor], *parameters: Tensor) -> Tensor:
        ctx.scale, ctx.gradients = scale, gradients
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *loss: Any) -> Any:
        gradients, ctx.gradients = ctx.gradients, []
        return None, None, None, *torch._foreach_mul(gradients, loss[0] / ctx.scale)
