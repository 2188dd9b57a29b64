"""Studies without training: results drawn from known errors, and scripts that pretend to train and evaluate."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from hydra import compose
from omegaconf import DictConfig, OmegaConf

from softpoint.evaluation import Results, evaluate
from softpoint.labels.skeleton import Skeleton
from softpoint.studies.runs import Outcome, Trial

IMAGES = [f"video{i % 6}/{i:02d}.png" for i in range(12)]


def results_of(images: Sequence[str], error: float, seed: int = 0) -> Results:
    """Predictions of two keypoints on images, off by about `error` pixels; the second is unlabeled in the first."""
    rng = np.random.default_rng([seed, len(images)])
    truth = np.array([[[10.0 + len(image), 20.0], [30.0, 40.0 + i]] for i, image in enumerate(images)])
    found = truth + rng.normal(0, error, truth.shape)
    truth[0, 1] = np.nan
    count = len(images)
    return Results(
        images=list(images),
        groups=[image.split("/")[0] for image in images],
        keypoints=found,
        truth=truth,
        visibility=np.where(np.isfinite(truth[..., 0]), 2, 0),
        confidence=rng.uniform(size=(count, 2)),
        covariance=np.tile(np.eye(2) * error**2, (count, 2, 1, 1)),
        scale=np.full(count, 50.0),
        boxes=None,
        size=np.tile([64, 96], (count, 1)),
        skeleton=Skeleton(("nose", "tail")),
    )


def measured(trial: Trial, results: Results, minutes: float = 1.5) -> Outcome:
    """The trial as if it had been trained and evaluated with these results."""
    write_evaluation(trial.evaluation, results)
    (trial.folder / "minutes.json").write_text(json.dumps({"minutes": minutes}))
    return Outcome(trial)


def write_evaluation(folder: Path, results: Results) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    results.write(folder / "predictions.csv")
    (folder / "metrics.json").write_text(json.dumps(evaluate(results, draws=50)))


@cache
def composed(words: tuple[str, ...]) -> DictConfig:
    """What train.py would run; composed once, because many tests train alike."""
    return compose("train", overrides=list(words))


class Pretence:
    """Stands for `trainings.run`: remembers every command and leaves behind what it would.

    A training whose words match `failing` ends in an error; one that matches `interrupted` is stopped in the middle.
    """

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.failing, self.interrupted = "$^", "$^"
        self.largest: list[Sequence[str]] = []

    def __call__(self, command: Sequence[str]) -> str | None:
        script, words = command[3], list(command[4:])
        self.commands.append([script, *words])
        told = {key: value.strip("'") for key, _, value in (word.partition("=") for word in words)}
        return self.train(words, told) if script == "train" else self.evaluate(told)

    def train(self, words: list[str], told: dict[str, str]) -> str | None:
        if re.search(self.failing, " ".join(words)):
            return "the learning rate is too high"
        folder = Path(told["hydra.run.dir"])
        for part in (".hydra", "checkpoints"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        config = composed(tuple(word for word in words if not word.startswith(("hydra.", "ckpt_path="))))
        OmegaConf.save(config, folder / ".hydra" / "config.yaml")
        (folder / "checkpoints" / "last.ckpt").write_text("")
        if re.search(self.interrupted, " ".join(words)):
            raise KeyboardInterrupt
        head = {"head": OmegaConf.to_container(config.head)}
        stored = {"hyper_parameters": {**head, "model": head}, "words": " ".join(words), "optimizer_states": [1.0]}
        torch.save(stored, folder / "checkpoints" / "best.ckpt")
        (folder / "test.csv").write_text("")
        return None

    def evaluate(self, told: dict[str, str]) -> str | None:
        """Each fold tests its share of the images; a narrow network errs twice as much, argmax more."""
        stored = torch.load(told["ckpt"], weights_only=True)
        words, head = stored["words"], stored["hyper_parameters"]["model"]["head"]
        seed = int(re.search(r"(?:^| )seed=(\d+)", words)[1])  # type: ignore[index]
        fold = re.search(r"data\.fold=(\d+) data\.folds=(\d+)", words)
        images = IMAGES[int(fold[1]) :: int(fold[2])] if fold else IMAGES
        error = (4.0 if "channels=4" in words else 2.0) * (1.5 if head["decode"] == "argmax" else 1.0)
        write_evaluation(Path(told["output"]), results_of(images, error, seed))
        return None

    def names(self, script: str) -> list[str]:
        """What was started, by the folder it wrote to."""
        key = "hydra.run.dir" if script == "train" else "output"
        folders = [
            next(Path(word.partition("=")[2].strip("'")) for word in words if word.startswith(f"{key}="))
            for name, *words in self.commands
            if name == script
        ]
        return ["/".join(folder.parts[-2:]) for folder in folders]
