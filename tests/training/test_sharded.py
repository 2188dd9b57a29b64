"""A network that processes divide computes and learns as before; two processes are tried by benchmarks/ranks.py."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer
from torch import distributed
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh

from softpoint.models import FusionDecoder, KeypointNet, Small, SoftArgmaxHead
from softpoint.training.callbacks import ExponentialAverage
from softpoint.training.checks import check_trainer
from softpoint.training.sharded import ShardedStrategy, shard


@pytest.fixture
def mesh() -> Iterator[Any]:
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    distributed.destroy_process_group()


def test_a_divided_network_computes_and_learns_as_before(mesh: Any) -> None:
    torch.manual_seed(0)
    parts = Small(width=4), partial(FusionDecoder, channels=4), partial(SoftArgmaxHead, window=5)
    net = KeypointNet(2, *parts)
    divided = copy.deepcopy(net)
    shard(divided, mesh)
    image = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    for one in (net, divided):
        optimizer = torch.optim.SGD(one.parameters(), lr=0.1)
        one(image)["logits"].square().mean().backward()
        optimizer.step()
    whole = get_model_state_dict(divided, options=StateDictOptions(full_state_dict=True))
    assert whole.keys() == net.state_dict().keys()
    for key, value in net.state_dict().items():
        torch.testing.assert_close(whole[key], value, rtol=1e-4, atol=1e-6)


def test_divided_weights_are_not_averaged() -> None:
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    trainer = Trainer(
        accelerator="cpu", devices=1, strategy=ShardedStrategy(), callbacks=[ExponentialAverage(0.9)], **quiet
    )
    with pytest.raises(ValueError, match=r"which callbacks.ema cannot average; add '~callbacks.ema'"):
        check_trainer(trainer)
