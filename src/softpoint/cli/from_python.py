"""A training from Python, such as a notebook: the run of the command `softpoint train`, in the same process."""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from softpoint.cli import run_folder
from softpoint.cli.command_line import is_override, key_of
from softpoint.cli.hydra_app import launch
from softpoint.cli.overrides import override_value
from softpoint.cli.processes import has_several, train_in_processes
from softpoint.cli.train import train as train_here
from softpoint.cli.trust import own_packages

if TYPE_CHECKING:
    from softpoint.inference import Predictor

CONFIG = "train"  # the command that it becomes
# Hydra would replace the handlers of the program's loggers.
_NO_LOGGING = ("hydra/hydra_logging=none", "hydra/job_logging=none")


class TrainingError(ValueError):
    """A training that `softpoint train` would end with an exit code of 1; the message is the command's."""


class Run:
    """A training that has ended, by its folder.

    Args:
        folder: of the run, with checkpoints/best.ckpt, test.csv, report.html and all else that the command writes.
        trust: packages of your own that the network is built of, see `load_predictor`.
    """

    def __init__(self, folder: str | Path, trust: Sequence[str] = ()) -> None:
        self.folder, self.trust = Path(folder).absolute(), tuple(trust)

    def __repr__(self) -> str:
        return f"Run({os.path.relpath(self.folder)!r})"

    @property
    def checkpoint(self) -> Path:
        """The checkpoint of the best epoch."""
        return self.folder / "checkpoints" / "best.ckpt"

    @cached_property
    def predictor(self) -> Predictor:
        """The predictor of the best checkpoint, on the fastest device here."""
        from softpoint.inference import load_predictor

        return load_predictor(self.checkpoint, "auto", trust=self.trust)

    @cached_property
    def metrics(self) -> dict[str, float]:
        """The metrics of all keypoints together on the test split, by name; empty for a run without one."""
        from softpoint.inference.checkpoint_content import read_content

        return dict(read_content(self.checkpoint).record.get("metrics", {}))


def train(*words: str, **settings: Any) -> Run:
    """Train as the command `softpoint train` does with the same settings, and return the run.

    Each of `words` is one word of its command line, such as "data.labels=FILE"; `settings` are groups and keys by
    name, and of texts, paths, numbers, None, and lists and dicts of these. `--config-dir=DIR` is the only flag.

    Raises TrainingError with the message of a mistake, and for a training that failed. An interrupt stops the run after
    the step, as Ctrl-C stops the command, and raises KeyboardInterrupt. Logging, warnings, signal handlers and
    sys.argv of the calling program are left as they were.
    """
    line = [*map(_checked, words), *(_word(key, value) for key, value in settings.items())]
    try:
        with _restored(line):
            run: Run = launch("from_python", [*line, *_NO_LOGGING])
        return run
    except SystemExit as stop:
        code = stop.code
        if stop.__context__:  # whose frames would keep the network on its device
            traceback.clear_frames(stop.__context__.__traceback__)
    raise _error(code)


def main(cfg: DictConfig) -> Run:
    """Train, in further processes where the config asks for them, and return the run."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    if _started_apart() or not has_several(cfg):
        train_here(cfg)
    else:
        from softpoint.training.ending import exit_on_signals

        run_folder.held.close()  # of the folder, which that command uses
        with exit_on_signals():
            train_in_processes(folder, more=())
    return Run(folder, own_packages(cfg))


def _started_apart() -> bool:
    """Return whether a launcher has started all processes of a training, each of which is this program."""
    return "TORCHELASTIC_RUN_ID" in os.environ or int(os.environ.get("SLURM_NTASKS") or 1) > 1


def _checked(word: str) -> str:
    """Return a word of the command line; TrainingError for one that is of no use here."""
    if not isinstance(word, str) or not (is_override(word) or word.startswith("--config-dir=")):
        raise TrainingError(f"{word!r} is no setting: give 'KEY=VALUE', or an argument as in softpoint.train(seed=1)")
    if key_of(word) in ("sweep", "hydra.mode"):
        raise TrainingError(f"{word}: softpoint.train is one run; the command softpoint train starts sweeps")
    return word


def _word(key: str, value: Any) -> str:
    try:
        return _checked(f"{key}={override_value(value)}")
    except ValueError as error:
        raise TrainingError(f"{key}: {error}") from None


@contextmanager
def _restored(line: Sequence[str]) -> Iterator[None]:
    """Give the block the arguments and the output of a command, and restore those of the calling program after it."""
    loggers = {name: logging.getLogger(name) for name in (None, "pytorch_lightning", "pytorch_lightning.profilers")}
    levels = {name: logger.level for name, logger in loggers.items()}
    root, arguments, hydra = loggers[None], sys.argv, GlobalHydra.instance().hydra
    full_error, handler = os.environ.get("HYDRA_FULL_ERROR"), logging.StreamHandler(sys.stdout)
    GlobalHydra.instance().clear()
    sys.argv = [str(Path(sys.executable).with_name("softpoint")), CONFIG, *line]
    if not root.handlers:
        root.setLevel(logging.INFO)
        root.addHandler(handler)
    try:
        with warnings.catch_warnings():
            yield
    finally:
        root.removeHandler(handler)
        for name, logger in loggers.items():
            logger.setLevel(levels[name])
        sys.argv, GlobalHydra.instance().hydra = arguments, hydra
        os.environ.pop("HYDRA_FULL_ERROR")
        if full_error is not None:
            os.environ["HYDRA_FULL_ERROR"] = full_error


def _error(code: Any) -> BaseException:
    """Return the exception for an exit code; a signal that ended the run is raised again for the calling program."""
    if not isinstance(code, int):
        return TrainingError(str(code).removeprefix("error: "))
    if code - 128 in signal.valid_signals():
        signal.raise_signal(code - 128)  # of Ctrl-C a KeyboardInterrupt, where the program has no other handler
        return TrainingError(f"the run was stopped by {signal.Signals(code - 128).name}")
    return TrainingError(f"the run ended with exit code {code}")
