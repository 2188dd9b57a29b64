"""Each run has a folder of its own, no two processes write to one, and a refused command leaves none."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import datetime
from functools import partial
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig
from pytorch_lightning.utilities import rank_zero_only
from torch.distributed import TCPStore

from helpers.training import tiny
from softpoint.cli import run_folder
from softpoint.paths import LOCK, exclusive_lock, is_new
from softpoint.training.meeting import Meeting, meeting
from softpoint.viz import write_image

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*many workers.*", "ignore:.*is not empty")


@pytest.fixture
def one_second(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Time stands still in an empty folder."""

    class Noon(datetime):
        @classmethod
        def now(cls, tz: object = None) -> Noon:
            return cls(2026, 1, 2, 12)

    monkeypatch.setattr(run_folder, "datetime", Noon)
    monkeypatch.chdir(tmp_path)


def test_runs_of_the_same_second_have_folders_of_their_own(one_second: None, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        names = list(threads.map(run_folder.new_folder, ["outputs/a"] * 8))
    first = "outputs/a/2026-01-02_12-00-00"
    assert sorted(names) == [first, *(f"{first}_{i}" for i in range(2, 9))]
    assert all((tmp_path / name).is_dir() for name in names)
    (tmp_path / first / "best.ckpt").touch()
    run_folder.held.close()
    assert [path.name for path in (tmp_path / "outputs" / "a").iterdir()] == ["2026-01-02_12-00-00"]


def trainer_of(devices: int = 1, num_nodes: int = 1, strategy: str = "auto") -> DictConfig:
    return DictConfig({"accelerator": "cpu", "devices": devices, "num_nodes": num_nodes, "strategy": strategy})


def test_processes_of_torchrun_have_one_folder_though_they_start_apart(
    one_second: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    ranks = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "none"}
    for name, value in (address | ranks).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    meeting.cache_clear()
    (tmp_path / "outputs" / "2026-01-02_12-00-00").mkdir(parents=True)
    assert run_folder.run_folder(None, "outputs", trainer_of(2)) == "outputs/2026-01-02_12-00-00_2"
    monkeypatch.setattr(run_folder, "datetime", datetime)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    meeting.cache_clear()  # as in another process
    assert run_folder.run_folder(None, "outputs", trainer_of(2)) == "outputs/2026-01-02_12-00-00_2"


SLURM = {"SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NODEID": "0", "SLURM_JOB_NAME": "a"}
SLURM |= {"SLURM_NTASKS_PER_NODE": "2"}


@pytest.mark.parametrize(
    ("environment", "trainer", "joins"),
    [
        ({"LOCAL_RANK": "1"}, trainer_of(2), True),
        ({"NODE_RANK": "1"}, trainer_of(num_nodes=2), True),
        (SLURM, trainer_of(2), True),
        (SLURM, trainer_of(strategy="ddp"), True),
        (SLURM, trainer_of(), False),
        ({"LOCAL_RANK": "1"}, trainer_of(), False),
        (SLURM | {"SLURM_JOB_NAME": "interactive"}, trainer_of(), False),
        (SLURM | {"SLURM_JOB_NAME": "interactive"}, trainer_of(num_nodes=2), False),
        ({"RANK": "1"}, trainer_of(2), False),
        ({}, trainer_of(2), False),
    ],
)
@pytest.mark.filterwarnings("ignore:.*srun.*")
def test_a_process_joins_the_first_where_lightning_trains_them_together(
    one_second: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    trainer: DictConfig,
    joins: bool,
) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    first = tmp_path / "outputs" / "2026-01-02_12-00-00"
    first.mkdir(parents=True)
    assert run_folder.run_folder(None, "outputs", trainer) == f"outputs/2026-01-02_12-00-00{'_2' * (not joins)}"
    config = DictConfig(
        {
            "trainer": trainer,
            "hydra": {"run": {"dir": str(first)}, "sweep": {"dir": str(first)}, "sweeper": {"_target_": ""}},
        }
    )
    with exclusive_lock(first / LOCK):
        with nullcontext() if joins else pytest.raises(SystemExit, match="another process is writing"):
            run_folder.LockFolder().on_run_start(config)
        with pytest.raises(SystemExit, match="another process is writing"):
            run_folder.LockFolder().on_multirun_start(config)


@pytest.mark.parametrize("resume", ["auto", "{run}/checkpoints/last.ckpt", "{run}", "a/checkpoints/last.ckpt", None])
def test_a_run_replaces_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resume: str | None) -> None:
    run = {
        "resume": resume and resume.format(run=tmp_path),
        "trainer": trainer_of(),
        "hydra": {"run": {"dir": str(tmp_path)}, "output_subdir": ".hydra"},
    }
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    (checkpoints / ".12-34.last.ckpt").touch()  # which a run that was killed left
    start = run_folder.LockFolder().on_run_start
    start(DictConfig(run))
    run_folder.held.close()
    (checkpoints / "best.ckpt").touch()
    refused = pytest.raises(SystemExit, match=rf"resume {tmp_path}, or give the new one another hydra.run.dir")
    with nullcontext() if resume in ("auto", "{run}/checkpoints/last.ckpt", "{run}") else refused:
        start(DictConfig(run))
    run_folder.held.close()
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    start(DictConfig(run))
    run_folder.held.close()


