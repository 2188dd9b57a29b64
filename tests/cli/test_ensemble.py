"""The ensemble command joins runs, or trains members that are continued as in other studies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from helpers.studies import Pretence
from helpers.training import tiny
from softpoint.inference import read_checkpoint

BEST = "checkpoints/best.ckpt"

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*many workers.*", "ignore:.*is not empty")


@pytest.fixture
def other(run: Path, tmp_path: Path) -> Path:
    """A run like the first, of other weights."""
    stored: dict[str, Any] = torch.load(run / BEST, weights_only=True)
    for name, value in stored["state_dict"].items():
        if ".head." in name:
            stored["state_dict"][name] = value + torch.randn_like(value)
    (tmp_path / "other/checkpoints").mkdir(parents=True)
    torch.save(stored, tmp_path / "other" / BEST)
    return tmp_path / "other"


def test_runs_are_joined_calibrated_and_tested_and_the_result_is_a_model(
    run: Path, other: Path, start: Callable, tmp_path: Path
) -> None:
    data = [f"data.labels={run.parent / 'labels.csv'}", f"data.images={run.parent / 'moved'}"]
    ending = start("ensemble", f"runs=[{run},{other / BEST}]", f"output={tmp_path / 'whole'}", *data)
    assert ending.code == 0 and "ensemble" in ending.out, ending.err
    path = tmp_path / "whole" / BEST
    model = read_checkpoint(path)
    assert model.net.calibration.fitted and model.record["finished"] and model.record["calibrated_by"] == "val"
    metrics = json.loads((tmp_path / "whole/evaluation/metrics.json").read_text())["overall"]
    assert model.record["metrics"]["epe"] == metrics["epe"]["value"] != read_checkpoint(run / BEST).record["metrics"]
    assert "Caution: it is not calibrated" not in (tmp_path / "whole/model_card.md").read_text()

    ending = start("evaluate", f"ckpt={path}", *data, f"output={tmp_path / 'again'}", "tta=flip", "report=false")
    assert ending.code == 0, ending.err
    ending = start("evaluate", f"ckpt={path}", *data, f"output={tmp_path / 'again'}")
    assert ending.code == 0 and "ensemble of 2 models" in (tmp_path / "again/report.html").read_text(), ending.err
    again = json.loads((tmp_path / "again/metrics.json").read_text())["overall"]
    assert again["epe"]["value"] == pytest.approx(metrics["epe"]["value"], abs=1e-4)
    words = [f"ckpt={path}", f"source={run.parent / 'moved'}", "explain=true", f"output={tmp_path / 'predicted'}"]
    assert start("predict", *words).code == 0
    words = [f"ckpt={path}", f"source={run.parent / 'moved'}", "count=2", f"output={tmp_path / 'suggested'}"]
    assert start("suggest", *words).code == 0

    before = model.net.calibration.state_dict()
    ending = start("calibrate", f"ckpt={path}", *data, f"hydra.run.dir={tmp_path}")
    assert ending.code == 0, ending.err
    torch.testing.assert_close(read_checkpoint(path).net.calibration.state_dict(), before)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give trained models as runs=[RUN,RUN,RUN], or train new ones by seeds=[0,1,2]"),
        (["runs=[a,b]", "seeds=[0,1]"], "give trained models as runs="),
        (["runs=[a,b]", "epochs=3"], "epochs=3: runs= names models that are trained already"),
        (["runs=[a,b]"], "no checkpoint at a"),
        (["runs=a"], "runs=a is one model, or no finished softpoint crossval"),
        (["seeds=[0,0]"], "seeds=[0, 0] has 0 more than once"),
        (["seeds=3"], "seeds=3 is of one model; give two or more as seeds=[0,1]"),
        (["seeds=[0,1]", "data.fold=1"], "data.fold=1: the study itself decides data.fold"),
    ],
)
def test_mistakes_are_named_and_leave_nothing(start: Callable, tmp_path: Path, words: list[str], message: str) -> None:
    ending = start("ensemble", *words, f"output={tmp_path / 'out'}")
    assert ending.code == 1 and message in ending.err, ending.err
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_seeds_are_trained_once_and_joined(start: Callable, tmp_path: Path) -> None:
    words = ["seeds=[0,1]", *tiny(), f"output={tmp_path / 'out'}"]
    words = [word for word in words if word != "report=false"]
    ending = start("ensemble", *words, "report=false")
    assert ending.code == 0, ending.err
    model = read_checkpoint(tmp_path / "out" / BEST)
    assert len(model.record["members"]) == 2 and model.net.calibration.fitted
    assert [member["checkpoint"] for member in model.record["members"]] == [f"seed{i}/{BEST}" for i in (0, 1)]
    (tmp_path / "out" / BEST).unlink()
    again = start("ensemble", *words, "report=false")
    assert again.code == 0 and "2 of 2 training runs were finished before" in again.out, again.err
    torch.testing.assert_close(read_checkpoint(tmp_path / "out" / BEST).net.state_dict(), model.net.state_dict())


def test_the_minutes_of_the_first_decide_the_input_of_all(
    start: Callable, pretence: Pretence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined: list[list[str]] = []
    content = SimpleNamespace(size=(64, 96), record={})
    monkeypatch.setattr("softpoint.inference.checkpoint_content.read_content", lambda path: content)
    monkeypatch.setattr("softpoint.cli.ensemble._join", lambda _, __, places, ___: joined.append(places))
    words = ["data=mirror_mouse", "minutes=3", "seeds=[4,0,1]", f"output={tmp_path / 'out'}"]
    pretence.interrupted = "seed=0"
    assert start("ensemble", *words).code != 0 and joined == []
    pretence.interrupted = "$^"
    assert start("ensemble", *words).code == 0
    assert joined == [[str(tmp_path / "out" / f"seed{seed}") for seed in (4, 0, 1)]]
    sized = ["data.size=[64,96]" in overrides for overrides in pretence.overrides]
    assert sized == [False, True, True, True] and pretence.overrides[2][-1].startswith("resume=")
    pretence.clear()
    words = ["data=mirror_mouse", "minutes=3", "seeds=[0,1]", "data.size=64", f"output={tmp_path / 'sized'}"]
    assert start("ensemble", *words).code == 0
    assert not any("data.size=[64,96]" in overrides for overrides in pretence.overrides)


def test_no_member_is_trained_into_the_folder_of_a_run(start: Callable, pretence: Pretence, tmp_path: Path) -> None:
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    (tmp_path / "run/checkpoints/last.ckpt").touch()
    ending = start("ensemble", "data=mirror_mouse", "seeds=[0,1]", f"output={tmp_path / 'run'}")
    assert ending.code == 1 and "run holds a training run, whose model the ensemble would replace" in ending.err
    assert not pretence.overrides


def test_a_member_that_fails_is_named(start: Callable, pretence: Pretence, tmp_path: Path) -> None:
    pretence.failing = "seed=1"
    ending = start("ensemble", "data=mirror_mouse", "seeds=[0,1]", f"output={tmp_path / 'out'}")
    assert ending.code == 1 and "1 of 2 training runs failed, first seed 1: the learning rate is too high" in ending.err
