"""The compare command trains variants alike, in turns, and reports their errors and costs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from hydra import initialize_config_dir

from helpers.studies import IMAGES, Pretence, last_parts, results_of
from helpers.training import CONFIGS, read_csv, tiny
from softpoint.cli.study import composed

START = Callable[..., tuple[int, str, str]]
ATTENTION = ("study=attention", '+study.variants.thin=["decoder.channels=4"]', "timing.rounds=0")
TWO = (*ATTENTION, "~study.variants.dsa", "~study.variants.cbam_7x7")
ONE = ("study=attention", "timing.rounds=0", *(f"~study.variants.{name}" for name in ("dsa", "cbam_7x7")))


@pytest.fixture
def compare(start: Callable, tmp_path: Path) -> START:
    """Start the command."""
    return partial(start, "compare", f"output={tmp_path / 'out'}")


def test_variants_are_trained_in_turns_and_compared(compare: START, pretence: Pretence, tmp_path: Path) -> None:
    code, out, err = compare(*ATTENTION, "seeds=[0,3]", "minutes=2")
    assert code == 0, err
    variants = ("none", "cbam_7x7", "dsa", "thin")
    folders = [f"synthetic/{variant}/seed{seed}" for seed in (0, 3) for variant in variants]
    assert last_parts(pretence.trained, 3) == folders
    assert pretence.overrides[3] == ["minutes=2", "decoder.channels=4", "seed=0"]
    summary = json.loads((tmp_path / "out" / "synthetic.json").read_text())
    assert list(summary["variants"]) == ["none", "cbam_7x7", "dsa", "thin"] and summary["seeds"] == [0, 3]
    error = {seed: float(results_of(IMAGES, 4.0, seed).errors[0, 0]) for seed in (0, 3)}
    assert error[0] != error[3]
    plain, thin = (summary["variants"][name]["seeds"] for name in ("none", "thin"))
    difference = [thin[seed]["epe"] - plain[seed]["epe"] for seed in ("0", "3")]
    assert summary["variants"]["thin"]["difference"]["value"] == pytest.approx(sum(difference) / 2)
    assert summary["variants"]["dsa"]["difference"]["value"] == 0.0
    assert summary["budget"] == "2 minutes per training run" and "study=attention" in summary["command"]
    assert "Attention on synthetic" in out and pretence.figures == [tmp_path / "out" / "synthetic"]
    assert pretence.pages == [tmp_path / "out" / "synthetic.html"]


def test_sets_and_folds(compare: START, pretence: Pretence, tmp_path: Path) -> None:
    code, _, err = compare(*TWO, "on=[mirror_mouse,openfield]", "seeds=[0]", "folds=2")
    assert code == 0, err
    assert len(pretence.trained) == 2 * 2 * 2
    assert pretence.overrides[0][:5] == [
        "data=mirror_mouse", "data.fold=0", "data.folds=2", "data.splits=null", "data.split_seed=0",
    ]  # fmt: skip
    for name in ("mirror_mouse", "openfield"):
        rows = read_csv(tmp_path / "out" / f"{name}.csv")
        assert [row["variant"] for row in rows] == ["none", "thin"]


def test_every_seed_is_tested_on_the_same_images(compare: START, pretence: Pretence) -> None:
    assert compare(*ONE, "on=[mirror_mouse,synthetic]", "seeds=[3,1]")[0] == 0
    assert not any("split_seed" in word for words in pretence.overrides for word in words)  # a file says, or nothing
    pretence.clear()
    code, _, err = compare(*ONE, "on=openfield", "data.splits=null", "seeds=[3,1]")
    assert code == 0, err
    assert len(pretence.overrides) == 2 and all("data.split_seed=3" in words for words in pretence.overrides)


def test_decoders_share_a_training(compare: START, pretence: Pretence, tmp_path: Path) -> None:
    code, _, err = compare("study=decoders", "seeds=[0,1]", "timing.rounds=0")
    assert code == 0, err
    assert last_parts(pretence.trained) == ["shared/seed0", "shared/seed1"]
    assert last_parts(pretence.evaluated)[1] == "seed0/evaluation_decode_expectation"
    summary = json.loads((tmp_path / "out" / "synthetic.json").read_text())["variants"]
    ratio = summary["argmax"]["epe"]["value"] / summary["window"]["epe"]["value"]
    assert ratio == pytest.approx(1.5) and summary["dark"]["difference"]["value"] == 0
    assert "Confidence was fitted for the decoder" in (tmp_path / "out" / "synthetic.md").read_text()
    code, _, err = compare("study=decoders", "seeds=[0,1]", "timing.rounds=0", 'study.variants.dark=["head.window=3"]')
    evaluations = ["seed0/evaluation_window_3", "seed1/evaluation_window_3"]
    assert code == 0 and last_parts(pretence.evaluated)[-2:] == evaluations, err
    code, _, err = compare("study=decoders", '+study.variants.odd=["decoder.channels=4"]')
    assert code == 1 and "decoder.channels=4: where study.shared=true, variants change the trained head alone" in err


def test_a_variant_that_fails_is_shown(compare: START, pretence: Pretence, tmp_path: Path) -> None:
    pretence.failing = "model=cbam"
    code, _, err = compare(*ATTENTION, "seeds=[0]")
    assert code == 1
    assert "error: 1 of 4 training runs failed, first cbam_7x7, seed 0: the learning rate is too high" in err
    text = (tmp_path / "out" / "synthetic.md").read_text()
    assert "| cbam_7x7 | failed |" in text and "- cbam_7x7, seed 0: the learning rate is too high" in text
    pretence.failing = "."
    assert compare(*ATTENTION, "seeds=[1]")[0] == 1
    assert (tmp_path / "out" / "synthetic.md").read_text().count("| failed |") == 4


def test_a_seed_that_is_left_alone_is_named(compare: START, pretence: Pretence, tmp_path: Path) -> None:
    pretence.failing = "model=cbam.* seed=[12]|channels=4 seed=1"
    assert compare(*ATTENTION, "seeds=[0,1,2]")[0] == 1
    text = (tmp_path / "out" / "synthetic.md").read_text()
    one, two = (
        next(line.split(" | ") for line in text.splitlines() if name in line) for name in ("cbam_7x7 (", "thin (")
    )
    assert one[0] == "| cbam_7x7 (seed 0 alone)" and " to " not in one[1] + one[2]
    assert two[0] == "| thin (seed 0 and 2 alone)" and " to " in two[1] and " to " in two[2]


def test_the_page_of_results_is_updated_on_request(compare: START, pretence: Pretence, tmp_path: Path) -> None:
    page = tmp_path / "docs" / "results.md"
    assert compare(*ONE, "seeds=[0]")[0] == 0 and not page.exists()
    for _ in range(2):
        assert compare(*ONE, "seeds=[0]", f"page={page}")[0] == 0
    text = page.read_text()
    pretence.failing = "."
    assert compare(*ONE, "seeds=[5]", f"page={page}")[0] == 1
    assert page.read_text() == text
    assert text.count("### Attention on synthetic") == 1 and "<!-- attention on synthetic: begin -->" in text
    assert str(tmp_path) not in text


def studies() -> list[tuple[str, str, Sequence[str]]]:
    from omegaconf import OmegaConf

    files = sorted((CONFIGS / "study").glob("*.yaml"))
    return [(p.stem, name, words) for p in files for name, words in OmegaConf.load(p).variants.items()]


@pytest.mark.parametrize(("study", "variant", "words"), studies())
def test_every_variant_makes_a_training(study: str, variant: str, words: Sequence[str]) -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        assert composed(["data=mirror_mouse", *words]).module is not None


def test_costs_are_those_of_trained_variants_by_their_own_overrides(run: Path, tmp_path: Path) -> None:
    from softpoint.cli.compare import costs_of, step_of
    from softpoint.inference import read_checkpoint
    from softpoint.studies.runs import Trial

    stored = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    stored["hyper_parameters"]["optimizer"] = stored["hyper_parameters"]["loss"] = {"_target_": "os.abort"}
    path = tmp_path / "checkpoints" / "best.ckpt"
    path.parent.mkdir()
    torch.save(stored, path)
    checkpoint, overrides = read_checkpoint(path), tuple(tiny())
    trials = [Trial(name, 0, None, overrides, tmp_path) for name in ("a", "b")]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        costs = costs_of([*trials, Trial("c", 0, None, (), run, failed="failed")], rounds=1, calls=1)
        cfg = composed(overrides)
    count = sum(p.numel() for p in checkpoint.net.parameters())
    assert costs["a"] == {"parameters": count, "inference": 1.0, "step": 1.0}
    assert list(costs) == ["a", "b"] and costs["b"]["step"] > 0
    assert costs_of([Trial("a", 0, None, (), run, failed="failed"), trials[1]], 1, 1) == {}
    before = [p.clone() for p in checkpoint.net.parameters()]
    step_of(checkpoint, cfg)(0)
    changed = [not torch.equal(a, b) for a, b in zip(before, checkpoint.net.parameters(), strict=True)]
    assert any(changed) and all(p.isfinite().all() for p in checkpoint.net.parameters())


def test_a_trial_is_evaluated_with_its_own_head(run: Path) -> None:
    from softpoint.studies.runs import Trial, evaluate_trial

    data = run.parent / "data"  # where the run had its labels, which other tests expect to be gone
    shutil.copytree(run.parent / "moved", data)
    shutil.copy(run.parent / "labels.csv", data)
    trials = [Trial("a", 0, None, (), run), Trial("b", 0, None, (), run, {"decode": "argmax"})]
    for trial in trials:
        assert not trial.measured
        evaluate_trial(trial)
        assert trial.measured and trial.metrics()["confidence_fraction"] == 0.05
    plain, argmax = (trial.results().keypoints for trial in trials)
    assert plain.shape == argmax.shape and not (plain == argmax).all()
    changed = torch.load(trials[1].evaluated_checkpoint, weights_only=True)
    assert changed["hyper_parameters"]["model"]["head"]["decode"] == "argmax" and "optimizer_states" not in changed
    kept = torch.load(trials[0].checkpoint, weights_only=True)
    assert kept["hyper_parameters"]["model"]["head"]["decode"] == "window"
    for folder in (data, *(trial.evaluation for trial in trials)):
        shutil.rmtree(folder)
