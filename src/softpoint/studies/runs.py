"""One training among several: its words, its folder, and what was measured of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from softpoint.evaluation.results import Results
from softpoint.metrics.calibration import FRACTION


@dataclass(frozen=True)
class Trial:
    """A training of scripts/train.py and its evaluation.

    `words` are its overrides and `folder` is where it writes. `head` changes settings of the trained head before it
    is evaluated, so that several trials may share one training.
    """

    variant: str
    seed: int
    fold: int | None
    words: tuple[str, ...]
    folder: Path
    head: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What people call it."""
        fold = "" if self.fold is None else f"fold {self.fold}, "
        return f"{self.variant}, {fold}seed {self.seed}".removeprefix(", ")

    @property
    def checkpoint(self) -> Path:
        """The best weights of the training."""
        return self.folder / "checkpoints" / "best.ckpt"

    @property
    def evaluation(self) -> Path:
        """Where its metrics.json and predictions.csv are."""
        settings = " ".join(f"{key} {value}" for key, value in sorted(self.head.items()))
        return self.folder / (f"evaluation_{slug(settings)}" if settings else "evaluation")

    @property
    def trained(self) -> bool:
        """Whether training came to its end."""
        return self.checkpoint.is_file() and (self.folder / "test.csv").is_file()

    @property
    def measured(self) -> bool:
        """Whether its evaluation is complete."""
        return all((self.evaluation / name).is_file() for name in ("metrics.json", "predictions.csv"))

    def minutes(self) -> float | None:
        """What training took, from start to end; None where nobody looked at the clock."""
        path = self.folder / "minutes.json"
        return json.loads(path.read_text(encoding="utf-8"))["minutes"] if path.is_file() else None

    def metrics(self) -> dict[str, Any]:
        """Its metrics.json."""
        return json.loads((self.evaluation / "metrics.json").read_text(encoding="utf-8"))

    def results(self) -> Results:
        """Its predictions.csv."""
        return Results.read(self.evaluation / "predictions.csv")


@dataclass(frozen=True)
class Outcome:
    """A trial that was carried out; `failed` says why where it was not."""

    trial: Trial
    failed: str | None = None


def pooled(trials: Sequence[Trial]) -> Results:
    """The predictions of all folds of one seed; ValueError where two of them tested the same image."""
    parts, tested = [trial.results() for trial in trials], {}  # type: ignore[var-annotated]
    for trial, results in zip(trials, parts, strict=True):
        if image := next((image for image in results.images if image in tested), None):
            raise ValueError(
                f"{tested[image].name} and {trial.name} both tested {image}: the labels or their split changed between"
                f" the two; name another output=FOLDER, or remove {trial.folder.parent}"
            )
        tested |= dict.fromkeys(results.images, trial)
    return Results.concat(parts)


def fraction_of(trials: Sequence[Trial]) -> float:
    """The fraction of a subject's scale that their confidences are about; ValueError where they differ."""
    found = {trial.metrics().get("confidence_fraction", FRACTION): trial for trial in trials}
    if len(found) > 1:
        told = ", ".join(f"{trial.name} {fraction:g}" for fraction, trial in found.items())
        raise ValueError(f"confidences of different callbacks.calibrate.fraction cannot be pooled: {told}")
    return next(iter(found), FRACTION)


def slug(name: str) -> str:
    """A name as a folder.

    >>> slug("CBAM 7x7 + CE")
    'cbam_7x7_ce'
    """
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "_"


def values(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The overall values of a metrics.json by name."""
    return {name: entry["value"] for name, entry in metrics["overall"].items()}
