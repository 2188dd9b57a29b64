"""A sweep ranks its trainings, names those that failed, and goes on where it stopped; nothing is trained here."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from helpers.training import CONFIGS, built, composed, read_csv, tiny
from softpoint.cli import processes, sweep, train
from softpoint.paths import LOCK, exclusive_lock
from softpoint.studies.sweeps import Outcome
from softpoint.suggest import quoted


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The learning rates of trainings whose error is the distance of the rate from 3."""
    rates: list[float] = []

    def score(cfg: DictConfig) -> tuple[float, None]:
        if 4 in (cfg.head.window, cfg.optimizer.lr):
            raise ValueError("window must be an odd number of cells, got 4; try 5")
        rates.append(cfg.optimizer.lr)
        return abs(cfg.optimizer.lr - 3), None

    monkeypatch.setattr(train, "train", score)
    return rates


def test_a_sweep_ends_with_its_ranking_and_names_what_failed(
    start: Callable, trained: list[float], tmp_path: Path
) -> None:
    words = ["-m", "optimizer.lr=1,4,2.5", "~callbacks.ema", f"hydra.sweep.dir={tmp_path}", "hydra.verbose=false"]
    ending = start("train", *words)
    assert ending.code == 1 and trained == [1, 2.5]
    assert ending.err.splitlines()[0] == "error: 1 of 3 trainings failed:"
    assert ending.err.endswith(f"{tmp_path / '1'}: window must be an odd number of cells, got 4; try 5")
    assert "Traceback" not in ending.err and "Error executing" not in ending.err
    rows = read_csv(tmp_path / "ranking.csv")
    assert [(row["score"], row["optimizer.lr"]) for row in rows[:2]] == [("0.5", "2.5"), ("2", "1")]
    assert f"{tmp_path.name}/2/checkpoints/best.ckpt" in ending.out and (tmp_path / "ranking.png").is_file()
    assert ending.out.rindex("optimizer.lr=2.5 ") < ending.out.rindex("optimizer.lr=1 ")


