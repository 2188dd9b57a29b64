"""The weights to which a training returns after many steps that were not finite."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from softpoint.training.callbacks import ExponentialAverage


class GoodWeights:
    """A copy of the weights and of the optimizer, in the memory of the processor.

    A checkpoint holds it too, unless it is a copy of what that checkpoint holds anyway, so that a resumed run returns
    to the same. One of sharded weights does not: those of the checkpoint then take its place.
    """

    def __init__(self) -> None:
        self.name = ""  # "" before any are kept
        self._step = -1
        self._weights: list[Tensor] = []
        self._optimizer: dict[str, Any] = {}

    def keep(self, trainer: Any, name: str) -> None:
        """Copy the present state."""
        self.name, self._step = name, trainer.global_step
        self._weights = [tensor.to("cpu", copy=True) for tensor in weights_of(trainer)]
        self._optimizer = _on_cpu(trainer.optimizers[0].state_dict())

    def restore(self, trainer: Any) -> None:
        """Make the state that was kept the present one, all but the settings of the optimizer."""
        for tensor, kept in zip(weights_of(trainer), self._weights, strict=True):
            tensor.copy_(kept)
        optimizer = trainer.optimizers[0]
        settings = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
        optimizer.load_state_dict(copy.deepcopy(self._optimizer))
        for group, now in zip(optimizer.param_groups, settings, strict=True):
            group |= now

    def state_dict(self, trainer: Any) -> dict[str, Any]:
        """Return what a checkpoint of the present step needs to go on with these weights."""
        if self._step == trainer.global_step or any(hasattr(tensor, "full_tensor") for tensor in self._weights):
            return {"name": self.name}
        return {"name": self.name, "weights": self._weights, "optimizer": self._optimizer}

    def load_state_dict(self, trainer: Any, stored: dict[str, Any]) -> None:
        """Take the weights that a checkpoint names: those that it holds beside its own, or the present ones."""
        name, kept = stored.get("name", "of the checkpoint"), stored.get("weights", [])
        self.keep(trainer, name)
        if [tensor.shape for tensor in kept] == [tensor.shape for tensor in self._weights]:
            self._step, self._weights, self._optimizer = -1, kept, stored["optimizer"]


def weights_of(trainer: Any) -> Iterator[Tensor]:
    """The parameters and buffers of the network in training, and of its average."""
    modules = [trainer.lightning_module]
    modules += [callback.module for callback in trainer.callbacks if isinstance(callback, ExponentialAverage)]
    for module in modules:
        yield from (tensor.detach() for tensor in (*module.parameters(), *module.buffers()))


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _on_cpu(item) for key, item in value.items()}
    return [_on_cpu(item) for item in value] if isinstance(value, list) else value
