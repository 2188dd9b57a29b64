"""Trainings whose parameters, gradients and optimizer are divided between the processes (FSDP2)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from lightning_fabric.strategies.model_parallel import _rekey_optimizer_state_if_needed
from pytorch_lightning.strategies import ModelParallelStrategy, Strategy, StrategyRegistry
from pytorch_lightning.trainer.states import TrainerFn
from torch import distributed
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import fully_shard

from softpoint.models import KeypointNet

_WHOLE = StateDictOptions(full_state_dict=True)


class ShardedStrategy(ModelParallelStrategy):
    """Every process holds a part of each parameter during training; a checkpoint is whole, as that of one process.

    Calibration and the final test are of a whole network in each process, as in all commands that use it.
    """

    def __init__(self) -> None:
        super().__init__(save_distributed_checkpoint=False)
        self.whole: KeypointNet | None = None

    def setup_environment(self) -> None:
        """Join all processes in one group, between which the network is divided before it is trained."""
        self._data_parallel_size, self._tensor_parallel_size = self.num_nodes * self.num_processes, 1
        super().setup_environment()
        module: Any = self.lightning_module
        if module.trainer.state.fn == TrainerFn.FITTING:
            self.whole = copy.deepcopy(module.net)
            module.configure_model = partial(shard, module.net, self.device_mesh["data_parallel"])
        else:
            module.net = self.whole
            vars(module).pop("configure_model", None)

    def on_validation_start(self) -> None:
        """Give all processes the batch statistics of the first one, which are those that are saved."""
        assert self.model is not None
        for buffer in self.model.buffers():
            distributed.broadcast(buffer, 0)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Return the whole checkpoint, as of one process."""
        return Strategy.load_checkpoint(self, checkpoint_path, weights_only)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Give each process its part of the weights."""
        assert self.model is not None
        set_model_state_dict(self.model, dict(checkpoint["state_dict"]), options=_WHOLE)

    def setup(self, trainer: Any) -> None:
        """Divide the network, which FSDP then updates; a test has it whole."""
        if trainer.state.fn == TrainerFn.FITTING:
            super().setup(trainer)
        else:
            self.model_to_device()

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Give each process its part of the state of the optimizer."""
        assert self.model is not None
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            whole = _rekey_optimizer_state_if_needed(state, self.model)
            set_optimizer_state_dict(self.model, optimizer, optim_state_dict=whole, options=_WHOLE)


StrategyRegistry.register("sharded", ShardedStrategy, "FSDP2, with checkpoints as of one process")


def shard(net: KeypointNet, mesh: Any) -> None:
    """Divide the parameters of a network, part by part, so that only one part at a time is whole."""
    net.to(memory_format=torch.contiguous_format)  # FSDP divides no other
    parts: list[Any] = [net.backbone, net.decoder, net.head, net]
    for part in parts:
        fully_shard(part, mesh=mesh)
