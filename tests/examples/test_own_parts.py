"""A loss and a head of another package train through the real command line, by two files each."""

from __future__ import annotations

import doctest
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from helpers.commands import Ending
from helpers.training import ROOT, tiny

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*", "ignore:.*many workers.*", "ignore:The dirpath has changed", "ignore:.*is not empty"
)

EXAMPLES = ROOT / "examples"
PARTS = {
    "own_loss": ("focal_heatmap.py", "loss=[focal_heatmap,visibility]", "loss.focal_heatmap.loss.gamma=1.5"),
    "own_head": ("deep_head.py", "head=deep", "head.hidden=16"),
}

HEADS = ("soft_argmax", "simcc", "channel_softmax", "regression")


Own = Callable[..., Ending]


@pytest.fixture
def own(start: Callable[..., Ending], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Own:
    """Run a command in an empty folder, with an example's folder for modules and configs."""
    monkeypatch.chdir(tmp_path)
    for name, *_ in PARTS.values():
        monkeypatch.setitem(sys.modules, Path(name).stem, None)  # forgets it afterwards
        del sys.modules[Path(name).stem]

    def run(command: str, example: str, *words: str) -> Ending:
        monkeypatch.syspath_prepend(EXAMPLES / example)
        return start(command, "--config-dir", str(EXAMPLES / example), *words)

    return run


@pytest.mark.parametrize("example", PARTS)
def test_a_part_of_another_package_trains_a_step(example: str, own: Own) -> None:
    _, choice, setting = PARTS[example]
    done = own("train", example, *tiny(choice, setting, "trainer.fast_dev_run=true", "data.batch_size=2"))
    assert done.code == 0, done.out + done.err


@pytest.mark.slow
def test_a_head_of_another_package_is_tested_and_predicts_after_training(tmp_path: Path, own: Own) -> None:
    """The training in a process of its own, as a user starts it."""
    folder = EXAMPLES / "own_head"
    path = os.pathsep.join([str(folder), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    line = [sys.executable, "-m", "softpoint.cli", "train", "--config-dir", str(folder), *tiny("head=deep")]
    line.append(f"hydra.run.dir={tmp_path / 'run'}")
    trained = subprocess.run(line, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    assert trained.returncode == 0, trained.stdout + trained.stderr
    assert "model card" in trained.stdout and "trust=[deep_head]" in trained.stdout, trained.stdout
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "one.png"), np.zeros((64, 64, 3), np.uint8))
    words = [f"ckpt={tmp_path / 'run/checkpoints/best.ckpt'}", f"source={tmp_path / 'images'}"]
    refused = own("predict", "own_head", *words)
    assert refused.code == 1 and "add its package by trust=[PACKAGE]" in refused.err
    done = own("predict", "own_head", *words, "trust=[deep_head]")
    assert done.code == 0, done.out + done.err


@pytest.mark.slow
def test_a_study_trains_and_evaluates_a_head_of_another_package(tmp_path: Path, own: Own) -> None:
    variants = [f'+study.variants.{name}=["head=deep","head.hidden={size}"]' for name, size in (("a", 8), ("b", 16))]
    words = ["study=heads", *(f"~study.variants.{name}" for name in HEADS), *variants, "seeds=[0]", "output=out"]
    done = own("compare", "own_head", *words, "timing.rounds=1", "timing.calls=1", *tiny())
    assert done.code == 0, done.out + done.err
    (report,) = (tmp_path / "out").glob("*.json")
    assert "step" in report.read_text(encoding="utf-8")


def test_a_term_that_a_head_of_another_package_cannot_train_is_refused(own: Own) -> None:
    done = own("train", "own_head", *tiny("head=deep", "loss=axis_ce"))
    assert done.code == 1
    assert "head=deep provides heatmap logits, and axis_ce needs axis distributions" in done.err


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
