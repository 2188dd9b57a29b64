"""Folders that a command writes to: a new one of its own, and none that another process is writing to."""

from __future__ import annotations

import copy
import os
import shlex
import shutil
import socket
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, flag_override

from softpoint.cli.processes import ALONE
from softpoint.cli.shell import command
from softpoint.cli.stored_run import kept_words, newest_run, own_words, owner
from softpoint.machine import slurm_job
from softpoint.paths import LOCK, exclusive_lock
from softpoint.signals import exit_on

AUTO = "auto"  # value of `resume`
# The locks and the new folders of the running command; closing it unlocks, and removes folders without a result.
held = ExitStack()


class LockFolder(Callback):
    """Hydra's callback that locks the folder of a run or a sweep before Hydra writes the config there."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.hydra.run.dir)
        if not _follows(config.trainer):
            self._lock(config.hydra.run.dir)
            _keep_other_run(folder, config.get("resume"))
        if (folder / "checkpoints").is_dir():  # Hydra would replace its config before anything is checked
            with flag_override(config, ["readonly", "struct"], False):
                config.hydra.output_subdir = None

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        self._lock(config.hydra.sweep.dir)
        if "optuna" not in config.hydra.sweeper._target_:  # which goes on with the study in its folder
            _keep_other_sweep(config)

    def _lock(self, folder: str) -> None:
        try:
            lock(Path(folder))
        except ValueError as error:  # of which Hydra would make a warning
            sys.exit(f"error: {error}")


def run_folder(resume: str | None, parent: str, trainer: DictConfig, words: Sequence[str] = ()) -> str:
    """Return the folder of the run that goes on, or a new one.

    `resume` is the folder or a checkpoint of a run; with "auto", and where a cluster or torchrun starts a job again,
    the newest run in `parent` of the command line `words` goes on. All processes of a distributed training use the
    first one's: Lightning gives it to those that it starts, and those of torchrun ask the store that torchrun keeps.

    >>> run_folder("outputs/a/checkpoints/last.ckpt", "outputs/b", DictConfig({}))
    'outputs/a'
    """
    if resume not in (None, AUTO):
        place = Path(str(resume))
        if place.is_dir() or place.parent.name == "checkpoints":
            return str(_run_of(str(resume)))
    follows, met = _follows(trainer), _meeting()
    if follows and met:
        return str(met.store.get(f"folder/{parent}").decode())
    again = resume == AUTO or restarted()
    before = newest_run(Path(parent), words, None if resume else slurm_job()) if again else None
    if follows:
        return str(before or Path(parent, _now()))
    if again:
        print(f"resume: {f'the run in {before}' if before else 'no run of this command yet, so this is a new one'}")
    new = str(before or new_folder(parent))
    if met and os.environ.get("RANK") == "0":
        met.store.set(f"folder/{parent}", new)
    return new


def new_folder(parent: str) -> str:
    """Return a folder in `parent`, named by the time, that this process alone has made."""
    name = _now()
    for suffix in chain([""], map("_{}".format, count(2))):
        folder = Path(parent, name + suffix)
        missing = [above for above in folder.absolute().parents if not above.exists()]
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            held.callback(_remove_without_result, folder.absolute(), missing)
            break
    return str(folder)


def leave_none_empty(words: Sequence[str]) -> None:
    """Let a new folder that the command line `words` name for Hydra be removed at the end, if it has no result."""
    for word in words:
        if word.startswith(("hydra.run.dir=", "hydra.sweep.dir=")) and "${" not in word:
            _remove_if_unused(Path(str(OverridesParser.create().parse_override(word).value())))


def _remove_if_unused(folder: Path) -> None:
    """Let a folder be removed at the end of the command, if it is new and has no result."""
    missing = [place for place in (folder.absolute(), *folder.absolute().parents) if not place.exists()]
    if missing:
        held.callback(_remove_without_result, missing[0], missing[1:])


def lock(folder: Path, until: ExitStack = held, file: str = "") -> None:
    """Keep other commands from writing to a folder, or to one file in it, until this one ends.

    Raises ValueError where another command does already.
    """
    name, place, kind = (f".{file}{LOCK}", folder / file, "file") if file else (LOCK, folder, "folder")
    try:
        until.enter_context(exclusive_lock(folder / name, wait=False))
    except BlockingIOError as error:
        by = f" ({owner(folder, name)})" if owner(folder, name) else ""
        raise ValueError(
            f"another process is writing to {place}{by}; wait until it has ended, or name another {kind}"
        ) from error
    with suppress(OSError):
        of_job = f" job={slurm_job()}" * bool(slurm_job())
        (folder / name).write_text(f"pid={os.getpid()} host={socket.gethostname()}{of_job}", encoding="utf-8")


def lock_output(folder: Path) -> None:
    """Lock a folder of results until the command ends, which then leaves no lock, and no folder it made for nothing.

    Ctrl-C and SIGTERM end it by an exception, so that it still says what is kept.
    """
    _remove_if_unused(folder)
    lock(folder)
    held.callback(_remove_lock, folder.absolute() / LOCK)
    held.enter_context(exit_on())


def lock_file(path: Path) -> None:
    """Lock one file of results until the command ends, as `lock_output` locks a folder."""
    folder = path.absolute().parent
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    lock(folder, file=path.name)
    held.callback(_remove_empty, missing)
    held.callback(_remove_lock, folder / f".{path.name}{LOCK}")
    held.enter_context(exit_on())


def keep_inputs(folder: Path, outputs: Iterable[str], inputs: Iterable[str | Path | None]) -> None:
    """Raise ValueError where an output in a folder would replace another file of the command."""
    read = {os.path.realpath(path) for path in inputs if path}
    for name in outputs:
        if (place := os.path.realpath(folder / name)) in read:
            raise ValueError(f"output={folder} would write {name} over {place}; name another folder")


def _remove_lock(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _remove_empty(folders: Sequence[Path]) -> None:
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _keep_other_run(folder: Path, resume: str | None) -> None:
    """End the command where its run would replace the checkpoints of another one."""
    own = resume == AUTO or restarted() or (resume and _run_of(resume).resolve() == folder.resolve())
    if not own and any((folder / "checkpoints").glob("[!.]*.ckpt")):
        new = f"the one that goes on from {resume}" if resume else "a new one"
        sys.exit(
            f"error: {folder} holds the checkpoints of a run, which {new} would replace; go on with that by"
            f" {command('resume')} {shlex.quote(str(folder))}, or give the new one another hydra.run.dir"
        )


def _keep_other_sweep(config: DictConfig) -> None:
    """End the command where the trainings of its sweep would replace those of another one, or go on with them."""
    folder = Path(config.hydra.sweep.dir)
    if config.get("resume") == AUTO or restarted():
        for run, words in _jobs(config):
            if any((run / "checkpoints").glob("[!.]*.ckpt")) and (other := _difference(run, words)):
                sys.exit(
                    f"error: {run} holds a training of other settings ({other}), with which resume=auto does not go on;"
                    " repeat the command of its sweep, or give this one another hydra.sweep.dir"
                )
    elif any(folder.glob("*/checkpoints/[!.]*.ckpt")):
        sys.exit(
            f"error: {folder} holds the trainings of a sweep, which new ones would replace; go on with them by the"
            " same command with resume=auto, or give the new ones another hydra.sweep.dir"
        )


def _difference(run: Path, words: Sequence[str]) -> str:
    """Return the words of a command line that the one of a run differs by; "" for the same one."""
    kept, own = kept_words(run), own_words(words)
    if kept is None:
        return ""
    there, here = (sorted({*some} - {*others, ALONE}) for some, others in ((kept, own), (own, kept)))
    return f"there {' '.join(there) or '-'}, here {' '.join(here) or '-'}" if there or here else ""


def _jobs(config: DictConfig) -> Iterator[tuple[Path, list[str]]]:
    """Yield the folder and the command line of each training of a grid sweep; nothing of another sweep."""
    sweeper = config.hydra.sweeper
    if not sweeper._target_.endswith(BasicSweeper.__name__):
        return
    words = [*(f"{key}={value}" for key, value in (sweeper.params or {}).items()), *config.hydra.overrides.task]
    (lines,) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(words), None)
    numbered = copy.deepcopy(config)
    for number, line in enumerate(lines):
        with flag_override(numbered, ["readonly", "struct"], False):
            numbered.hydra.job.num = numbered.hydra.job.id = number
        yield Path(config.hydra.sweep.dir, str(numbered.hydra.sweep.subdir)), line


def _run_of(place: str) -> Path:
    """Return the folder of the run of a checkpoint, or of a run itself."""
    return Path(place) if Path(place).is_dir() else Path(place).parent.parent


def restarted() -> bool:
    """Return whether a cluster or torchrun started this job again, with all of its processes."""
    met = _meeting()
    before = met.starts - 1 if met else int(os.environ.get("TORCHELASTIC_RESTART_COUNT") or 0)
    return bool(before > 0 or int(os.environ.get("SLURM_RESTART_COUNT") or 0) > 0)


def _meeting() -> Any:
    """Return where the processes that torchrun started meet; None for others."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    from softpoint.training.meeting import meeting

    return meeting()


def _follows(trainer: DictConfig) -> bool:
    """Return whether this is not the first of several processes that train together.

    Launchers number their processes also where each trains for itself, so Lightning decides.
    """
    names = ["RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"]
    names += ["OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"]
    if not any(int(os.environ.get(name) or 0) for name in names):
        return False
    from pytorch_lightning import Trainer

    import softpoint.training.sharded  # noqa: F401  the strategy of that name

    options: dict[str, Any] = {key: trainer[key] for key in ("accelerator", "devices", "num_nodes", "strategy")}
    options |= dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    return Trainer(**options).global_rank > 0


def _now() -> str:
    return f"{datetime.now():%Y-%m-%d_%H-%M-%S}"


def _remove_without_result(folder: Path, above: Sequence[Path]) -> None:
    """Remove a folder that holds no more than the config of the command, and the empty ones `above` made for it.

    One that another command has locked stays.
    """
    results = (path for path in folder.rglob("*") if path.is_file() and ".hydra" not in path.parts)
    if all(path.name in (LOCK, "multirun.yaml") for path in results):
        with suppress(OSError), exclusive_lock(folder / LOCK, wait=False):
            shutil.rmtree(folder, ignore_errors=True)
            for parent in above:
                parent.rmdir()