def test_a_sweep_that_is_stopped_ranks_what_has_ended_and_leaves_what_another_process_trains(
    start: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped_at_3(cfg: DictConfig) -> tuple[float, None]:
        if cfg.optimizer.lr == 3:
            raise SystemExit(130)  # as after Ctrl-C
        return cfg.optimizer.lr, None

    monkeypatch.setattr(train, "train", stopped_at_3)
    with exclusive_lock(tmp_path / "0" / LOCK):
        ending = start("train", "-m", "optimizer.lr=1,2,3,4", f"hydra.sweep.dir={tmp_path}")
    assert ending.code == 130 and not (tmp_path / "3").exists()
    (first, _, score), (second, failed, _) = (
        [row[key] for key in ("run", "failed", "score")] for row in read_csv(tmp_path / "ranking.csv")
    )
    assert (first, score, second) == ("1", "2", "0") and "another process is writing to" in failed
    assert ending.out.endswith(
        f"stopped with 2 trainings ended; the same command with resume=auto hydra.sweep.dir={tmp_path}"
        " goes on with the sweep\n"
    )


def test_a_training_that_had_ended_keeps_its_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["optimizer.lr=1", "resume=auto"]
    running = {"runtime": {"output_dir": str(tmp_path)}, "overrides": {"task": words}}
    monkeypatch.setattr(HydraConfig, "get", lambda: DictConfig(running))
    monkeypatch.setattr(sweep, "_score", lambda cfg, folder: 2.0)
    ended = Outcome(["optimizer.lr=1"], 2.0, minutes=90.0)
    for before in (ended, replace(ended, score=2.5), replace(ended, overrides=["optimizer.lr=2"])):
        before.write(tmp_path)
        assert sweep.run_job(DictConfig({})) == 2
        after = Outcome.read(tmp_path)
        assert after and (after == ended if before == ended else after.minutes < 9 and after.overrides == words)


def test_one_mistake_in_all_trainings_is_the_line_of_a_single_run(
    start: Callable, trained: list[float], tmp_path: Path
) -> None:
    ending = start("train", "-m", "seed=0", "head.window=4", f"hydra.sweep.dir={tmp_path / 'a'}")
    assert ending.code == 1 and ending.err.splitlines() == [
        "error: window must be an odd number of cells, got 4; try 5"
    ]
    assert not trained


def test_a_job_of_several_processes_is_a_command_of_its_own(
    start: Callable, trained: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    class Process:
        stderr, returncode = ("error: no image\n",), 1

        def __init__(self, command: list[str], **_: Any) -> None:
            commands.append(command)

        def __enter__(self) -> Process:
            return self

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(processes, "subprocess", type("Fake", (), {"Popen": Process, "PIPE": subprocess.PIPE}))
    several = ["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "seed=3"]
    ending = start("train", "-m", *several, f"hydra.sweep.dir={tmp_path}")
    assert ending.code == 1 and ending.err.splitlines()[-1] == "error: no image" and not trained
    (command,) = commands
    assert f"hydra.run.dir={quoted(tmp_path / '0')}" in command and "hydra.mode=RUN" in command and "seed=3" in command


def test_optuna_continues_its_study_and_goes_on_after_failures(
    start: Callable, trained: list[float], tmp_path: Path
) -> None:
    optuna = pytest.importorskip("optuna", reason='needs pip install "softpoint[sweep]"')
    words = ["-m", "hydra/sweeper=optuna", "optimizer.lr=range(1,6)", f"hydra.sweep.dir={tmp_path}", "seed=1"]
    assert start("train", *words, "hydra.sweeper.n_trials=3").code in (0, 1) and len(trained) == 3
    study = optuna.load_study(study_name="softpoint", storage=f"sqlite:///{tmp_path / 'study.db'}")
    before = len(study.trials)
    study.ask()  # a kill between this and its values leaves a trial without any
    study.enqueue_trial({"optimizer.lr": 4})  # which fails
    assert start("train", *words, "hydra.sweeper.n_trials=5").code == 1 and len(trained) == 5
    states = [trial.state.name for trial in study.trials]
    assert states.count("COMPLETE") == 5 and states.count("FAIL") == len(states) - 5 > 0
    assert len(study.trials[before].params) == 1
    scores = [float(row["score"]) for row in read_csv(tmp_path / "ranking.csv") if row["score"]]
    assert scores == sorted(abs(rate - 3) for rate in trained)
    other = start("train", *words, "hydra.sweeper.n_trials=9", "seed=2")
    assert other.code == 1 and "is of trainings with other settings (seed=1, seed=2)" in other.err
    assert len(trained) == 5


def test_optuna_gives_up_after_failures_of_one_reason() -> None:
    plugin = pytest.importorskip("hydra_plugins.softpoint_optuna")
    full = ["other", *["disk full"] * 4]
    assert not plugin.is_hopeless(full, 30) and plugin.is_hopeless([*full, "disk full"], 30)
    assert plugin.is_hopeless(["disk full", "other"], 2)


def test_sweeper_without_optuna_names_what_to_install(start: Callable, trained: list[float], tmp_path: Path) -> None:
    try:
        import optuna  # noqa: F401
    except ImportError:
        ending = start("train", "sweep=learning_rate", f"hydra.sweep.dir={tmp_path}")
        assert ending.err == 'error: hydra/sweeper=optuna needs optuna: pip install "softpoint[sweep]"'


@pytest.mark.parametrize("name", ["attention", "heads_losses"])
def test_every_training_of_a_shipped_sweep_can_be_built(name: str, tmp_path: Path) -> None:
    params = OmegaConf.load(CONFIGS / "sweep" / f"{name}.yaml").hydra.sweeper.params
    options = [
        [f"{key}={value}" for value in (["[]", "[4]", "[3,4]"] if "[" in str(text) else str(text).split(","))]
        for key, text in params.items()
    ]
    combinations = list(itertools.product(*options))
    assert len(combinations) == {"attention": 12, "heads_losses": 8}[name]
    for words in combinations[::5]:
        built(composed("train", tiny(f"sweep={name}", "logger=csv", *words), tmp_path))
