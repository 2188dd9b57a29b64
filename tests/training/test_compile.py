"""Compiled training against eager training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from helpers.training import CONFIGS, built, composed, labeled, tiny, write_labels
from softpoint.labels.skeleton import Skeleton
from softpoint.training import KeypointModule

HEADS = sorted(path.stem for path in (CONFIGS / "head").glob("*.yaml"))
COUNTS = (1, 3, 17)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:The .grad attribute of a Tensor",  # which torch looks at to compile
        "ignore:.*LeafSpec.*",
        "ignore:.*many workers.*",
    ),
    pytest.mark.usefixtures("unchecked"),
]


def test_compiled_gradients_equal_eager_ones(tmp_path: Path) -> None:
    """For every head, and every number of keypoints; of three, the gradients were NaN for most batches."""
    shared = None
    for head in HEADS:
        cfg = composed("train", tiny(f"head={head}", "compile=true", "backbone.stages=[2,3]"), tmp_path)
        for count in COUNTS if head == "soft_argmax" else (3,):
            module = module_of(cfg, count)
            shared = shared or module
            for name in ("backbone", "decoder", "attention"):  # compiled once
                setattr(module.net, name, getattr(shared.net, name))
            compiled = gradients(module, count)
            with torch.compiler.set_stance("force_eager"):
                eager = gradients(module, count)
            difference = (compiled - eager).norm() / eager.norm()
            assert eager.norm() > 0 and difference < 1e-3, (head, count, difference)


def test_a_compiled_run_equals_an_eager_one(tmp_path: Path) -> None:
    plain = ["optimizer=sgd", "scheduler=constant", "~callbacks.ema", "backbone.stages=[2,3]", "trainer.max_epochs=2"]
    words = labeled(write_labels(tmp_path / "data"), "data.keypoints=[nose,left_ear,tail]", *plain)
    steps = []
    for compiled in ("false", "true"):
        module, data, trainer = built(composed("train", [*words, f"compile={compiled}"], tmp_path / compiled))
        start = [parameter.detach().clone() for parameter in module.parameters()]
        trainer.fit(module, data)
        after = [parameter.detach() for parameter in module.parameters()]
        steps.append(torch.cat([(b - a).flatten() for a, b in zip(start, after, strict=True)]))
    eager, compiled_step = steps
    # Where rounding decides on which side of 0 a ReLU is, a few numbers differ.
    assert (compiled_step - eager).norm() < 0.02 * eager.norm() > 0


def module_of(cfg: DictConfig, count: int) -> KeypointModule:
    """The module of a training, with `count` keypoints."""
    make_module = instantiate(cfg.module, compile=cfg.compile, _partial_=True)
    module: KeypointModule = make_module(skeleton=Skeleton(tuple(f"k{k}" for k in range(count))))
    return module.train()


def gradients(module: KeypointModule, count: int) -> Tensor:
    """The gradient of a batch's loss in all parameters; channels last, as batches of a training are.

    It is of the size of the training's batches below, for which inductor then finds what it has compiled.
    """
    generator = torch.Generator().manual_seed(count)
    image = torch.randint(0, 256, (4, 3, 64, 64), generator=generator, dtype=torch.uint8)
    batch = {
        "image": image.to(memory_format=torch.channels_last),
        "keypoints": 64 * torch.rand(4, count, 2, generator=generator),
        "visibility": torch.full((4, count), 2),
    }
    module.zero_grad()
    module.loss(module.net(batch["image"]), module._target(batch))["loss"].backward()
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])
