"""Parts of another package train through the real command line, and `trust=` lets commands build them again."""

from __future__ import annotations

import doctest
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from helpers.commands import Ending
from helpers.training import ROOT, tiny
from softpoint import load_predictor

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*", "ignore:.*many workers.*", "ignore:The dirpath has changed", "ignore:.*is not empty"
)

EXAMPLE = ROOT / "examples" / "own_modules"
MODULES = ("backbone", "attention", "head", "loss")
CHOICE = ("backbone=plain", "attention=rows", "head=deep", "loss=[focal_heatmap,visibility]")

Own = Callable[..., Ending]


@pytest.fixture
def own(start: Own, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Own]:
    """Run a command in an empty folder, with the example's folder for modules and configs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLE)
    yield lambda command, *words: start(command, "--config-dir", str(EXAMPLE), *words)
    for name in [name for name in sys.modules if name.partition(".")[0] == "mymodels"]:
        del sys.modules[name]


def test_own_parts_train_and_are_built_again_only_where_they_are_trusted(tmp_path: Path, own: Own) -> None:
    done = own("train", *tiny(*CHOICE, "attention.kernel=5", "head.hidden=16"), f"hydra.run.dir={tmp_path / 'run'}")
    parts = ",".join(f"mymodels.{module}" for module in sorted(MODULES[:3]))
    assert done.code == 0 and f"need 'trust=[{parts}]'" in done.out, done.out + done.err
    ckpt = tmp_path / "run/checkpoints/best.ckpt"
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "one.png"), np.zeros((64, 64, 3), np.uint8))
    for command in ("evaluate", "calibrate", "export", "predict"):
        refused = own(command, f"ckpt={ckpt}", *["source=images"] * (command == "predict"))
        assert refused.code == 1 and "add its package by trust=[PACKAGE]" in refused.err, refused.out + refused.err
    used = own("predict", f"ckpt={ckpt}", "source=images", "trust=mymodels")
    assert used.code == 0, used.out + used.err
    assert type(load_predictor(ckpt, trust=("mymodels",)).net.backbone).__name__ == "Plain"


@pytest.mark.slow
def test_a_study_trains_and_evaluates_a_head_of_another_package(tmp_path: Path, own: Own) -> None:
    heads = ("soft_argmax", "multi_scale", "simcc", "channel_softmax", "regression")
    words = [
        "study=heads",
        *(f"~study.variants.{name}" for name in heads),
        '+study.variants.a=["head=deep"]',
        "seeds=[0]",
        "output=out",
    ]
    done = own("compare", *words, "timing.rounds=1", "timing.calls=1", *tiny())
    assert done.code == 0, done.out + done.err
    (report,) = (tmp_path / "out").glob("*.json")
    assert "step" in report.read_text(encoding="utf-8")


def test_a_term_that_a_head_of_another_package_cannot_train_is_refused(own: Own) -> None:
    done = own("train", *tiny("head=deep", "loss=axis_ce"))
    assert done.code == 1
    assert "head=deep provides heatmap logits, and axis_ce needs axis distributions" in done.err


@pytest.mark.parametrize("name", MODULES)
def test_a_part_is_one_module_with_doctests_and_one_yaml(name: str, own: Own) -> None:
    module = importlib.import_module(f"mymodels.{name}")
    results = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert results.attempted and not results.failed
    (file,) = (EXAMPLE / name).glob("*.yaml")
    assert f"`{name}/{file.name}`" in (module.__doc__ or "")
    usage = importlib.import_module("mymodels").__doc__ or ""
    assert file.stem in usage and (ROOT / "docs/guides/extending.md").read_text(encoding="utf-8").count(file.stem)
