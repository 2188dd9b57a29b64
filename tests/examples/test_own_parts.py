"""A loss and a head of another package train through the real command line, by two files each."""

from __future__ import annotations

import doctest
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from helpers.training import ROOT, tiny

EXAMPLES = ROOT / "examples"
PARTS = {
    "own_loss": ("focal_heatmap.py", "loss=[focal_heatmap,visibility]", "loss.focal_heatmap.loss.gamma=1.5"),
    "own_head": ("deep_head.py", "head=deep", "head.hidden=16"),
}

HEADS = ("soft_argmax", "simcc", "channel_softmax", "regression")


def softpoint(folder: Path, example: str, *words: str, command: str = "train") -> subprocess.CompletedProcess[str]:
    """`softpoint COMMAND` in `folder`, with the example's folder for modules and configs."""
    path = os.pathsep.join([str(EXAMPLES / example), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    line = [sys.executable, "-m", "softpoint.cli", command, "--config-dir", str(EXAMPLES / example), *words]
    return subprocess.run(line, cwd=folder, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)


@pytest.mark.parametrize("example", PARTS)
def test_a_part_of_another_package_trains_a_step(example: str, tmp_path: Path) -> None:
    _, choice, setting = PARTS[example]
    done = softpoint(tmp_path, example, *tiny(choice, setting, "trainer.fast_dev_run=true", "data.batch_size=2"))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_head_of_another_package_is_tested_and_predicts_after_training(tmp_path: Path) -> None:
    run = f"hydra.run.dir={tmp_path / 'run'}"
    done = softpoint(tmp_path, "own_head", *tiny("head=deep", run))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "model card" in done.stdout and "trust=[deep_head]" in done.stdout, done.stdout
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "one.png"), np.zeros((64, 64, 3), np.uint8))
    words = [f"ckpt={tmp_path / 'run/checkpoints/best.ckpt'}", f"source={tmp_path / 'images'}"]
    refused = softpoint(tmp_path, "own_head", *words, command="predict")
    assert refused.returncode == 1 and "add its package by trust=[PACKAGE]" in refused.stderr
    done = softpoint(tmp_path, "own_head", *words, "trust=[deep_head]", command="predict")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_study_trains_and_evaluates_a_head_of_another_package(tmp_path: Path) -> None:
    variants = [f'+study.variants.{name}=["head=deep","head.hidden={size}"]' for name, size in (("a", 8), ("b", 16))]
    words = ["study=heads", *(f"~study.variants.{name}" for name in HEADS), *variants, "seeds=[0]", "output=out"]
    done = softpoint(tmp_path, "own_head", *words, "timing.rounds=1", "timing.calls=1", *tiny(), command="compare")
    assert done.returncode == 0, done.stdout + done.stderr
    (report,) = (tmp_path / "out").glob("*.json")
    assert "step" in report.read_text(encoding="utf-8")


def test_a_term_that_a_head_of_another_package_cannot_train_is_refused(tmp_path: Path) -> None:
    done = softpoint(tmp_path, "own_head", *tiny("head=deep", "loss=axis_ce"))
    assert done.returncode == 1
    assert "head=deep provides heatmap logits, and axis_ce needs axis distributions" in done.stderr


@pytest.mark.parametrize("example", PARTS)
def test_an_example_is_one_module_with_doctests_and_one_yaml(example: str) -> None:
    name, choice, _ = PARTS[example]
    spec = importlib.util.spec_from_file_location(example, EXAMPLES / example / name)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    results = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert results.attempted and not results.failed
    files = {path.relative_to(EXAMPLES / example).as_posix() for path in (EXAMPLES / example).rglob("*.*ml")}
    assert len(files) == 1 and f"--config-dir examples/{example} " in " ".join((module.__doc__ or "").split())
    assert choice in (module.__doc__ or "")
