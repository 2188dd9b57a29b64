"""Steps whose loss or gradients are not finite: skipped, counted, and after too many the reason that a run stops."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.nn.utils import get_total_norm

from softpoint.data.sources import image_name
from softpoint.training.good_weights import GoodWeights, weights_of
from softpoint.training.processes import gather_objects

_log = logging.getLogger(__name__)

# Images of a batch that a message names.
_NAMED = 4


class MicroBatch(NamedTuple):
    """One of the batches whose gradients a step sums."""

    number: int  # in its epoch, from 0 on
    samples: Tensor  # their indices
    losses: dict[str, Tensor]  # `loss`, and each of its terms


class NonFiniteGuard(Callback):
    """Skips each step whose loss or gradients are not finite, so that no weight ever is.

    A skipped step leaves weights, batch statistics and the optimizer as they were. After `in_a_row` of them the weights
    and the optimizer of the last good validation return (of the last good epoch in a run without any; at first, of the
    start), with `rate` times the learning rate; that happens `returns` times, and then the run stops. Gradients whose
    squares overflow count as well: they would stop an optimizer that divides by them. All processes skip together.
    `skipped` and `steps` count.

    Args:
        in_a_row: skipped steps after which the last good weights return.
        rate: factor of the learning rate each time.
        returns: number of times before the run stops.

    Raises ValueError where the run stops, and instead of saving weights that are not finite.
    """

    def __init__(self, in_a_row: int, rate: float, returns: int) -> None:
        if in_a_row < 1 or returns < 0 or not 0 < rate <= 1:
            raise ValueError(
                f"callbacks.guard: in_a_row={in_a_row} must be at least 1, returns={returns} at least 0, and"
                f" rate={rate} in (0, 1]"
            )
        self.in_a_row, self.rate, self.returns = in_a_row, rate, returns
        self.steps, self.skipped, self.row, self.returned = 0, 0, 0, 0
        self.first = ""  # description of the first skipped step
        self._seen: list[MicroBatch] = []
        self._batch: tuple[int, Tensor] | None = None
        self._buffers: list[tuple[list[Tensor], list[Tensor]]] = []  # of each type, and their values before the step
        self._good, self._resumed = GoodWeights(), dict[str, Any]()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.global_step:
            self._good.load_state_dict(trainer, self._resumed)
        else:
            self._good.keep(trainer, "of the start")
        by_type: dict[torch.dtype, list[Tensor]] = {}
        for buffer in pl_module.buffers():
            by_type.setdefault(buffer.dtype, []).append(buffer)
        self._buffers = [(buffers, [buffer.clone() for buffer in buffers]) for buffers in by_type.values()]

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.state.fn == "fit" and not _finite_everywhere(trainer):
            self._go_back(trainer, "a weight is no longer finite")

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        error = trainer.callback_metrics.get("val/loss")
        if trainer.state.fn == "fit" and not self.row and error is not None and bool(error.isfinite()):
            self._good.keep(trainer, f"of epoch {trainer.current_epoch + 1}")

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.limit_val_batches:  # a validation judges the weights
            return
        if not _finite_everywhere(trainer):
            self._go_back(trainer, "a weight is no longer finite")
        elif not self.row:
            self._good.keep(trainer, f"of epoch {trainer.current_epoch + 1}")

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._batch = batch_idx, batch["index"]
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._seen = []
            for buffers, before in self._buffers:
                torch._foreach_copy_(before, buffers)

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        assert self._batch is not None
        self._seen.append(MicroBatch(*self._batch, pl_module.losses))

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.steps += 1
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        losses = torch.stack([micro.losses["loss"] for micro in self._seen])
        norm: Any = get_total_norm([p.grad for p in parameters])
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # of gradients that processes share
        bad = ~(norm.isfinite() & losses.isfinite().all())
        if trainer.world_size > 1:
            bad = trainer.strategy.reduce(bad.to(losses), reduce_op="max")
        if not bool(bad):  # the one value that each step waits for
            self.row = 0
            return
        for parameter in parameters:
            parameter.grad = None  # which an optimizer passes by, with all of its state
        for buffers, before in self._buffers:
            torch._foreach_copy_(buffers, before)
        if not _searches_scale(trainer, losses):
            self._count(trainer)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.skipped:
            pl_module.log("train/skipped_steps", float(self.skipped))
        if self.row >= self.in_a_row:
            self._go_back(trainer, f"{self.row} steps in a row were skipped; {self._describe(trainer)}")

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if not _finite_everywhere(trainer):
            self._stop(trainer, "a weight is no longer finite, and the last checkpoint is left as it was")
        if self._good.name:
            checkpoint["good_weights"] = self._good.state_dict(trainer)

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == "fit":
            self._resumed = checkpoint.get("good_weights", {})

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        if self.skipped:
            why = f"as their loss or gradients were not finite; the first: {self.first}"
            _warn(trainer, f"{self.skipped:,} of {self.steps:,} steps were skipped, {why}")

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("steps", "skipped", "row", "returned", "first")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name in self.state_dict().keys() & state_dict.keys():
            setattr(self, name, state_dict[name])

    def _count(self, trainer: Any) -> None:
        self.skipped, self.row = self.skipped + 1, self.row + 1
        if not self.first:
            self.first = self._describe(trainer)
            _warn(trainer, f"a step was skipped, and further ones will be counted: {self.first}")

    def _go_back(self, trainer: Any, fault: str) -> None:
        """Restore the last good weights with a lower learning rate, or stop."""
        if self.returned == self.returns or not self._good.name:
            self._stop(trainer, fault)
        self.returned, self.row = self.returned + 1, 0
        self._good.restore(trainer)
        for group in trainer.optimizers[0].param_groups:
            group |= {key: self.rate * group[key] for key in ("lr", "initial_lr") if key in group}
        for config in trainer.lr_scheduler_configs:
            if hasattr(config.scheduler, "base_lrs"):
                config.scheduler.base_lrs = [self.rate * lr for lr in config.scheduler.base_lrs]
        _warn(trainer, f"{fault}: the weights {self._good.name} return, with {self.rate:g} times the learning rate")

    def _stop(self, trainer: Any, fault: str) -> NoReturn:
        lowered = f", also at {self.rate**self.returned:g} times the learning rate" if self.returned else ""
        raise ValueError(
            f"the training diverged after {trainer.global_step} steps{lowered}: {fault}; {_advice(trainer)}"
        )

    def _describe(self, trainer: Any) -> str:
        """Return the batch, the images and the terms of the loss of the present step, of all processes together."""
        bad = [micro for micro in self._seen if _not_finite(micro)]
        source = trainer.datamodule.sources["train"]
        images = [image_name(source, i) for micro in bad or self._seen for i in micro.samples.tolist()]
        terms = {f"{name} is {value.item():g}" for micro in bad for name, value in _not_finite(micro).items()}
        numbers = [micro.number + 1 for micro in bad or self._seen]
        facts = gather_objects(trainer, (numbers, images, sorted(terms)))
        facts = [fact for fact in facts if fact[2]] or facts
        numbers, images, found = (sorted({item for fact in facts for item in fact[i]}) for i in range(3))
        fault = ", ".join(found) or "the loss is finite and its gradient is not"
        more = f" and {len(images) - _NAMED} more" if len(images) > _NAMED else ""
        batches = (
            f"batch{'es' * (len(numbers) > 1)} {', '.join(map(str, numbers))} of epoch {trainer.current_epoch + 1}"
        )
        return f"{fault} in {batches} ({', '.join(images[:_NAMED])}{more})"


def all_finite(tensors: Iterator[Tensor]) -> bool:
    """Return whether all numbers of all tensors are finite, which a finite sum shows in far less time."""
    floats = (tensor for tensor in tensors if tensor.is_floating_point())
    return all(bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all()) for tensor in floats)


def _finite_everywhere(trainer: Any) -> bool:
    """Return whether the state of all processes is finite; batch statistics are each one's own."""
    bad = torch.tensor(float(not all_finite(_state(trainer))), device=trainer.strategy.root_device)
    return not (trainer.strategy.reduce(bad, reduce_op="max") if trainer.world_size > 1 else bad)


