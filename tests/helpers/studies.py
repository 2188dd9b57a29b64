"""Studies without training: results drawn from known errors, and stand-ins for training and evaluation."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from softpoint.evaluation import Results, evaluate
from softpoint.labels.skeleton import Skeleton
from softpoint.studies.runs import Trial

IMAGES = [f"video{i % 6}/{i:02d}.png" for i in range(12)]


def results_of(images: Sequence[str], error: float, seed: int = 0) -> Results:
    """Predictions of two keypoints on images, off by about `error` pixels; the second is unlabeled in the first."""
    rng = np.random.default_rng([seed, len(images)])
    truth = np.array([[[10.0 + len(image), 20.0], [30.0, 40.0 + i]] for i, image in enumerate(images)])
    predicted = truth + rng.normal(0, error, truth.shape)
    truth[0, 1] = np.nan
    count = len(images)
    return Results(
        images=list(images),
        groups=[image.split("/")[0] for image in images],
        keypoints=predicted,
        truth=truth,
        visibility=np.where(np.isfinite(truth[..., 0]), 2, 0),
        confidence=rng.uniform(size=(count, 2)),
        covariance=np.tile(np.eye(2) * error**2, (count, 2, 1, 1)),
        scale=np.full(count, 50.0),
        boxes=None,
        size=np.tile([64, 96], (count, 1)),
        skeleton=Skeleton(("nose", "tail")),
    )


def measured(trial: Trial, results: Results, minutes: float = 1.5) -> Trial:
    """The trial as if it had been trained and evaluated with these results."""
    write_evaluation(trial.evaluation, results)
    (trial.folder / "minutes.json").write_text(json.dumps({"minutes": minutes}))
    return trial


def write_evaluation(folder: Path, results: Results) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    results.write(folder / "predictions.csv")
    (folder / "metrics.json").write_text(json.dumps(evaluate(results, draws=50)))


class Pretence:
    """Replacement of training and evaluation that records each and writes its files.

    A training whose overrides match `failing` ends in an error; one that matches `interrupted` is stopped halfway.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trained: list[Path] = []  # folders in the order of training
        self.overrides: list[list[str]] = []  # of the same trainings
        self.evaluated: list[Path] = []
        self.failing, self.interrupted, self.signal = "$^", "$^", signal.SIGTERM
        self.figures: list[Path] = []  # without their suffix; they are drawn in tests/studies
        self.pages: list[Path] = []  # which are made in test_study_report.py
        monkeypatch.setattr("softpoint.studies.reports.write_figure", lambda path, _: self.figures.append(path))
        monkeypatch.setattr("softpoint.cli.study_report.write_report", lambda path, _: self.pages.append(path))
        monkeypatch.setattr("softpoint.cli.train.train", self.train)
        monkeypatch.setattr("softpoint.studies.runs.evaluate_trial", self.evaluate)

    def train(self, cfg: DictConfig) -> tuple[float, None]:
        folder, overrides = Path(HydraConfig.get().runtime.output_dir), list(HydraConfig.get().overrides.task)
        self.trained.append(folder)
        self.overrides.append(overrides)
        if re.search(self.failing, " ".join(overrides)):
            raise ValueError("the learning rate is too high")
        (folder / "checkpoints").mkdir(exist_ok=True)
        (folder / "checkpoints" / "last.ckpt").touch()
        if re.search(self.interrupted, " ".join(overrides)):
            signal.raise_signal(self.signal)
        head = {"head": OmegaConf.to_container(cfg.head)}
        stored = {"hyper_parameters": {**head, "model": head}, "optimizer_states": [1.0]}
        torch.save(stored, folder / "checkpoints" / "best.ckpt")
        (folder / "model_card.md").touch()
        return 1.0, None

    def evaluate(self, trial: Trial, tested: Results | None, trust: Sequence[str]) -> None:
        """Each fold tests its share of the images; a narrow network errs twice as much, argmax more."""
        overrides = " ".join(trial.overrides)
        fold = re.search(r"data\.fold=(\d+) data\.folds=(\d+)", overrides)
        images = IMAGES[int(fold[1]) :: int(fold[2])] if fold else IMAGES
        error = (4.0 if "channels=4" in overrides else 2.0) * (1.5 if trial.head.get("decode") == "argmax" else 1.0)
        write_evaluation(trial.evaluation, results_of(images, error, trial.seed))
        self.evaluated.append(trial.evaluation)

    def clear(self) -> None:
        self.trained, self.overrides, self.evaluated = [], [], []


def last_parts(folders: Sequence[Path], count: int = 2) -> list[str]:
    """The last parts of paths."""
    return ["/".join(folder.parts[-count:]) for folder in folders]
