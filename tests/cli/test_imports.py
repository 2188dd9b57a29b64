"""Commands begin without the libraries that they do not need yet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from helpers.training import NETWORK, ROOT

LARGE = (
    *("torchvision", "torchmetrics.functional", "scipy.stats", "scipy.signal", "scipy.optimize", "pandas", "timm"),
    *("albumentations", "onnx", "onnxruntime", "fastapi", "gradio", "mlflow", "wandb", "optuna", "sleap_io"),
)
TRAINING = f"""
import sys
from softpoint.cli import imports, main

class Begun(BaseException):
    pass

def fit(*_, **__):
    raise Begun

imports.import_quickly(["pytorch_lightning"])
sys.modules["pytorch_lightning"].Trainer.fit = fit
try:
    main()
    raise AssertionError("no training began")
except Begun:
    assert not (needless := {{*sys.modules}} & {{*{LARGE}}}), needless
from torchmetrics import Accuracy, Metric, functional
assert issubclass(type(Accuracy(task="binary")), Metric) and functional.accuracy
"""
PREDICTION = f"""
import sys
from softpoint.cli import imports, predict

imports.import_quickly(predict.LIBRARIES)
assert not (needless := {{*sys.modules}} & {{*{LARGE}, "pytorch_lightning", "matplotlib", "torch._dynamo"}}), needless
"""


def run(code: str, *words: str) -> None:
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_training_begins_without_libraries_of_its_end_and_of_other_commands(tmp_path: Path) -> None:
    run(TRAINING, "train", *NETWORK, "trainer.accelerator=cpu", f"hydra.run.dir={tmp_path / 'run'}")


def test_a_prediction_needs_no_library_of_training() -> None:
    run(PREDICTION)
