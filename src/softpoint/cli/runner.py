"""Trainings that a script starts: their words checked first, a process each, and nothing done twice."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from softpoint.cli.hydra_errors import CONFIGS, MISTAKES, CommandLine, explain
from softpoint.cli.overrides import key_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from softpoint.studies.runs import Outcome, Trial


def gathered(words: Sequence[str], config_name: str) -> list[str]:
    """The command line with every override that is none of the script's own, nor one misspelled, handed on as `train`.

    >>> gathered(["folds=3", "data=openfield", "--help"], "crossval")
    ["train=['data=openfield']", 'folds=3', '--help']
    """
    known = {*OmegaConf.load(CONFIGS / f"{config_name}.yaml"), "study", "hydra"}
    theirs = [word for word in words if "=" in word.lstrip("~") or word.startswith("~")]
    of_training = {*OmegaConf.load(CONFIGS / "train.yaml"), *(path.name for path in CONFIGS.iterdir() if path.is_dir())}
    theirs = [w for w in theirs if not w.startswith("-") and not _own(w, known, of_training)]
    if not theirs:
        return list(words)
    quoted = ",".join("'" + word.replace("\\", "\\\\").replace("'", "\\'") + "'" for word in theirs)
    # First, because Hydra takes no override behind a flag such as --cfg.
    return [f"train=[{quoted}]", *(word for word in words if word not in theirs)]


def _own(word: str, known: set[str], of_training: set[str]) -> bool:
    """Whether an override is one of the script's own keys, or is none of train.py's and nearly one of them."""
    key = key_of(word).split(".")[0]
    return key in known or (key not in of_training and bool(get_close_matches(key, known, n=1, cutoff=0.8)))


def command_of(script: str, words: Sequence[str]) -> str:
    """The command line that is running, with the overrides of train.py as the user wrote them."""
    from softpoint.studies.markdown import spelled

    own = [word for word in HydraConfig.get().overrides.task if not word.startswith("train=")]
    return spelled(script, [*own, *words])


def composed(words: Sequence[str]) -> DictConfig:
    """The config that train.py would get from these overrides; ValueError that says what is wrong with them."""
    try:
        cfg = compose("train", overrides=list(words))
        if "'???'" in repr(_config(cfg)):
            raise MissingMandatoryValue("Missing mandatory value: one at least")
        return cfg
    except MISTAKES as error:
        raise ValueError(explain(error, CommandLine("train", words))) from error


def budget_of(cfg: DictConfig) -> str:
    """How long a training takes, in words."""
    if cfg.minutes is not None:
        return f"{cfg.minutes:g} minutes a training"
    count = cfg.trainer.max_epochs
    if count is None:
        return "as many epochs a training as a set of this size usually wants"
    return f"{count} epoch{'s' * (count != 1)} a training"


def check_trials(trials: Sequence[Trial]) -> None:
    """ValueError where the words of a variant are mistaken, and where a folder holds a training of another config."""
    composes = set()  # of a variant, seeds and folds differ in numbers alone
    for trial in trials:
        if (begun := _begun(trial)) or trial.variant not in composes:
            config = _config(composed(trial.words))
            composes.add(trial.variant)
            if begun:
                _check_same(trial, config)


def carry_out(trials: Sequence[Trial], output: str) -> list[Outcome]:
    """Trains and evaluates what is not done yet, one after the other; a failure does not stop the others.

    `output` is what the user calls the folder of all of them.
    """
    from softpoint.studies.runs import Outcome

    outcomes = []
    for i, trial in enumerate(trials, 1):
        print(f"[{i}/{len(trials)}] {trial.name}: {_plan(trial)} {os.path.relpath(trial.folder)}", flush=True)
        try:
            failed = _done(trial)
        except KeyboardInterrupt:
            print(f"stopped: the same command with {_again(output)} goes on from here", file=sys.stderr)
            sys.exit(130)
        if failed:
            print(f"[{i}/{len(trials)}] {trial.name} failed: {failed}", flush=True)
        outcomes.append(Outcome(trial, failed))
    return outcomes


def check_outcomes(outcomes: Sequence[Outcome], output: str) -> None:
    """ValueError that counts what failed, where something did."""
    if failed := [outcome for outcome in outcomes if outcome.failed]:
        name, why = failed[0].trial.name, str(failed[0].failed)
        gap = "\n" if "\n" in why else "; "
        raise ValueError(
            f"{len(failed)} of {len(outcomes)} trainings failed, first {name}: {why}{gap}"
            f"the same command with {_again(output)} tries those again"
        )


def run(command: Sequence[str]) -> str | None:
    """Runs a command to its end, showing what it says; its last words where it failed: all from `error: ` on.

    What stops this process stops that one.
    """
    with _stopped_together(), subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace") as process:
        try:
            said = ""
            for line in process.stderr or ():
                sys.stderr.write(line)
                is_more = said.startswith("error: ") and not line.startswith("error: ")
                said = said + line if is_more else line if line.strip() else said
            code = process.wait()
        except BaseException:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
    return None if code == 0 else said.strip().removeprefix("error: ") or f"it ended with code {code}"


def _done(trial: Trial) -> str | None:
    """Does what is missing; why that failed, or None."""
    if trial.measured:
        return None
    return (None if trial.trained else _train(trial)) or _evaluate(trial)


def _train(trial: Trial) -> str | None:
    """Trains, going on where an earlier attempt was interrupted; why it failed, or None."""
    last = trial.folder / "checkpoints" / "last.ckpt"
    again = [f"ckpt_path={_quoted(last)}"] if last.is_file() else []
    before = (trial.minutes() or 0.0) if again else 0.0
    start = time.monotonic()
    command = [sys.executable, "-m", "softpoint.cli", "train", *trial.words, f"hydra.run.dir={_quoted(trial.folder)}"]
    try:
        return run([*command, *again])
    finally:
        minutes = before + (time.monotonic() - start) / 60
        trial.folder.mkdir(parents=True, exist_ok=True)
        (trial.folder / "minutes.json").write_text(json.dumps({"minutes": minutes}), encoding="utf-8")


def _evaluate(trial: Trial) -> str | None:
    """Measures the best weights on the test split; why that failed, or None."""
    import torch

    checkpoint, output = _with_head(trial) if trial.head else trial.checkpoint, _quoted(trial.evaluation)
    words = [f"ckpt={_quoted(checkpoint)}", f"output={output}", f"hydra.run.dir={output}", "figures=false"]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return run([sys.executable, "-m", "softpoint.cli", "evaluate", *words, f"device={device}"])


def _with_head(trial: Trial) -> Path:
    """A copy of the checkpoint, without what only training needs, whose head has the trial's settings."""
    import torch

    stored = torch.load(trial.checkpoint, map_location="cpu", weights_only=True)
    for head in (stored["hyper_parameters"]["head"], stored["hyper_parameters"]["model"]["head"]):
        head.update(trial.head)
    for key in ("optimizer_states", "lr_schedulers", "current_model_state"):
        stored.pop(key, None)
    path = trial.evaluation / "model.ckpt"
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(stored, path)
    return path


