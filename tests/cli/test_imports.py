"""Commands begin without the libraries that they do not need yet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
METRICS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from softpoint.cli import imports

imports._defer_metrics()
import torchmetrics
from torchmetrics import MeanMetric
assert "torchmetrics.functional" not in sys.modules
{use}
assert type(torchmetrics) is type(sys) and torchmetrics.MeanMetric is MeanMetric
"""
# The files of a package that is imported as torchmetrics is, in less time.
PACKAGE = {
    "__init__.py": "import time; from torchmetrics import functional; time.sleep(0.1)\n"
    "from torchmetrics.aggregation import MeanMetric\nfrom torchmetrics.metric import Accuracy, Metric",
    "__about__.py": "__version__ = '1'",
    "functional.py": "from torchmetrics.metric import Metric",
    "metric.py": "class Metric: pass\nclass Accuracy(Metric): pass",
    "aggregation.py": "class MeanMetric: pass",
    "utilities.py": "",
}
USES = (
    "assert torchmetrics.__version__ == '1' and torchmetrics.__doc__ is None and torchmetrics.functional",
    "from torchmetrics import *; assert issubclass(Accuracy, Metric)",
    "assert 'Accuracy' in dir(torchmetrics)",
    "assert not hasattr(torchmetrics, 'NoMetric')",
    "read = lambda _: torchmetrics.Accuracy; assert len({*ThreadPoolExecutor(4).map(read, range(4))}) == 1",
)


def run(code: str, *words: str, **environment: str) -> None:
    command, variables = [sys.executable, "-c", code, *words], os.environ | environment
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_training_begins_without_libraries_of_its_end_and_of_other_commands(tmp_path: Path) -> None:
    run(TRAINING, "train", *NETWORK, "trainer.accelerator=cpu", f"hydra.run.dir={tmp_path / 'run'}")


def test_a_prediction_needs_no_library_of_training() -> None:
    run(PREDICTION)


@pytest.mark.parametrize("use", USES)
def test_torchmetrics_is_whole_for_code_of_others(use: str, tmp_path: Path) -> None:
    (tmp_path / "torchmetrics").mkdir()
    for name, text in PACKAGE.items():
        (tmp_path / "torchmetrics" / name).write_text(text)
    run(METRICS.format(use=use), PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]))
