"""Hydra's sweeper `optuna`: trainings chosen by Optuna, in a study that can be continued and prunes poor ones.

Hydra's own plugin of that name is for Optuna 2, cannot prune, and starts a study again. Hydra takes plugins from this
namespace alone, and imports them at the start of every command: Optuna is imported when it is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Transformer
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

FAILURES = 5  # in a row for one reason, after which the next would be another


class OptunaSweeper(Sweeper):
    """Trainings whose swept values Optuna draws, `n_jobs` at a time until `n_trials` of the study have ended.

    A sweep in the folder of an earlier one continues its study: trainings that were interrupted go on from their
    last.ckpt, and those that failed are not counted. Only failures in a row end it before.
    """

    def __init__(
        self,
        n_trials: int,
        n_jobs: int,
        direction: str,
        storage: str | None,
        study_name: str,
        params: Mapping[str, str] | None,
        sampler: DictConfig,
        pruner: DictConfig,
    ) -> None:
        for key, value in {"n_trials": n_trials, "n_jobs": n_jobs}.items():
            if type(value) is not int or value < 1:
                raise ValueError(f"hydra.sweeper.{key}={value}: give a whole number from 1 on")
        self.n_trials, self.n_jobs, self.direction, self.params = n_trials, n_jobs, direction, params or {}
        self.storage, self.study_name, self.sampler, self.pruner = storage, study_name, sampler, pruner

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives every sweeper."""
        self.hydra_context, self.config = hydra_context, config
        self.folder = Path(config.hydra.sweep.dir).absolute()
        self.jobs = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Train until the study has its number of trainings, or it is hopeless."""
        space, fixed = search_space([*(f"{key}={value}" for key, value in self.params.items()), *arguments])
        self.folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, self.folder / "multirun.yaml")
        study, failures = self._open(fixed), list[str]()  # the reasons since the last that did not fail
        while trials := self._next(study, space):
            batch = [[*fixed, *self._words(trial)] for trial in trials]
            self.validate_batch_is_legal(batch)
            returns = self.jobs.launch(batch, initial_job_idx=trials[0].number)
            scores = [result.return_value for result in returns]
            for trial, score in zip(trials, scores, strict=True):
                _tell(study, trial, score)
                failures = [*failures, self._reason(trial)] if score is None else []
            if is_hopeless(failures, self.n_trials):
                print(f"the sweep ends, because {len(failures)} trainings in a row failed", flush=True)
                return

    def _open(self, fixed: Sequence[str]) -> Any:
        """Return the study, a new one or that of the folder; ValueError for one of other fixed settings."""
        from softpoint.extras import require

        optuna = require("optuna", "sweep", "hydra/sweeper=optuna")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.storage = self.storage or f"sqlite:///{self.folder / 'study.db'}"
        study = optuna.create_study(
            storage=self.storage,
            study_name=self.study_name,
            sampler=instantiate(self.sampler),
            direction=self.direction,
            load_if_exists=True,
        )
        before = study.user_attrs.get("fixed", [*fixed])
        if differing := sorted(set(before) ^ set(fixed)):
            raise ValueError(
                f"the study {self.study_name} in {self.storage} is of trainings with other settings"
                f" ({', '.join(differing)}); give the same command, or another hydra.sweep.dir"
            )
        study.set_user_attr("fixed", [*fixed])
        if study.trials:  # an equal seed would draw the same again
            study.sampler.reseed_rng()
            print(f"continuing {self.study_name}: {_ended(study)} of {self.n_trials} trainings have ended", flush=True)
        return study

    def _next(self, study: Any, space: Mapping[str, Any]) -> list[Any]:
        """Return the trials to train next: first those that were interrupted."""
        from optuna.trial import Trial, TrialState

        count = min(self.n_jobs, self.n_trials - _ended(study))
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        trials = [Trial(study, trial._trial_id) for trial in running[: max(0, count)]]
        trials += [study.ask() for _ in range(count - len(trials))]
        for trial in trials:
            _draw(trial, space)
        return trials

    def _reason(self, trial: Any) -> str:
        from softpoint.studies.sweeps import read_outcomes

        outcome = read_outcomes(self.folder / str(trial.number)).get(".")
        return outcome.failed if outcome else ""

    def _words(self, trial: Any) -> list[str]:
        """Return the overrides of one training: the values drawn, its folder, where it continues, how it reports."""
        from softpoint.suggest import quoted
        from softpoint.training.pruning import TRIAL

        pruner = OmegaConf.to_container(self.pruner)
        address = {"storage": self.storage, "study_name": self.study_name, "pruner": pruner, "trial": trial._trial_id}
        last = self.folder / str(trial.number) / "checkpoints" / "last.ckpt"
        return [
            *(f"{key}={value}" for key, value in trial.params.items()),
            *([f"resume={quoted(last)}"] if last.is_file() else []),
            f"hydra.sweep.subdir='{trial.number}'",
            f"+hydra.job.env_set.{TRIAL}={quoted(json.dumps(address))}",
        ]


def is_hopeless(failures: Sequence[str], n_trials: int) -> bool:
    """Return whether to give a sweep up after failures in a row, of which the last ones have one reason.

    >>> is_hopeless(["disk full"] * 4, 30), is_hopeless(["disk full"] * 5, 30), is_hopeless(["a", "b"], 2)
    (False, True, True)
    """
    last = failures[-min(FAILURES, n_trials) :]
    return len(failures) >= n_trials or (len(last) == FAILURES and len(set(last)) == 1)


def search_space(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return Optuna's distributions by key, and the overrides that have one value; a later override of a key counts."""
    space: dict[str, Any] = {}
    fixed: dict[str, str] = {}
    for override in OverridesParser.create().parse_overrides([*words]):
        key = override.get_key_element()
        space.pop(key, None)
        fixed.pop(key, None)
        if override.is_sweep_override():
            space[key] = _distribution(override)
        else:
            fixed[key] = f"{key}={override.get_value_element_as_str()}"
    if not space:
        raise ValueError("nothing to sweep: give a key an interval, as 'optimizer.lr=tag(log, interval(0.001, 0.1))'")
    return space, [*fixed.values()]


