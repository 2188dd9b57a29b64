"""The record of a run: facts that its checkpoints carry for whoever gets only those."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.trainer.states import TrainerFn

from softpoint.inference import Checkpoint, read_checkpoint
from softpoint.inference.model_card import write_card
from softpoint.inference.safe_load import read_torch_file
from softpoint.machine import cores, git_state, library_versions, processor
from softpoint.paths import write_json
from softpoint.training.best import best_checkpoint
from softpoint.training.checkpoint_io import replace_checkpoint
from softpoint.training.ending import reason_of_end
from softpoint.training.final_test import FinalTest
from softpoint.training.growth import size_path

# Facts that only the start of a run knows: where the weights come from, and the speed that chose its input.
_ORIGIN = ("network", "starting_weights", "weights_license", "known_held_out", "time_budget")


class Record(Callback):
    """Writes facts of a run into each of its checkpoints, as plain values under `record`, and its model card.

    `command_facts` come from the command line. `splits` counts images, subjects and labeled points of each split, where
    that needs no synthetic image; `weights_license` is that of the starting weights, None without any or if it is
    unknown. A resumed run keeps those of its start, and `minutes` includes those before. The best checkpoint gets the
    outcome of the final test, and model_card.md is the last file of a run; `trust` names packages that its network may
    be built of. Once a run is accepted, run.json in its folder has the facts, and `started` is called.
    """

    def __init__(
        self, command_facts: Mapping[str, Any], started: Callable[[], None] = lambda: None, trust: Sequence[str] = ()
    ) -> None:
        self.command_facts, self.started, self.trust = dict(command_facts), started, trust
        self.facts: dict[str, Any] = {}
        self.checkpoint: Checkpoint | None = None  # the best one, after the test
        self._start, self._minutes_before = time.monotonic(), 0.0
        self._origin: dict[str, Any] = {}  # of a run that is resumed

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        started = getattr(pl_module.net.backbone, "started_from", None) or {}
        self._start = time.monotonic()
        self.facts = {
            "finished": False,
            "date": datetime.now(UTC).date().isoformat(),
            "hardware": describe_hardware(trainer.strategy.root_device, trainer.world_size),
            "network": pl_module.summary,
            "splits": {split: _count(source) for split, source in trainer.datamodule.sources.items()},
            "starting_weights": started.get("weights"),
            "weights_license": started.get("license"),
            "versions": library_versions(),
            "git": git_state(Path.cwd()),
            "softpoint_git": git_state(Path(__file__).parent, tracked=Path(__file__)),
            "threads": torch.get_num_threads(),
            "checksums": dict(getattr(trainer.datamodule, "checksums", {})),
            **self.command_facts,
            **self._origin,
        }

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.is_global_zero and not trainer.fast_dev_run:
            write_json(Path(trainer.default_root_dir) / "run.json", self.facts)
            self.started()

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["record"] = {**self.facts, "minutes": self._minutes}

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        self.facts |= {"minutes": self._minutes, "end": reason_of_end(trainer), "steps": trainer.global_step}
        self.facts["usual_steps"] = usual_steps(trainer)
        if len(sizes := size_path(trainer)) > 1:
            self.facts["growth"] = sizes

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        self.finish(trainer, pl_module)

    def finish(self, trainer: Any, pl_module: Any) -> None:
        """Add the outcome of the run to the best checkpoint, and write the model card; also of a run without a test."""
        best = best_checkpoint(trainer)
        report = FinalTest.of(trainer)
        if best is None or report.failure or not trainer.is_global_zero:
            return
        add_to_record(best.path, {**self.facts, **report.facts(), "finished": True})
        try:
            self.checkpoint = read_checkpoint(best.path, self.trust)
        except ValueError as error:  # of a network that no command can build again
            print(f"no model card: {error}")
            return
        if not report.metrics:
            print("no image was left to test the model on")
        card = Path(trainer.default_root_dir) / "model_card.md"
        write_card(self.checkpoint, card)
        print(f"model card: {os.path.relpath(card)}")

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            record = checkpoint.get("record", {})
            self._minutes_before = float(record.get("minutes", 0))
            self._origin = {key: record[key] for key in _ORIGIN if key in record}
            self.facts |= self._origin  # of divided weights, this comes after the start of the fit

    @property
    def _minutes(self) -> float:
        return self._minutes_before + (time.monotonic() - self._start) / 60


def usual_steps(trainer: Any) -> int:
    """Return about how many steps a training on a set of this size needs."""
    data = trainer.datamodule
    samples = data.default_epochs * len(data.sampler("train", True, 0, trainer.world_size))
    steps: int = math.ceil(samples / data.batch_size / trainer.accumulate_grad_batches)
    return steps


def describe_hardware(device: torch.device, count: int) -> str:
    """Return the name of the hardware and the number of processes.

    >>> describe_hardware(torch.device("cpu"), 1).partition(" CPU core")[0].isdigit()
    True
    """
    if device.type == "cuda":
        return f"{count} x {torch.cuda.get_device_name(device)}"
    if device.type != "cpu":
        return f"{count} x {device.type}"
    processes = f", {count} processes" if count > 1 else ""
    return f"{cores()} CPU core{'s' * (cores() > 1)} ({processor()}){processes}"


def add_to_record(path: Path, facts: Mapping[str, Any]) -> None:
    """Add facts to the record in a checkpoint of this run, atomically."""
    stored = read_torch_file(path)
    replace_checkpoint(path, {**stored, "record": {**stored["record"], **facts}})


def _count(source: Any) -> dict[str, int]:
    if (labels := getattr(source, "labels", None)) is None:
        return {"images": len(source)}
    points = int((labels.visibility > 0).sum())
    return {"images": len(set(labels.images)), "subjects": len(labels), "points": points}
