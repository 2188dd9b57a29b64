"""A sweep ranks its trainings, names those that failed, and goes on where it stopped; nothing is trained here."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from helpers.training import CONFIGS, built, composed, read_csv, tiny
from softpoint.cli import processes, train
from softpoint.cli.run_end import way_on
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


def test_optuna_continues_its_study(start: Callable, trained: list[float], tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason='needs pip install "softpoint[sweep]"')
    words = ["-m", "hydra/sweeper=optuna", "optimizer.lr=interval(1,5)", f"hydra.sweep.dir={tmp_path}"]
    assert start("train", *words, "hydra.sweeper.n_trials=3").code == 0 and len(trained) == 3
    assert start("train", *words, "hydra.sweeper.n_trials=5").code == 0 and len({*trained}) == 5
    rows = read_csv(tmp_path / "ranking.csv")
    assert [float(row["score"]) for row in rows] == sorted(abs(rate - 3) for rate in trained)
    other = start("train", *words, "hydra.sweeper.n_trials=9", "seed=1")
    assert other.code == 1 and "is of trainings with other settings (seed=1)" in other.err and len(trained) == 5


def test_optuna_goes_on_after_failures(start: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("optuna", reason='needs pip install "softpoint[sweep]"')
    done, reasons = list[str](), ["a", "", "b", ""]

    def score(cfg: DictConfig) -> tuple[float, None]:
        done.append(reasons[len(done)])
        if done[-1]:
            raise ValueError(done[-1])
        return cfg.optimizer.lr, None

    monkeypatch.setattr(train, "train", score)
    words = ["-m", "hydra/sweeper=optuna", "optimizer.lr=interval(1,5)", f"hydra.sweep.dir={tmp_path}"]
    assert start("train", *words, "hydra.sweeper.n_trials=2").code == 1 and done == reasons


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


def test_a_stopped_training_of_a_sweep_names_the_way_on_with_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path.parent)
    folder = tmp_path / "a" / "3"
    composed("train", [f"hydra.sweep.dir={tmp_path}", "hydra.sweep.subdir=a/3"], folder, RunMode.MULTIRUN)
    trainer = SimpleNamespace(global_step=7, default_root_dir=str(folder), checkpoint_callbacks=[])
    words = f"the same command with hydra.sweep.dir={tmp_path.name} resume=auto"
    assert way_on(trainer, 143, "") == f"stopped by SIGTERM after 7 steps\nor with its sweep:  {words}"
