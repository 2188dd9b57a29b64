"""Each run has a folder of its own, no two processes write to one, and a refused command leaves none."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
from torch.distributed import TCPStore

from helpers.training import tiny
from softpoint.cli import run_folder
from softpoint.paths import exclusive_lock

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


def test_processes_of_torchrun_have_one_folder_though_they_start_apart(
    one_second: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    for name, value in (address | {"RANK": "0"}).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "outputs" / "2026-01-02_12-00-00").mkdir(parents=True)
    assert run_folder.new_folder("outputs") == "outputs/2026-01-02_12-00-00_2"
    monkeypatch.setattr(run_folder, "datetime", datetime)
    monkeypatch.setenv("RANK", "1")
    assert run_folder.new_folder("outputs") == "outputs/2026-01-02_12-00-00_2"


@pytest.mark.parametrize("variable", ["LOCAL_RANK", "RANK", "NODE_RANK"])
def test_the_other_processes_of_a_training_join_the_first(
    one_second: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    with exclusive_lock(tmp_path / run_folder.LOCK):
        monkeypatch.setenv(variable, "1")
        run_folder.lock(tmp_path)
        assert run_folder.new_folder("outputs") == "outputs/2026-01-02_12-00-00"
        assert not (tmp_path / "outputs").exists()


def test_a_folder_that_a_run_is_writing_to_is_refused_until_it_ends(start: Callable, tmp_path: Path) -> None:
    run, short = tmp_path / "a run", [*tiny(), "~callbacks.images", "logger=csv"]
    assert start("train", *short, f"hydra.run.dir='{run}'").code == 0
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    resume = [f"ckpt_path='{run / 'checkpoints' / 'last.ckpt'}'", "hydra.verbose=false", "trainer.max_epochs=2"]
    with exclusive_lock(run / run_folder.LOCK):
        for words in ([*short, f"hydra.run.dir='{run}'"], [*short, *resume]):
            ending = start("train", *words)
            assert ending.code == 1 and ending.err.startswith(f"error: another process is writing to {run}; wait")
        study = start("crossval", "data=mirror_mouse", f"output='{run}'")
        assert study.code == 1 and f"error: another process is writing to {run}; wait" in study.err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    ending = start("train", *short, *resume)
    assert (
        ending.code == 0 and (run / "checkpoints" / "last.ckpt").read_bytes() != before[run / "checkpoints/last.ckpt"]
    )


@pytest.mark.parametrize(
    "words",
    [
        ("train", "head.window=4", "hydra.verbose=false"),
        ("train", "-m", "trainer.devices=2", "trainer.accelerator=cpu"),
        ("evaluate", "ckpt=none.ckpt"),
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
