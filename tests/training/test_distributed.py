"""Two processes, started as a study or a sweep starts them, train and measure what one process would.

The processes also run the callback of this file, by its name on their command line.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from helpers.training import ROOT, built, composed, drawn, labeled, read_csv, write_labels
from softpoint.cli.processes import train_in_processes
from softpoint.data.loaders import EpochSampler

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*", "ignore:.*many workers.*", "ignore:The dirpath has changed", "ignore:.*is not empty"
)


# A sample of the second epoch's first step, of two processes in the share of the second.
_SECOND = EpochSampler(12, seed=0)
_SECOND.set_epoch(1)
SPOILED = int(_SECOND.order()[1])


class FrozenNorms(Callback):
    """Normalizes by stored statistics, because those of a batch depend on how it is divided, and spoils a sample."""

    def on_train_batch_start(self, trainer: Any, pl_module: nn.Module, batch: Any, batch_idx: int) -> None:
        for module in pl_module.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        if trainer.current_epoch == 1:
            batch["image"] = batch["image"].float()
            batch["image"][batch["index"] == SPOILED] = torch.nan


def words(folder: Path, batch: int) -> list[str]:
    """Three steps on 12 images: one process without a label, uneven counts, all labeled; 3 val, 5 test; twice."""
    order = [draw.index for draw in EpochSampler(12, seed=0)]
    nothing = [(order[i], k) for i in (1, 3) for k in range(4)]
    uneven = [(order[4], 0), (order[5], 1), (order[5], 2), (order[7], 3)]
    data = write_labels(folder, 20, missing=[*nothing, *uneven, (16, 1)])
    names = ["train"] * 12 + ["val"] * 3 + ["test"] * 5
    rows = [f"video{i % 4}/img{i:02}.png,{name}" for i, name in enumerate(names)]
    (folder / "splits.csv").write_text("\n".join(["image,split", *rows]))
    plain = ["optimizer=sgd", "optimizer.momentum=0", "optimizer.nesterov=false", "scheduler=constant"]
    frozen = ["~callbacks.ema", "+callbacks.frozen._target_=test_distributed.FrozenNorms"]
    plain += ["trainer.max_epochs=2"]
    return drawn(labeled(data, f"data.splits={folder / 'splits.csv'}", f"data.batch_size={batch}", *plain, *frozen))


@pytest.mark.slow
def test_two_processes_train_and_measure_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, here = tmp_path / "two", Path(__file__).parent
    for name in ("MASTER_ADDR", "MASTER_PORT"):  # which an earlier group of processes in this one may have left
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}/src{os.pathsep}{here}{os.pathsep}{here.parent}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONWARNINGS", "error::UserWarning")
    ddp = ["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu"]
    composed("train", [*words(tmp_path / "data", 2), *ddp], folder)
    train_in_processes(folder)
    out, err = capfd.readouterr()
    assert out.count("best checkpoint") == 1 and "Traceback" not in err

    shown = EventAccumulator(str(folder / "tensorboard")).Reload().Histograms("router/head/3 x 3")
    assert [event.histogram_value.num for event in shown] == [3]  # of all validation images, each once

    monkeypatch.syspath_prepend(here)
    module, data, trainer = built(composed("train", words(tmp_path / "data", 4), tmp_path / "one"))
    trainer.fit(module, data)
    two, one = (
        torch.load(path / "checkpoints" / "last.ckpt", weights_only=True) for path in (folder, tmp_path / "one")
    )
    assert two["global_step"] == one["global_step"] == 6
    assert (out + err).count("1 of 6 steps were skipped") == 1
    assert f"is nan in batch 1 of epoch 2 (video{SPOILED % 4}/img{SPOILED:02}.png, " in out + err
    record = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["record"]
    assert record["finished"] and "2 processes" in record["hardware"]
    before = composed("train", words(tmp_path / "data", 4), tmp_path / "start")
    start = built(before)[0].state_dict()
    for key, value in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][key], value, rtol=1e-5, atol=1e-6)
    assert not torch.equal(start["net.head.logits.weight"], one["state_dict"]["net.head.logits.weight"])

    curves = [
        EventAccumulator(str(path / "tensorboard")).Reload().Scalars("train/loss")
        for path in (folder, tmp_path / "one")
    ]
    two_losses, one_losses = ([event.value for event in curve] for curve in curves)
    assert two_losses and two_losses == pytest.approx(one_losses, rel=1e-5, nan_ok=True)

    result = trainer.test(
        module, data, ckpt_path=folder / "checkpoints" / "best.ckpt", verbose=False, weights_only=True
    )
    rows = {row["keypoint"]: row for row in read_csv(folder / "test.csv")}
    single = {row["keypoint"]: row for row in read_csv(tmp_path / "one" / "test.csv")}
    assert rows["all"]["points"] == single["all"]["points"] == "19"
    for name, row in rows.items():
        assert row["points"] == single[name]["points"]
        assert float(row["epe"]) == pytest.approx(float(single[name]["epe"]), rel=1e-6)
        assert float(row["mean_position_epe"]) == pytest.approx(float(single[name]["mean_position_epe"]), rel=1e-6)
    assert float(rows["all"]["epe"]) == pytest.approx(result[0]["test/epe"], rel=1e-6)
