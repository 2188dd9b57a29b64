"""The curve command trains on growing numbers of labels alike, and draws the error of each."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from helpers.studies import Pretence, last_parts
from helpers.training import CONFIGS, built, composed, labeled, read_csv, write_labels
from softpoint.viz.figures import write_figure

START = Callable[..., tuple[int, str, str]]


@pytest.fixture
def pretence(monkeypatch: pytest.MonkeyPatch) -> Pretence:
    """Trainings of no time, without a count of images."""
    monkeypatch.setattr("softpoint.cli.curve.check_size", lambda largest: None)
    return Pretence(monkeypatch)


@pytest.fixture
def curve(start: Callable, tmp_path: Path) -> START:
    """Start the command on a set whose images are not opened."""
    return partial(start, "curve", "data=mirror_mouse", f"output={tmp_path / 'out'}")


def test_each_number_is_trained_alike_and_tested_on_the_same(
    curve: START, pretence: Pretence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("softpoint.studies.reports.write_figure", write_figure)
    code, out, err = curve("labels=[20,5,10]", "seeds=[0,4]", "steps=300", "check_every=25", "optimizer.lr=0.001")
    assert code == 0, err
    assert last_parts(pretence.trained) == [f"images{size}/seed{seed}" for size in (5, 10, 20) for seed in (0, 4)]
    assert pretence.overrides[0] == [
        "data=mirror_mouse", "optimizer.lr=0.001", "trainer.max_epochs=-1", "trainer.max_steps=300",
        "trainer.check_val_every_n_epoch=null", "trainer.val_check_interval=25", "~callbacks.early_stopping",
        "data.limit=5", "seed=0",
    ]  # fmt: skip
    summary = json.loads((tmp_path / "out" / "curve.json").read_text())
    sizes = summary["lines"]["supervised"]
    assert list(sizes) == ["5", "10", "20"] and summary["unit"] == "images"
    rows = read_csv(tmp_path / "out" / "curve.csv")
    assert [(row["images"], row["seed"]) for row in rows] == [(s, t) for s in ("5", "10", "20") for t in ("0", "4")]
    for size, reached in sizes.items():
        errors = [float(row["epe"]) for row in rows if row["images"] == size]
        assert reached["epe"]["value"] == pytest.approx(sum(errors) / 2) == pytest.approx(reached["means"]["epe"])
        assert reached["epe"]["low"] < min(errors) < max(errors) < reached["epe"]["high"]  # t of one degree is wide
    assert summary["budget"] == "300 steps per training run" in out
    assert (tmp_path / "out" / "curve.png").stat().st_size > 5000
    assert "softpoint curve 'labels=[20,5,10]' 'seeds=[0,4]' steps=300" in summary["command"]


def test_groups_minutes_and_several_lines(curve: START, pretence: Pretence, tmp_path: Path) -> None:
    words = ["groups=[1,2]", "minutes=3", "+lines.narrow=['head.window=7','decoder.channels=4']"]
    code, _, err = curve(*words)
    assert code == 0, err
    assert last_parts(pretence.trained) == ["groups1/seed0"] * 2 + ["groups2/seed0"] * 2
    first, second = pretence.overrides[:2]
    assert "data.limit_groups=1" in first and "minutes=3" in first and not any("max_steps" in word for word in first)
    assert "decoder.channels=4" in second and "decoder.channels=4" not in first
    summary = json.loads((tmp_path / "out" / "curve.json").read_text())
    assert list(summary["lines"]) == ["supervised", "narrow"] and summary["budget"] == "3 minutes per training run"
    plain, narrow = (summary["lines"][line]["1"]["epe"] for line in ("supervised", "narrow"))
    assert narrow["value"] == pytest.approx(2 * plain["value"])  # so the pretended training has it
    assert plain["low"] < plain["value"] < plain["high"]  # of the bootstrap


def test_budgets_are_trained_as_train_does_for_so_many_minutes(
    curve: START, pretence: Pretence, tmp_path: Path
) -> None:
    code, out, err = curve("budgets=[12,3]", "seeds=[0,2]")
    assert code == 0, err
    assert last_parts(pretence.trained) == [f"minutes{size}/seed{seed}" for size in (3, 12) for seed in (0, 2)]
    assert pretence.overrides[0] == ["data=mirror_mouse", "minutes=3", "seed=0", "backbone=efficientnet_lite0"]
    rows = read_csv(tmp_path / "out" / "curve.csv")
    assert [row["budget"] for row in rows] == ["3", "3", "12", "12"] and "minutes" in rows[0]
    text = (tmp_path / "out" / "curve.md").read_text()
    assert "### Minutes of training on mirror_mouse" in text and "Trained for so many minutes, and tested" in text
    assert "Minutes of training on mirror_mouse" in out and pretence.figures == [tmp_path / "out" / "curve"]


def test_a_training_that_fails_is_reported(curve: START, pretence: Pretence, tmp_path: Path) -> None:
    pretence.failing = r"data\.limit=10"
    code, _, err = curve("labels=[5,10]")
    assert code == 1 and "1 of 2 training runs failed, first supervised, 10 images, seed 0: the learning rate" in err
    summary = json.loads((tmp_path / "out" / "curve.json").read_text())
    assert summary["lines"]["supervised"]["10"]["epe"] is None
    text = (tmp_path / "out" / "curve.md").read_text()
    assert "- supervised, 10 images, seed 0: the learning rate is too high" in text
    pretence.failing = "$^"
    assert curve("labels=[6]", "steps=7")[0] == 0
    assert "trainer.val_check_interval=7" in pretence.overrides[-1]


def test_the_command_of_the_help_composes(curve: START, pretence: Pretence) -> None:
    line = '+lines.semi=["semi=mean_teacher","data.unlabeled_images.source=VIDEO"]'
    assert line in (CONFIGS / "curve.yaml").read_text()
    code, _, err = curve("labels=20", "seeds=[3,1]", "data.splits=null", line)
    assert code == 0, err
    trainings = pretence.overrides
    assert len(trainings) == 4 and sum("semi=mean_teacher" in words for words in trainings) == 2
    assert all("data.split_seed=3" in words for words in trainings)  # the same test images with both seeds


def test_too_many_labels_are_refused_before_any_training(
    start: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretence = Pretence(monkeypatch)
    words = [*labeled(write_labels(tmp_path / "data")), "labels=[2,99]", f"output={tmp_path / 'out'}"]
    words = [word for word in words if not word.startswith("trainer.max_epochs")]
    code, _, err = start("curve", *words)
    assert code == 1 and "data.limit=99: there are" in err and pretence.trained == []


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*many workers.*")
def test_steps_are_the_budget_of_a_training_that_epochs_would_end_at_once(tmp_path: Path) -> None:
    """Twelve images and a batch of four: an epoch is one step; seven steps, validated by threes and at the end."""
    from softpoint.cli.curve import budget_overrides

    plain = labeled(write_labels(tmp_path / "data"))
    budget = budget_overrides(OmegaConf.create({"steps": 7, "check_every": 3}), composed("train", plain, tmp_path))
    words = [*plain, *budget, "data.limit=4"]
    module, data, trainer = built(composed("train", words, tmp_path / "run"))
    validated: list[int] = []
    usual = module.on_validation_epoch_end
    module.on_validation_epoch_end = lambda: (validated.append(trainer.global_step), usual())[1]
    trainer.fit(module, data)
    assert trainer.global_step == 7 and validated == [3, 6, 7]
    assert module.progress(7) == 1.0


def test_a_training_of_a_study_may_have_two_processes(
    curve: START, pretence: Pretence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which tests/training trains; here they take no time, and those of one line fail."""
    started: list[Path] = []

    def train(folder: Path) -> None:
        started.append(folder)
        if "even" in folder.parts:
            raise ValueError("window must be an odd number of cells, got 4; try 5")

    monkeypatch.setattr("softpoint.cli.study.train_in_processes", train)
    code, out, err = curve("labels=[4]", "steps=2", "trainer.devices=2", '+lines.even=["head.window=4"]')
    assert code == 1 and pretence.trained == [], err
    assert last_parts(started, 3) == [f"{line}/images4/seed0" for line in ("supervised", "even")]
    assert "1 of 2 training runs failed, first even, 4 images, seed 0: window must be an odd number" in err
    assert out.count(": training in ") == 2 and "Learning curve on mirror_mouse" in out
    lines = json.loads((tmp_path / "out" / "curve.json").read_text())["lines"]
    assert lines["supervised"]["4"]["epe"]["value"] > 0 and lines["even"]["4"]["epe"] is None
