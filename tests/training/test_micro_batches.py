"""A batch in parts is the step of the whole batch, and memory that runs out only divides it."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer
from torch import Tensor

from helpers.training import built, composed, labeled, write_labels
from softpoint.training.checks import check_trainer
from softpoint.training.micro_batches import MicroBatches, micro_batches

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*", "ignore:.*many workers.*", "ignore:The dirpath has changed", "ignore:.*is not empty"
)

AUTO = ["optimizer=sgd", "trainer.accumulate=auto", "~callbacks.dashboard", "logger=csv", "data.batch_size=5",
        "~callbacks.calibrate", "~callbacks.final_test"]  # fmt: skip
HALF = "trainer.precision=bf16-mixed"


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Every third image has one label, and the others have four."""
    missing = [(i, k) for i in range(0, 12, 3) for k in range(3)]
    return labeled(write_labels(tmp_path_factory.mktemp("labels"), 12, missing=missing), *AUTO)


GPU = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
CPU = RuntimeError("could not create a primitive")  # as oneDNN says it


def refuse_more_than(images: int, module: Any, error: Exception = GPU) -> None:
    """Let memory hold so many images in training."""

    def refuse(_: Any, inputs: tuple[list[Tensor]]) -> None:
        if torch.is_grad_enabled() and len(inputs[0][0]) > images:
            torch.rand(3)  # an attempt that fails has drawn random numbers
            raise error

    module.net.decoder.register_forward_pre_hook(refuse)


class BegunError(Exception):
    """Ends a training with its first batch."""


def begun(words: list[str], folder: Path) -> tuple[Any, Any, Any]:
    """Module, first batch and trainer as they are when training has begun."""
    module, data, trainer = built(composed("train", words, folder))

    def stop(batch: Any, batch_idx: int) -> Tensor:
        raise BegunError(batch)

    step, module.training_step = module.training_step, stop
    with pytest.raises(BegunError) as begun:
        trainer.fit(module, data)
    module.training_step, module.log, module.log_dict = step, lambda *_, **__: None, lambda *_: None
    return module, begun.value.args[0], trainer


def outcome(module: Any, batch: Any, trainer: Any) -> dict[str, Tensor]:
    """Gradients of a step, half of the loss, batch statistics, and what is drawn next."""
    torch.manual_seed(0)
    module.zero_grad()
    before = [buffer.clone() for buffer in module.buffers()]
    with trainer.precision_plugin.forward_context():
        loss = module.training_step(batch, 0) / 2
    loss.backward()
    buffers = {f"buffer {name}": buffer.clone() for name, buffer in module.named_buffers()}
    for buffer, value in zip(module.buffers(), before, strict=True):
        buffer.copy_(value)
    gradients = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), "drawn": torch.rand(1), **gradients, **buffers}


@pytest.mark.parametrize(
    "more",
    [
        ["loss.heatmap_ce.hard_keypoints=2"],
        ["head=channel_softmax", HALF],
        ["semi=mean_teacher", "module.teacher.threshold=0", "module.teacher.ramp=0"],
    ],
)
def test_a_batch_in_parts_is_the_step_of_the_whole_batch(labels: list[str], tmp_path: Path, more: list[str]) -> None:
    unlabeled = [f"data.unlabeled_images.source={labels[2].partition('=')[2]}"] * ("semi=mean_teacher" in more)
    module, batch, trainer = begun([*labels, *more, *unlabeled, "norm=group"], tmp_path)
    divided, trainer.callbacks = (
        micro_batches(trainer),
        [c for c in trainer.callbacks if c is not micro_batches(trainer)],
    )
    usual = outcome(module, batch, trainer)
    trainer.callbacks.append(divided)
    whole = outcome(module, batch, trainer)
    refuse_more_than(2, module)
    parts = outcome(module, batch, trainer)
    assert divided.size == 2 and len(usual) > 20 and usual["loss"] > 0
    loose = {"rtol": 0.05, "atol": 1e-3} if HALF in more else {"rtol": 1e-4, "atol": 1e-6}
    for name, value in usual.items():
        assert torch.equal(whole[name], value), name
        torch.testing.assert_close(parts[name], value, **loose)


@pytest.mark.parametrize("own", [True, False])
def test_an_attempt_without_memory_leaves_nothing_behind(labels: list[str], tmp_path: Path, own: bool) -> None:
    """Batch statistics and random numbers are as if the batch had been divided before, by the state of a checkpoint.

    So they are where not this process but another one is short of memory.
    """
    module, batch, trainer = begun(labels, tmp_path)
    divided = micro_batches(trainer)
    before = MicroBatches()
    before.load_state_dict({"size": 3})
    trainer.callbacks[trainer.callbacks.index(divided)] = before
    calm = outcome(module, batch, trainer)
    trainer.callbacks[trainer.callbacks.index(before)] = divided
    if own:
        refuse_more_than(3, module)
    else:
        halve = divided._halve
        divided._halve = lambda trainer, samples, short: halve(trainer, samples, short=divided.size is None)
    short = outcome(module, batch, trainer)
    assert divided.state_dict() == {"size": 3}
    assert all(torch.equal(short[name], value) for name, value in calm.items())
    assert any("running_mean" in name for name in calm)


def test_a_checkpoint_keeps_the_size_of_parts(
    labels: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module, data, trainer = built(composed("train", labels, tmp_path))
    refuse_more_than(3, module, CPU)
    trainer.fit(module, data)
    assert "does not hold 5 images in training: a batch is trained in parts of 3 from now on" in caplog.text
    stored = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    assert stored["callbacks"]["MicroBatches"] == {"size": 3}


def test_all_processes_divide_alike(caplog: pytest.LogCaptureFixture) -> None:
    """The one that is short of memory has 5 samples of its own, another one has 8."""
    others = torch.tensor([0, 8])
    strategy = SimpleNamespace(root_device="cpu", reduce=lambda own, reduce_op: torch.maximum(own, others))
    trainer = SimpleNamespace(world_size=2, is_global_zero=True, strategy=strategy)
    divided, sizes = MicroBatches(), []
    with caplog.at_level(logging.WARNING):
        while divided._halve(trainer, 5, short=divided.size != 2):
            sizes.append(divided.size)
            others[1] = min(8, divided.size or 8)
    assert sizes == [4, 2] and len(caplog.records) == 2
    with pytest.raises(ValueError, match="memory does not hold a training step of one image"):
        MicroBatches()._halve(SimpleNamespace(world_size=1), 1, short=True)


def test_what_cannot_be_repeated_in_parts_is_refused(tmp_path: Path) -> None:
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp", sync_batchnorm=True, **quiet)
    with pytest.raises(ValueError, match=r"trainer.sync_batchnorm=true joins batch statistics on GPUs only; .* norm="):
        check_trainer(trainer)
    trainer = Trainer(accelerator="cpu", devices=2, strategy="sharded", callbacks=[MicroBatches()], **quiet)
    with pytest.raises(ValueError, match=r"trainer=fsdp sums .* trainer.accumulate=auto cannot"):
        check_trainer(trainer)
    with pytest.raises(ValueError, match=r"trainer.accumulate=4: give auto, .* or null"):
        built(composed("train", ["trainer.accumulate=4"], tmp_path))
