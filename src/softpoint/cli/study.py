"""Trainings that a study plans, carried out by Hydra's launcher: hydra/launcher=basic, joblib, ray or submitit."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from softpoint.cli.hydra_errors import MISTAKES, CommandLine, explain, key_of

if TYPE_CHECKING:
    from softpoint.studies.runs import Outcome, Trial


def composed(overrides: Sequence[str]) -> DictConfig:
    """Return the config of a training with these overrides; ValueError with what is wrong with them."""
    try:
        cfg = compose("train", overrides=list(overrides))
        if "'???'" in repr(_plain(cfg)):
            raise MissingMandatoryValue("Missing mandatory value: one at least")
        return cfg
    except MISTAKES as error:
        raise ValueError(explain(error, CommandLine("train", overrides))) from error


def command_of(study: str, overrides: Sequence[str]) -> str:
    """Return the command line that is running, with the overrides of its trainings as the user wrote them."""
    from softpoint.studies.markdown import spelled

    own = [word for word in HydraConfig.get().overrides.task if not word.startswith("train=")]
    return spelled(study, [*own, *overrides])


def budget_of(cfg: DictConfig) -> str:
    """Return the length of a training in one phrase."""
    if cfg.minutes is not None:
        return f"{cfg.minutes:g} minutes a training"
    count = cfg.trainer.max_epochs
    if count is None:
        return "as many epochs a training as a set of this size usually wants"
    return f"{count} epoch{'s' * (count != 1)} a training"


def check_trials(trials: Sequence[Trial]) -> None:
    """Raise ValueError for a variant that does not compose, and for a folder with a training of another config."""
    variants = set()  # seeds and folds of a variant differ in numbers alone
    for trial in trials:
        begun = trial.measured or any((trial.folder / "checkpoints").glob("*.ckpt"))
        if begun or trial.variant not in variants:
            config = _plain(composed(trial.overrides))
            variants.add(trial.variant)
            if begun:
                _check_same(trial, config)


def carry_out(trials: Sequence[Trial], output: str) -> list[Outcome]:
    """Train and evaluate what is not finished; a failure does not stop the others.

    `output` is the folder of all trials as the user named it. Trials that share a folder share a training, and each
    training is one job of the launcher, which continues from its last.ckpt where it was interrupted.
    """
    from softpoint.studies.runs import Outcome

    by_folder: dict[Path, list[Trial]] = {}
    for trial in trials:
        by_folder.setdefault(trial.folder, []).append(trial)
    jobs = [some for some in by_folder.values() if not all(trial.measured for trial in some)]
    if done := len(by_folder) - len(jobs):
        print(f"{done} of {len(by_folder)} trainings were finished before", flush=True)
    try:
        failures = _launch(jobs, output) if jobs else {}
    except (KeyboardInterrupt, SystemExit):  # Lightning turns the first into the second
        print(f"stopped: the same command with {_again(output)} continues from here", file=sys.stderr)
        sys.exit(130)
    return [Outcome(trial, None if trial.measured else failures[trial.folder]) for trial in trials]


def check_outcomes(outcomes: Sequence[Outcome], output: str) -> None:
    """Raise ValueError with the number of trainings that failed and the first reason."""
    if failed := [outcome for outcome in outcomes if outcome.failed]:
        reason = f"{failed[0].trial.name}: {failed[0].failed}"
        raise ValueError(
            f"{len(failed)} of {len(outcomes)} trainings failed, first {reason}"
            + ("\n" if "\n" in reason else "; ")
            + f"the same command with {_again(output)} tries those again"
        )


def run_job(cfg: DictConfig, jobs: Sequence[Sequence[Trial]]) -> str | None:
    """Train with `cfg` and evaluate the trials of the running job; return the reason of a failure."""
    from softpoint.cli import train
    from softpoint.studies.runs import evaluate_trial, timed

    trials = jobs[HydraConfig.get().job.num]
    first = trials[0]
    name = f"[{HydraConfig.get().job.num + 1}/{len(jobs)}] {', '.join(trial.name for trial in trials)}"
    action = "evaluating" if first.trained else "continuing" if cfg.ckpt_path else "training"
    print(f"{name}: {action} in {os.path.relpath(first.folder)}", flush=True)
    try:
        if not first.trained:
            with timed(first, resumed=cfg.ckpt_path is not None):
                train.main(cfg)
        for trial in trials:
            if not trial.measured:
                evaluate_trial(trial)
    except Exception as error:
        if not isinstance(error, MISTAKES):
            traceback.print_exc()
        reason = explain(error, CommandLine("train", first.overrides)) or type(error).__name__
        print(f"{name} failed: {reason}", flush=True)
        return reason
    return None


def _launch(jobs: Sequence[Sequence[Trial]], output: str) -> dict[Path, str]:
    """Hand the jobs to the launcher that the command line chose; return the reasons of failures by folder."""
    chosen = [word for word in HydraConfig.get().overrides.hydra if "launcher" in key_of(word)]
    loader = GlobalHydra.instance().config_loader()
    sweep = [*chosen, f"hydra.sweep.dir={_quoted(Path(output).resolve())}"]
    config = loader.load_configuration("train", sweep, RunMode.MULTIRUN)
    context = HydraContext(loader, Callbacks(config))
    task = partial(run_job, jobs=jobs)
    launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=config)
    try:
        results = launcher.launch([_job_overrides(trials[0], output) for trials in jobs], initial_job_idx=0)
        reasons = [result.return_value for result in results]
    except Exception as error:  # of the launcher, such as a worker that was killed
        reasons = [str(error) or type(error).__name__] * len(jobs)
    return {trials[0].folder: str(reason) for trials, reason in zip(jobs, reasons, strict=True)}


def _job_overrides(trial: Trial, output: str) -> list[str]:
    subdir = trial.folder.relative_to(Path(output).resolve())
    last = trial.folder / "checkpoints" / "last.ckpt"
    resume = [f"ckpt_path={_quoted(last)}"] if last.is_file() and not trial.trained else []
    return [*trial.overrides, f"hydra.sweep.subdir={subdir}", *resume]


def _check_same(trial: Trial, config: dict[str, Any]) -> None:
    """Raise ValueError where the folder holds a training of another config."""
    path = trial.folder / ".hydra" / "config.yaml"
    stored = _plain(OmegaConf.load(path)) if path.is_file() else {}
    if stored != config:
        differing = sorted(key for key in config.keys() | stored.keys() if config.get(key) != stored.get(key))
        raise ValueError(
            f"{os.path.relpath(trial.folder)} holds a training of another config, which differs in "
            f"{', '.join(differing)}; name another output=FOLDER, or remove that one"
        )


def _plain(cfg: Any) -> dict[str, Any]:
    """The config of a training as plain values, without where it resumes."""
    plain: Any = OmegaConf.to_container(cfg, resolve=False)
    return {str(key): value for key, value in plain.items() if key not in ("ckpt_path", "hydra")}


def _again(output: str) -> str:
    return shlex.quote(f"output={output}")


def _quoted(path: Path) -> str:
    """A path in Hydra's quotes."""
    text = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"