def _plan(trial: Trial) -> str:
    if trial.measured:
        return "done before in"
    begun = (trial.folder / "checkpoints" / "last.ckpt").is_file()
    return "to be evaluated in" if trial.trained else "going on in" if begun else "training in"


def _begun(trial: Trial) -> bool:
    """Whether there is something to go on with, or to keep: an attempt that failed at once leaves nothing."""
    return trial.measured or any((trial.folder / "checkpoints").glob("*.ckpt"))


def _check_same(trial: Trial, config: dict[str, Any]) -> None:
    """ValueError where the folder was trained on by another config, or nobody knows which."""
    stored = trial.folder / ".hydra" / "config.yaml"
    there = _config(OmegaConf.load(stored)) if stored.is_file() else {}
    if there != config:
        differing = [key for key in config.keys() | there.keys() if config.get(key) != there.get(key)]
        raise ValueError(
            f"{os.path.relpath(trial.folder)} holds a training of another config, which differs in "
            f"{', '.join(sorted(differing))}; name another output=FOLDER, or remove that one"
        )


def _config(cfg: Any) -> dict[str, Any]:
    """What decides a training, as plain values."""
    plain: Any = OmegaConf.to_container(cfg, resolve=False)
    return {str(key): value for key, value in plain.items() if key not in ("ckpt_path", "hydra")}


def _again(output: str) -> str:
    return shlex.quote(f"output={output}")


def _quoted(path: Path) -> str:
    """A path as Hydra reads it, whatever signs are in it."""
    text = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


@contextmanager
def _stopped_together() -> Iterator[None]:
    """A request to end this process becomes an exception, so that what it started is ended too."""

    def leave(*_: Any) -> None:
        sys.exit(143)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
