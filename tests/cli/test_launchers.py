"""Launchers of Hydra start the trainings of a sweep in processes of their own, whose outcomes the sweep ranks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from helpers.training import ROOT, read_csv

RAY = ["+hydra.launcher.ray.init.num_cpus=1", "+hydra.launcher.ray.init.include_dashboard=false"]


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Processes that find the package and the helpers of the tests, and a cluster of Ray that ends with the test."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}:{ROOT / 'tests'}")
    yield
    if "ray" in sys.modules:
        import ray

        ray.shutdown()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize(
    ("launcher", "plugin", "extra", "words"),
    [
        ("submitit_local", "hydra_submitit_launcher", "slurm", []),
        ("ray", "hydra_ray_launcher", "ray", RAY),
    ],
)
def test_a_launcher_starts_trainings_whose_outcomes_are_ranked(
    start: Callable, apart: None, tmp_path: Path, launcher: str, plugin: str, extra: str, words: list[str]
) -> None:
    pytest.importorskip(f"hydra_plugins.{plugin}", reason=f'needs pip install "softpoint[{extra}]"')
    pretended = "+hydra.callbacks.pretended._target_=helpers.pretended.Pretended"
    sweep = ["optimizer.lr=4,2.5", pretended, f"hydra/launcher={launcher}", f"hydra.sweep.dir={tmp_path}", *words]
    ending = start("train", "-m", *sweep)
    assert ending.code == 1, ending.out + ending.err
    assert ending.err.endswith(f"error: 1 of 2 trainings failed:\n  {tmp_path / '0'}: 4 is no learning rate; try 5")
    rows = read_csv(tmp_path / "ranking.csv")
    assert [(row["run"], row["score"], row["failed"]) for row in rows] == [
        ("1", "0.5", ""),
        ("0", "", "4 is no learning rate; try 5"),
    ]


def test_a_launcher_that_is_not_installed_names_its_extra(start: Callable, tmp_path: Path) -> None:
    if find_spec("hydra_plugins.hydra_ray_launcher"):
        pytest.skip("Ray is installed")
    absent = start("train", "-m", "hydra/launcher=ray", f"hydra.sweep.dir={tmp_path}")
    assert absent.err == 'error: hydra/launcher=ray needs pip install "softpoint[ray]"'