@pytest.mark.parametrize(
    ("resume", "sweeper", "refused"),
    [(None, "BasicSweeper", True), ("auto", "BasicSweeper", False), (None, "optuna", False)],
)
def test_a_new_sweep_replaces_no_other(tmp_path: Path, resume: str | None, sweeper: str, refused: bool) -> None:
    hydra = {"sweep": {"dir": str(tmp_path), "subdir": "0"}, "sweeper": {"_target_": sweeper, "params": None}}
    hydra |= {"overrides": {"task": []}, "job": {}}
    start = partial(run_folder.LockFolder().on_multirun_start, DictConfig({"resume": resume, "hydra": hydra}))
    start()
    run_folder.held.close()
    (tmp_path / "0" / "checkpoints").mkdir(parents=True)
    (tmp_path / "0" / "checkpoints" / "best.ckpt").touch()
    ways = r"same command with resume=auto, or give the new ones another hydra.sweep.dir"
    with pytest.raises(SystemExit, match=ways) if refused else nullcontext():
        start()
    run_folder.held.close()


def test_a_sweep_goes_on_with_trainings_of_its_own_settings_alone(tmp_path: Path) -> None:
    def begin(rates: str, **params: str) -> None:
        hydra = {"sweep": {"dir": str(tmp_path), "subdir": "job_${hydra.job.num}"}, "job": {"num": "???"}}
        hydra |= {"sweeper": {"_target_": "a.BasicSweeper", "params": params or None}}
        hydra |= {"overrides": {"task": ["~callbacks.ema", f"optimizer.lr={rates}", "resume=auto"]}}
        with run_folder.held:
            run_folder.LockFolder().on_multirun_start(DictConfig({"resume": "auto", "hydra": hydra}))

    run = tmp_path / "job_1"
    for name in ("checkpoints", ".hydra"):
        (run / name).mkdir(parents=True)
    (run / "checkpoints" / "best.ckpt").touch()
    words = "[~callbacks.ema=null, optimizer.lr=0.1, seed=3, must_work=false]"  # the last is of several processes
    (run / ".hydra" / "overrides.yaml").write_text(words, encoding="utf-8")
    begin("0.05,0.1,0.2", seed="3")
    with pytest.raises(SystemExit, match=rf"{run} holds .* \(there optimizer.lr=0.1, here optimizer.lr=0.2\)"):
        begin("0.1,0.2", seed="3")
    with pytest.raises(SystemExit, match=r"\(there seed=3, here -\)"):
        begin("0.05,0.1")


@pytest.mark.parametrize(
    ("starts", "requeued", "again"),
    [(1, "1", True), (2, "0", True), (2, None, True), (1, "0", False), (1, None, False)],
)
def test_a_job_of_torchrun_is_started_again_by_slurm_or_by_torchrun(
    monkeypatch: pytest.MonkeyPatch, starts: int, requeued: str | None, again: bool
) -> None:
    monkeypatch.setattr(run_folder, "_meeting", lambda: Meeting(None, starts))
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    monkeypatch.setenv("SLURM_RESTART_COUNT", requeued or "")
    assert run_folder.restarted() is again


def test_tasks_of_slurm_that_train_apart_have_folders_and_logs_of_their_own(
    one_second: None, start: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in ("1", "2"):
        for name, value in (SLURM | {"SLURM_NTASKS": "3", "SLURM_PROCID": number}).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(rank_zero_only, "rank", int(number))  # as Lightning reads it when it is imported
        assert start("train", *tiny(), "logger=csv", "hydra.verbose=false", "name=a").code == 0
    for folder in ("2026-01-02_12-00-00", "2026-01-02_12-00-00_2"):
        run = tmp_path / "outputs" / "a" / folder
        assert (run / "checkpoints" / "best.ckpt").is_file() and [*run.rglob("metrics.csv")]


def wait_for_the_end(end: Connection) -> None:
    end.send("started")
    end.recv()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_lock_ends_with_its_process_though_a_forked_one_goes_on(tmp_path: Path) -> None:
    here, there = Pipe()
    with exclusive_lock(tmp_path / "lock"):
        worker = get_context("fork").Process(target=wait_for_the_end, args=(there,), daemon=True)
        worker.start()
        assert here.recv() == "started"
        with pytest.raises(BlockingIOError), exclusive_lock(tmp_path / "lock", wait=False):
            pass
    with exclusive_lock(tmp_path / "lock", wait=False):
        here.send("end")
        worker.join()


def test_a_folder_of_results_is_locked_and_keeps_no_lock(tmp_path: Path) -> None:
    results, nothing = tmp_path / "a" / "results", tmp_path / "b" / "nothing"
    with run_folder.held:
        for folder in (results, nothing):
            run_folder.lock_output(folder)
            with pytest.raises(ValueError, match=f"another process is writing to {folder} "):
                run_folder.lock_output(folder)
            assert is_new(folder)
        (results / "a.csv").write_text("1")
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "results", "a.csv"] and not is_new(results)