def _distribution(override: Override) -> Any:
    from softpoint.extras import require

    kinds = require("optuna", "sweep", "hydra/sweeper=optuna").distributions
    sweep: Any = override.value()
    if isinstance(sweep, IntervalSweep):
        whole = isinstance(sweep.start, int) and isinstance(sweep.end, int)
        kind = kinds.IntDistribution if whole else kinds.FloatDistribution
        return kind(sweep.start, sweep.end, log="log" in sweep.tags)
    if isinstance(sweep, RangeSweep):
        numbers = [*sweep.range()]
        kind = kinds.IntDistribution if all(isinstance(x, int) for x in numbers) else kinds.FloatDistribution
        return kind(min(numbers), max(numbers), step=abs(sweep.step or 1))
    return kinds.CategoricalDistribution([str(x) for x in override.sweep_iterator(transformer=Transformer.encode)])


def _draw(trial: Any, space: Mapping[str, Any]) -> None:
    """Give a trial the values that it lacks, also one that was interrupted between two of them."""
    for key, distribution in space.items():
        try:
            trial._suggest(key, distribution)
        except ValueError as error:
            again = "give the values of the sweep before, or another hydra.sweep.dir"
            raise ValueError(f"{key} has other values than in its study ({error}); {again}") from error


def _tell(study: Any, trial: Any, score: float | None) -> None:
    from optuna.trial import TrialState

    pruned = study.trials[trial.number].user_attrs.get("pruned", False)
    if score is None:
        study.tell(trial, state=TrialState.FAIL)
    elif pruned:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, score)


def _ended(study: Any) -> int:
    from optuna.trial import TrialState

    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))
