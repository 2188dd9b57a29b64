"""A command under Hydra, whose user's mistakes end in one clear message."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from softpoint.cli.hydra_errors import CONFIGS, CommandLine, check_renamed, is_override, leave


def launch(config_name: str, main: Callable[[DictConfig], Any], words: Sequence[str]) -> None:
    """Run `main` with the config that `words` compose; SOFTPOINT_TRACEBACK=1 also prints where it failed."""
    # Threads that wait for each other sleep: spinning, they fight a loader or a neighbor for the same cores,
    # and a step takes five times as long on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what it would print
    OmegaConf.register_new_resolver("run_dir", run_dir, replace=True)
    line, arguments = CommandLine(config_name, words), sys.argv

    @wraps(main)
    def task(cfg: DictConfig) -> Any:
        sys.argv = arguments
        try:
            check_renamed(cfg)
            return main(cfg)
        except Exception as error:
            # Hydra would print every override before the message. In a sweep it goes on with the next job.
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise
            leave(error, line)

    try:
        # Hydra parses sys.argv, and takes no override behind a flag.
        sys.argv = [arguments[0], *sorted(words, key=lambda word: not is_override(word))]
        hydra.main(config_path=str(CONFIGS), config_name=config_name, version_base="1.3")(task)()
    except Exception as error:
        leave(error, line)
    finally:
        sys.argv = arguments


def run_dir(ckpt_path: str | None, new: str) -> str:
    """Return the folder of the run that a checkpoint belongs to, so that resuming goes on there; else a new one.

    >>> run_dir("outputs/a/checkpoints/last.ckpt", "outputs/b"), run_dir(None, "outputs/b")
    ('outputs/a', 'outputs/b')
    """
    folder = Path(ckpt_path or "").parent
    return str(folder.parent) if folder.name == "checkpoints" else new