def test_a_file_of_results_is_locked_alone(tmp_path: Path) -> None:
    with run_folder.held:
        run_folder.lock_file(tmp_path / "new" / "a.json")
        with pytest.raises(ValueError, match=r"writing to .*a\.json \(pid=\d+ .*name another file"):
            run_folder.lock_file(tmp_path / "new" / "a.json")
        run_folder.lock_file(tmp_path / "new" / "b.json")
        (tmp_path / "new" / "b.json").write_text("1")
        run_folder.lock_file(tmp_path / "unused" / "c.json")
    assert [path.name for path in tmp_path.rglob("*")] == ["new", "b.json"]


def test_a_lock_that_was_removed_while_it_was_taken_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(fcntl, "flock", lambda file, how: (tmp_path / LOCK).unlink())
    with pytest.raises(BlockingIOError), exclusive_lock(tmp_path / LOCK, wait=False):
        pass


def test_a_folder_that_a_run_is_writing_to_is_refused_until_it_ends(start: Callable, tmp_path: Path) -> None:
    run, short = tmp_path / "a run", [*tiny(), "logger=csv"]
    assert start("train", *short, f"hydra.run.dir='{run}'").code == 0
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    resume = [f"resume='{run / 'checkpoints' / 'last.ckpt'}'", "hydra.verbose=false", "trainer.max_epochs=2"]
    with exclusive_lock(run / LOCK):
        for words in ([*short, f"hydra.run.dir='{run}'"], [*short, *resume]):
            ending = start("train", *words)
            assert ending.code == 1 and ending.err.startswith(
                f"error: another process is writing to {run} (pid={os.getpid()} host="
            )
        best = f"ckpt='{run / 'checkpoints' / 'best.ckpt'}'"
        assert f"error: another process is writing to {run} (pid=" in start("calibrate", best).err
        write_image(tmp_path / "image.png", np.zeros((48, 64, 3), np.uint8))
        for words in (["predict", f"source='{tmp_path / 'image.png'}'"], ["evaluate"]):
            assert f"error: another process is writing to {run} (pid=" in start(*words, best, f"output='{run}'").err
        study = start("crossval", "data=mirror_mouse", f"output='{run}'")
        assert study.code == 1 and f"error: another process is writing to {run} (pid=" in study.err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    ending = start("train", "--config-dir", str(run))
    assert ending.code == 1 and f"softpoint resume {run} goes on" in ending.err
    ending = start("resume", str(run), "trainer.max_epochs=2")
    assert "changed since the run was stopped: trainer.max_epochs 1 -> 2" in ending.out
    assert (
        ending.code == 0 and (run / "checkpoints" / "last.ckpt").read_bytes() != before[run / "checkpoints/last.ckpt"]
    )


@pytest.mark.parametrize(
    "words",
    [
        ("train", "head.window=4", "hydra.verbose=false"),
        ("train", "-m", "trainer.num_nodes=2", "seed=0,1"),
        ("train", "head.window=4", "hydra.run.dir=new/run"),
        ("train", "-m", "trainer.num_nodes=2", "seed=0,1", "hydra.sweep.dir=new/sweep"),
        ("evaluate", "ckpt=none.ckpt"),
        ("evaluate", "ckpt=none.ckpt", "hydra.run.dir='new one'"),
        ("predict", "ckpt=none.ckpt", "source=nowhere"),
        ("inspect", "data.labels=none.csv"),
        ("compare", "study=heads", "folds=0"),
        ("crossval", "data=synthetic"),
        ("curve", "data=synthetic"),
    ],
    ids=" ".join,
)
def test_a_refused_command_leaves_no_folder(
    start: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    ending = start(*words)
    assert ending.code == 1 and "error: " in ending.err
    assert list(tmp_path.iterdir()) == []
