"""A training in several processes, as a command of its own that a study or a sweep starts."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from softpoint.suggest import quoted

# Of the command of a job that is one of its own, so that a bad model ends it as it ends a job.
ALONE = "must_work=false"


def has_several(cfg: DictConfig) -> bool:
    """Return whether the running job trains in several processes, each of which would start its study or sweep again.

    Raises ValueError for several machines.
    """
    if (nodes := cfg.trainer.num_nodes) != 1:
        launchers = "several trainings side by side by hydra/launcher=submitit_slurm"
        again = (
            f"trainer.num_nodes={nodes}: each node would start all trainings again; train on one node, and {launchers}"
        )
        raise ValueError(again)
    return str(cfg.trainer.devices) != "1" or cfg.trainer.strategy != "auto"


def train_in_processes(folder: Path, more: Sequence[str] = (ALONE,)) -> None:
    """Train the running job as a command of its own, followed by `more`; Lightning repeats it for further processes.

    Raises ValueError with the reason of a failure.
    """
    running = HydraConfig.get()
    own = [
        f"--config-dir={source.path}" for source in running.runtime.config_sources if source.provider == "command-line"
    ]
    words = [*running.overrides.task, f"hydra.run.dir={quoted(folder)}", *own, "hydra.mode=RUN", *more]
    command, lines = [sys.executable, "-m", "softpoint", "train", *words], []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stderr or ():
                sys.stderr.write(line)
                lines.append(line)
        except SystemExit as stop:
            if stop.code == 128 + signal.SIGTERM:  # a terminal sends Ctrl-C to both processes
                process.terminate()
            raise
    if process.returncode:
        ending = f"error: it ended with code {process.returncode}"
        raise ValueError(next((line for line in lines if line.startswith("error: ")), ending)[7:].strip())