def _warn(trainer: Any, message: str) -> None:
    """Log a warning, once of several processes."""
    if trainer.is_global_zero:
        _log.warning("%s", message)


def _state(trainer: Any) -> Iterator[Tensor]:
    """All that a checkpoint keeps of the weights and of the optimizers."""
    yield from weights_of(trainer)
    for optimizer in trainer.optimizers:
        for state in optimizer.state.values():
            yield from (value for value in state.values() if isinstance(value, Tensor))


def _not_finite(micro: MicroBatch) -> dict[str, Tensor]:
    """The terms of the loss that are not finite; the loss itself where only it is not."""
    bad = {name: value for name, value in micro.losses.items() if not bool(value.isfinite())}
    return {name: value for name, value in bad.items() if name != "loss"} or bad


def _searches_scale(trainer: Any, losses: Tensor) -> bool:
    """Return whether float16 gradients overflowed for their scale alone, which is lowered until they do not."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    return scaler is not None and scaler.get_scale() > 1 and bool(losses.isfinite().all())


def _advice(trainer: Any) -> str:
    rate = trainer.optimizers[0].param_groups[0].get("initial_lr", trainer.optimizers[0].param_groups[0]["lr"])
    ways = [f"lower optimizer.lr, which is {rate:g} now"]
    if not trainer.gradient_clip_val:
        ways.append("set trainer.gradient_clip_val=1")
    if "16" in str(trainer.precision):
        ways.append("set trainer.precision=32-true")
    return f"{', '.join(ways)}, look at these images, or find the operation by trainer.detect_anomaly=true"
