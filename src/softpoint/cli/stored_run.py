"""The command of a run as the folder of the run keeps it: to go on with it, and to repeat it."""

from __future__ import annotations

import os
import sys
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from softpoint.cli.command_line import CommandLine, hydras, key_of
from softpoint.cli.overrides import override_value
from softpoint.paths import LOCK

# Keys of one start of a run: it may differ at the next.
_OF_A_START = ("resume", "ckpt_path")


def stored_words(run: Path, changes: Sequence[str] = ()) -> list[str]:
    """Return a command line of `softpoint train` that composes the config of a run, followed by `changes`.

    Where a default has another value than the run had, it is set to that, and said. The working directory becomes that
    of the run, if there is one still, because paths of the command line start there.

    Raises FileNotFoundError for a folder that is no run's.
    """
    folder = run / ".hydra"
    if not (folder / "config.yaml").is_file() or not (folder / "hydra.yaml").is_file():
        raise FileNotFoundError(
            f"{run} is not the folder of a run: it has no .hydra/config.yaml; give outputs/NAME/DATE"
        )
    started: Any = OmegaConf.load(folder / "hydra.yaml")
    _work_in(Path(started.hydra.runtime.cwd))
    # Without the sweep that a run was a training of.
    stored = [str(word) for word in OmegaConf.load(folder / "overrides.yaml") if key_of(str(word)) != "sweep"]
    words = [*config_folders(started.hydra), *own_words(stored)]
    changed = {key_of(word) for word in changes}
    composed = OmegaConf.load(folder / "config.yaml")
    restored = _restored(words, composed, started.hydra.runtime.get("choices") or {}, changed)
    for word in restored:
        print(f"{word}, as in the run: the default is another one now")
    # A sweep's settings make a sweep of each of its runs again.
    alone = [] if {"-m", "--multirun"} & {*changes} or "sweep" in changed else ["hydra.mode=RUN"]
    return [*words, *restored, *alone, *changes]


def absolute(place: str) -> Path:
    """Return the absolute path of a run that is named on the command line, where it then stands too.

    Further processes of a training repeat the command line in the working directory of the run.
    """
    path = Path(place).absolute()
    named = {place: str(path), f"--from={place}": f"--from={path}"}
    sys.argv[1:] = [named.get(word, word) for word in sys.argv[1:]]
    return path


def keep_words(run: Path, config: DictConfig, words: Sequence[str]) -> None:
    """Write the config and the command line of a run that goes on into its folder, for the next time."""
    folder = run / ".hydra"
    folder.mkdir(exist_ok=True)
    OmegaConf.save(config, folder / "config.yaml")
    OmegaConf.save(OmegaConf.create(own_words(words)), folder / "overrides.yaml")


def own_words(words: Iterable[str]) -> list[str]:
    """Return the words of a command line that every start of its run has.

    >>> own_words(["seed=1", "resume=auto", "hydra.run.dir=a"])
    ['seed=1']
    """
    return [word for word in words if key_of(word) not in _OF_A_START and not hydras(word)]


def newest_run(parent: Path, words: Sequence[str], job: str | None = None) -> Path | None:
    """Return the newest run in `parent` of the same command line, and of the same job of a cluster if one is given.

    One with a checkpoint comes before those without.
    """
    from softpoint.training.resume import has_checkpoint

    own = sorted(own_words(words))
    runs = [folder for folder in sorted(parent.glob("*"), reverse=True) if _is_of(folder, own, job)]
    return next(filter(has_checkpoint, runs), runs[0] if runs else None)


def _is_of(folder: Path, command: Sequence[str], job: str | None) -> bool:
    if job is not None and f"job={job}" not in owner(folder).split():
        return False
    return kept_words(folder) == command


def kept_words(run: Path) -> list[str] | None:
    """Return the words that every start of a run has, in the order of the alphabet; None where it keeps none."""
    path = run / ".hydra" / "overrides.yaml"
    return sorted(own_words(map(str, OmegaConf.load(path)))) if path.is_file() else None


def owner(run: Path, name: str = LOCK) -> str:
    """Return the process, the host and the job that wrote last into the folder of a run; "" where it is not known."""
    lock = run / name
    return lock.read_text(encoding="utf-8", errors="replace").strip()[:200] if lock.is_file() else ""


def _work_in(folder: Path) -> None:
    if folder.is_dir() and folder != Path.cwd():
        os.chdir(folder)
        print(f"working in {folder}, where the run was started")


def _restored(words: Sequence[str], stored: Any, choices: Mapping[str, Any], changed: Container[str]) -> list[str]:
    """Return overrides of the options and plain values that the command line would now compose differently."""
    line = CommandLine("train", words)
    now = line.compose(hydra=True)
    if now is None:
        return []  # Hydra says why
    chosen = now.hydra.runtime.choices
    options = [
        f"{group}={option}"
        for group, option in choices.items()
        if isinstance(option, str) and group not in changed and not hydras(group)
        if chosen.get(group) not in (None, option) and option in line.options(group)
    ]
    values = dict(plain_values(CommandLine("train", [*words, *options]).compose() or now))
    return options + [
        f"{key}={override_value(value)}"
        for key, value in plain_values(stored)
        if key in values and values[key] != value and not _refers(value) and key not in _OF_A_START
        if key not in changed
    ]


def config_folders(running: Any) -> list[str]:
    """Return the flags of a command's own folders of config groups, from Hydra's part of its config."""
    return [f"--config-dir={s.path}" for s in running.runtime.config_sources if s.provider == "command-line"]


def plain_values(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of a config by dotted keys; references stay."""
    plain: Any = OmegaConf.to_container(node, resolve=False) if OmegaConf.is_config(node) else node
    for key, value in plain.items():
        if isinstance(value, Mapping) and value:
            yield from plain_values(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _refers(value: Any) -> bool:
    return "${" in str(value) or "???" in str(value)
