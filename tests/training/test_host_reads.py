"""No step of a training waits for its device, but where it asks whether the step can be made."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import Callback
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from helpers.training import CONFIGS, built, composed, tiny
from softpoint.functional import gaussian_axis
from softpoint.training.target import Target

HEADS = sorted(path.stem for path in (CONFIGS / "head").glob("*.yaml"))
GUARD = "training/non_finite.py on_before_optimizer_step"
# Of which a GPU has to tell a value, or the number of values.
READS = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "equal"}

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*many workers.*")


class Reads(TorchDispatchMode):
    """Collects the function of softpoint behind each value that is read from a tensor, while it is `on`."""

    def __init__(self) -> None:
        super().__init__()
        self.on, self.found = False, list[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        masks = [i for i in args[1] if i is not None and i.dtype == torch.bool] if func.__name__ == "index" else []
        if self.on and (func.overloadpacket.__name__ in READS or masks):
            frames = [frame for frame in traceback.extract_stack() if "/src/softpoint/" in frame.filename]
            self.found += [f"{frame.filename.split('/softpoint/')[-1]} {frame.name}" for frame in frames[-1:]]
        return func(*args, **(kwargs or {}))


class Steps(Callback):
    """Switches `reads` on for steps at whose end nothing is logged."""

    def __init__(self, reads: Reads, start: bool) -> None:
        self.reads, self.start = reads, start

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        self.reads.on |= self.start and 2 <= trainer.global_step < 6

    def on_train_batch_end(self, *_: Any) -> None:
        self.reads.on &= self.start


@pytest.mark.parametrize("head", HEADS)
def test_a_step_reads_one_value(tmp_path: Path, head: str) -> None:
    words = tiny(f"head={head}", "data.train=32", "trainer.log_every_n_steps=8")
    module, data, trainer = built(composed("train", words, tmp_path))
    reads = Reads()
    trainer.callbacks = [Steps(reads, start=True), *trainer.callbacks, Steps(reads, start=False)]
    with reads:
        trainer.fit(module, data)
    assert reads.found == 4 * [GUARD]


class Copies(TorchFunctionMode):
    """Refuses tensors that are made of numbers for a device, which a GPU waits for."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func is torch.Tensor.new_tensor or (
            func in (torch.tensor, torch.as_tensor) and "device" in (kwargs or {})
        )
        assert not made, "numbers are copied to the device"
        return func(*args, **(kwargs or {}))


def test_a_target_copies_no_numbers() -> None:
    keypoints, visibility = torch.tensor([[[1.0, 2.0], [9.0, 2.0]]]), torch.tensor([[2, 2]])
    with Copies():
        target = Target.of(keypoints, visibility, (8, 8), 4)
        gaussian_axis(target.points[..., 0], 1.5, 2)
    assert target.mask.tolist() == [[True, False]]
