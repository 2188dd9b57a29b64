"""Trainings that a study plans, by a launcher of Hydra: hydra/launcher=basic, joblib, ray or submitit_slurm."""

from __future__ import annotations

import shlex
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
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

from softpoint.cli.command_line import MISTAKES, CommandLine, key_of
from softpoint.cli.hydra_errors import check_renamed, explain
from softpoint.cli.processes import has_several, train_in_processes
from softpoint.cli.run_end import STUDY
from softpoint.cli.run_folder import lock
from softpoint.cli.shell import here
from softpoint.cli.trust import own_packages
from softpoint.suggest import quoted, setting

if TYPE_CHECKING:
    from softpoint.studies.runs import Trial


def composed(overrides: Sequence[str], hydra: bool = False) -> DictConfig:
    """Return the config of a training with these overrides, and with Hydra's own keys on request.

    Raises ValueError with what is wrong with them.
    """
    try:
        cfg = compose("train", overrides=list(overrides), return_hydra_config=hydra)
        check_renamed(cfg)
        if "'???'" in repr(_plain(cfg)):
            raise MissingMandatoryValue("Missing mandatory value: one at least")
        return cfg
    except MISTAKES as error:
        raise ValueError(explain(error, CommandLine("train", overrides))) from error


def facts_of(base: DictConfig, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the command, without its output folder, the hardware, and the length of a training with config `base`."""
    from softpoint.studies.markdown import hardware

    running = HydraConfig.get()
    words = [word for word in running.overrides.task if not word.startswith(("train=", "output=", "page="))]
    epochs = base.trainer.max_epochs
    if base.minutes is not None:
        budget = f"{base.minutes:g} minutes per training run"
    elif epochs is None:
        budget = "the default number of epochs for a set of this size"
    else:
        budget = f"{epochs} epoch{'s' * (epochs != 1)} per training run"
    command = shlex.join(["softpoint", str(running.job.config_name), *words, *overrides])
    return {"command": command, "hardware": hardware(), "budget": budget}


def carry_out(
    cfg: DictConfig,
    trials: Sequence[Trial],
    report: Callable[[Sequence[Trial]], Mapping[str, str]],
    carried: Callable[[DictConfig, Sequence[Trial]], list[Trial]] | None = None,
) -> None:
    """Carry out the trials, by `carried` or `carried_out`, and print the reports, which replace sections of `cfg.page`.

    `report` takes all trials, with the reasons of those that failed, and returns Markdown by section. Raises ValueError
    as `carried_out` does, and at the end, leaving the page as it is, where training runs failed.
    """
    from softpoint.studies.markdown import update_page
    from softpoint.tables import console, print_markdown

    lock(Path(cfg.output))
    trials = (carried or carried_out)(cfg, trials)
    sections = report(trials)
    for text in sections.values():
        print_markdown(f"\n{text}\n\n", console())
    print(f"written to {cfg.output}")
    check_failures(cfg, trials)
    for name, text in sections.items() if cfg.page else ():
        update_page(Path(cfg.page), name, text)


def carried_out(cfg: DictConfig, trials: Sequence[Trial]) -> list[Trial]:
    """Train and evaluate the trials that are not finished; return all, with the reasons of those that failed.

    Trials that share a folder share a training, and each training is one job of the launcher, which continues from its
    last.ckpt where it was interrupted. The caller has locked `cfg.output`. Raises ValueError before the first training
    for overrides that do not compose and for a folder with a training of another config.
    """
    from softpoint.training.ending import exit_on_signals

    output = Path(cfg.output)
    _check(trials)
    by_folder: dict[Path, list[Trial]] = {}
    for trial in trials:
        by_folder.setdefault(trial.folder, []).append(trial)
    jobs = [job for job in by_folder.values() if not all(trial.measured for trial in job)]
    if done := len(by_folder) - len(jobs):
        print(f"{done} of {len(by_folder)} training runs were finished before", flush=True)
    try:
        with exit_on_signals():
            reasons = _launch(jobs, output.resolve()) if jobs else {}
    except SystemExit:
        print(f"stopped: the same command with {setting('output', cfg.output)} continues from here", file=sys.stderr)
        raise
    return [trial if trial.measured else replace(trial, failed=reasons[trial.folder]) for trial in trials]


def check_failures(cfg: DictConfig, trials: Sequence[Trial]) -> None:
    """Raise ValueError where training runs failed."""
    if failed := [trial for trial in trials if trial.failed]:
        reason = f"{failed[0].name}: {failed[0].failed}"
        raise ValueError(
            f"{len(failed)} of {len(trials)} training runs failed, first {reason}"
            + ("\n" if "\n" in reason else "; ")
            + f"the same command with {setting('output', cfg.output)} tries those again"
        )


def run_job(cfg: DictConfig, jobs: Sequence[Sequence[Trial]]) -> str | None:
    """Train with `cfg` and evaluate the trials of the running job; return the reason of a failure."""
    from softpoint.cli import train
    from softpoint.studies.runs import evaluate_trial, timed

    number, results = HydraConfig.get().job.num, None
    trials = jobs[number]
    first = trials[0]
    name = f"[{number + 1}/{len(jobs)}] {', '.join(trial.name for trial in trials)}"
    action = "evaluating" if first.trained else "continuing" if cfg.resume else "training"
    print(f"{name}: {action} in {here(first.folder)}", flush=True)
    try:
        if not first.trained:
            with timed(first, resumed=cfg.resume is not None):
                if has_several(cfg):
                    train_in_processes(first.folder)
                else:
                    _, results = train.train(cfg)
        for trial in trials:
            if not trial.measured:
                evaluate_trial(trial, results, own_packages(cfg))
    except Exception as error:
        if not isinstance(error, MISTAKES):
            traceback.print_exc()
        reason = explain(error, CommandLine("train", first.overrides)) or type(error).__name__
        print(f"{name} failed: {reason}", flush=True)
        return reason
    return None


def _launch(jobs: Sequence[Sequence[Trial]], output: Path) -> dict[Path, str]:
    """Hand the jobs to the launcher that the command line chose; return the reasons of failures by folder."""
    chosen = [word for word in HydraConfig.get().overrides.hydra if "launcher" in key_of(word)]
    loader = GlobalHydra.instance().config_loader()
    sweep = [*chosen, f"hydra.sweep.dir={quoted(output)}"]
    config = loader.load_configuration("train", sweep, RunMode.MULTIRUN)
    context = HydraContext(loader, Callbacks(config))
    task = partial(run_job, jobs=jobs)
    launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=config)
    overrides, study = [], f"+hydra.job.env_set.{STUDY}='1'"
    for trial, *_ in jobs:
        subdir, last = trial.folder.relative_to(output), trial.folder / "checkpoints" / "last.ckpt"
        resume = [f"resume={quoted(last)}"] if last.is_file() and not trial.trained else []
        overrides.append([*trial.overrides, f"hydra.sweep.subdir={subdir}", study, *resume])
    try:
        reasons = [result.return_value for result in launcher.launch(overrides, initial_job_idx=0)]
    except Exception as error:  # of the launcher, such as a worker that was killed
        reasons = [str(error) or type(error).__name__] * len(jobs)
    return {trials[0].folder: str(reason) for trials, reason in zip(jobs, reasons, strict=True)}


def kind_of(trial: Trial) -> frozenset[str]:
    """Return the overrides of a trial but for its seed and fold."""
    return frozenset(word for word in trial.overrides if not word.startswith(("seed=", "data.fold=")))


def _check(trials: Sequence[Trial]) -> None:
    """Compose each config, once for all seeds and folds, and compare it with that of a training in its folder."""
    checked = set()
    for trial in trials:
        if (kind := kind_of(trial)) in checked and not trial.begun:
            continue
        checked.add(kind)
        config, path = _plain(composed(trial.overrides)), trial.folder / ".hydra" / "config.yaml"
        has_several(OmegaConf.create(config))
        stored = _plain(OmegaConf.load(path)) if path.is_file() else {}
        if trial.begun and stored != config:
            differing = sorted(key for key in config.keys() | stored.keys() if config.get(key) != stored.get(key))
            raise ValueError(
                f"{here(trial.folder)} holds a training run of another config, which differs in "
                f"{', '.join(differing)}; name another output=FOLDER, or remove that one"
            )


def _plain(cfg: Any) -> dict[str, Any]:
    """The config of a training as plain values, without where it resumes."""
    plain: Any = OmegaConf.to_container(cfg, resolve=False)
    return {str(key): value for key, value in plain.items() if key not in ("resume", "hydra")}
