"""The crossval command trains what is missing, pools what is there, and continues after a fold that fails."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from helpers.studies import IMAGES, Pretence, last_parts
from helpers.training import labeled, read_csv, write_labels
from softpoint.cli.overrides import split_arguments
from softpoint.evaluation import Results

START = Callable[..., tuple[int, str, str]]


@pytest.fixture
def crossval(start: Callable, tmp_path: Path) -> START:
    """Start the command on three folds of a set whose images are not opened."""
    return partial(start, "crossval", "data=mirror_mouse", "folds=3", f"output={tmp_path / 'out'}")


def test_every_fold_is_trained_and_pooled(crossval: START, pretence: Pretence, tmp_path: Path) -> None:
    code, out, err = crossval("seeds=[0,4]", "optimizer.lr=0.001", "epochs=40")
    assert code == 0, err
    wanted = [f"seed{seed}/fold{fold}" for seed in (0, 4) for fold in range(3)]
    assert last_parts(pretence.trained) == wanted
    assert last_parts(pretence.evaluated, 3) == [f"{folder}/evaluation" for folder in wanted]
    assert pretence.overrides[1] == [
        "data=mirror_mouse", "optimizer.lr=0.001", "epochs=40", "data.fold=1", "data.folds=3", "data.splits=null",
        "data.split_seed=0", "seed=0",
    ]  # fmt: skip
    assert {"data.split_seed=0", "seed=4"} <= {*pretence.overrides[-1]}  # the same folds
    summary = json.loads((tmp_path / "out" / "crossval.json").read_text())
    assert summary["images"] == len(IMAGES) and summary["subjects"] == 2 * len(IMAGES) and summary["failed"] == []
    assert list(summary["folds"]) == ["0", "1", "2"] and summary["minutes"] >= 0 and "CPU core" in summary["hardware"]
    assert (
        summary["command"] == "softpoint crossval folds=3 'seeds=[0,4]' data=mirror_mouse optimizer.lr=0.001 epochs=40"
    )
    assert summary["budget"] == "40 epochs per training run"
    assert len(read_csv(tmp_path / "out" / "predictions.csv")) == 2 * len(IMAGES)
    assert "[6/6] fold 2, seed 4" in out and "all folds" in out
    assert pretence.pages == [tmp_path / "out" / "report.html"]


def test_a_finished_training_is_not_repeated(crossval: START, pretence: Pretence, tmp_path: Path) -> None:
    assert crossval()[0] == 0
    before = (tmp_path / "out" / "crossval.json").read_text()
    (tmp_path / "out" / "seed0" / "fold1" / "evaluation" / "metrics.json").unlink()
    pretence.clear()
    assert crossval()[0] == 0
    assert pretence.trained == [] and last_parts(pretence.evaluated) == ["fold1/evaluation"]
    assert json.loads((tmp_path / "out" / "crossval.json").read_text()).keys() == json.loads(before).keys()


def test_another_config_in_the_folder_is_refused(crossval: START, pretence: Pretence) -> None:
    assert crossval()[0] == 0
    pretence.clear()
    code, _, err = crossval("optimizer.lr=0.5")
    assert code == 1 and pretence.trained == []
    assert "fold0 holds a training run of another config, which differs in optimizer; name another output=FOLDER" in err
    code, _, err = crossval("data.split_seed=7")
    assert code == 1 and "which differs in data" in err


def test_an_attempt_without_a_checkpoint_may_have_another_config(
    crossval: START, pretence: Pretence, tmp_path: Path
) -> None:
    (tmp_path / "out" / "seed0" / "fold0" / ".hydra").mkdir(parents=True)
    (tmp_path / "out" / "seed0" / "fold0" / ".hydra" / "config.yaml").write_text("optimizer: {lr: 1e9}")
    (tmp_path / "out" / "seed0" / "fold0" / "checkpoints").mkdir()
    code, _, err = crossval()
    assert code == 0 and len(pretence.trained) == 3, err


def test_the_user_may_draw_other_folds(crossval: START, pretence: Pretence) -> None:
    assert crossval("data.split_seed=5", "seeds=2")[0] == 0
    assert all(" ".join(words).count("split_seed") == 1 for words in pretence.overrides)
    assert last_parts(pretence.trained) == [f"seed2/fold{fold}" for fold in range(3)]


def test_a_fold_that_fails_is_reported(crossval: START, pretence: Pretence, tmp_path: Path) -> None:
    pretence.failing = "data.fold=1"
    code, _, err = crossval()
    assert code == 1 and len(err.splitlines()) == 1
    assert "error: 1 of 3 training runs failed, first fold 1, seed 0: the learning rate is too high; the same" in err
    assert f"with output={tmp_path / 'out'} tries those again" in err
    summary = json.loads((tmp_path / "out" / "crossval.json").read_text())
    assert list(summary["folds"]) == ["0", "2"] and summary["failed"][0]["run"] == "fold 1, seed 0"
    assert summary["images"] == 8
    pretence.failing = "$^"
    assert crossval()[0] == 0 and last_parts(pretence.trained)[3:] == ["seed0/fold1"]
    assert json.loads((tmp_path / "out" / "crossval.json").read_text())["images"] == 12


def test_the_minutes_of_the_first_fold_decide_the_input_of_all(
    crossval: START, pretence: Pretence, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    grown = {"growth": [[0.0, 32, 64], [0.2, 64, 96], [0.4, 96, 128]]}  # of which the best checkpoint lacks the last
    content = SimpleNamespace(size=(64, 96), record=grown)
    monkeypatch.setattr("softpoint.inference.checkpoint_content.read_content", lambda path: content)
    pretence.failing = "data.fold=0"
    code, _, err = crossval("minutes=3")
    assert code == 1 and last_parts(pretence.trained) == ["seed0/fold0"]
    assert "1 of 1 training runs failed, first fold 0, seed 0: the learning rate is" in err
    pretence.failing = "$^"
    pretence.clear()
    code, _, err = crossval("minutes=3", "seeds=[0,4]")
    assert code == 0, err
    given = [{word for word in words if word.startswith(("data.size", "callbacks"))} for words in pretence.overrides]
    assert given == [set(), *[{"data.size=[32,64]", "callbacks.growth.plan=[[0.2,64,96]]"}] * 5]
    (tmp_path / "out" / "seed4" / "fold1" / "evaluation" / "metrics.json").unlink()
    pretence.clear()
    assert crossval("minutes=3", "seeds=[0,4]")[0] == 0 and pretence.trained == []
    assert last_parts(pretence.evaluated, 3) == ["seed4/fold1/evaluation"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_fold_continues(
    crossval: START, pretence: Pretence, tmp_path: Path, number: signal.Signals
) -> None:
    pretence.interrupted, pretence.signal = "data.fold=1", number
    code, _, err = crossval()
    assert code == 128 + number
    assert err == f"stopping\nstopped: the same command with output={tmp_path / 'out'} continues from here"
    assert not (tmp_path / "out" / "crossval.json").exists()
    pretence.interrupted = "$^"
    pretence.clear()
    code, out, err = crossval()
    assert code == 0, err
    last = tmp_path / "out" / "seed0" / "fold1" / "checkpoints" / "last.ckpt"
    assert pretence.overrides[0][-1] == f"resume='{last}'" and "continuing in" in out
    assert not any("resume" in word for words in pretence.overrides[1:] for word in words)


def test_overrides_of_a_training_are_separated() -> None:
    of_training = ["loss=[heatmap_ce]", "~callbacks.ema", "d='it''s'", r"data.group='cam(\d+)'", "data.images=C:\\"]
    train, *own = split_arguments(["folds=3", *of_training, "hydra/launcher=joblib", "--help"], "crossval")
    assert own == ["folds=3", "hydra/launcher=joblib", "--help"]
    assert [str(word) for word in OverridesParser.create().parse_override(train).value()] == of_training
    own = ["--cfg", "job"]
    assert split_arguments(["data=openfield", *own], "crossval") == ["train=['data=openfield']", *own]
    assert split_arguments(["folds=3"], "crossval") == ["folds=3"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*many workers.*", "ignore:.*is not empty")
def test_a_launcher_of_hydra_trains_folds_side_by_side(start: Callable, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason='needs pip install "softpoint[joblib]"')
    from joblib.externals.loky import get_reusable_executor

    words = labeled(write_labels(tmp_path / "data"), "folds=2", f"output={tmp_path / 'a study'}")
    words = [word for word in words if not word.startswith("data.test=")]
    done = start("crossval", *words, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    get_reusable_executor().shutdown()
    assert done.code == 0, done.out + done.err
    result = json.loads((tmp_path / "a study" / "crossval.json").read_text())
    assert result["images"] == 12 and list(result["folds"]) == ["0", "1"] and result["failed"] == []
    evaluation = tmp_path / "a study/seed0/fold1/evaluation"
    tested = Results.read(evaluation / "predictions.csv")  # by the training's own test
    (evaluation / "metrics.json").unlink()
    again = start("crossval", *words, "hydra/launcher=basic")
    assert again.code == 0 and "1 of 2 training runs were finished before" in again.out, again.err
    assert "evaluating in" in again.out and ": training in" not in again.out
    predicted = Results.read(evaluation / "predictions.csv")
    assert predicted.images == tested.images and np.allclose(predicted.keypoints, tested.keypoints, atol=1e-3)
