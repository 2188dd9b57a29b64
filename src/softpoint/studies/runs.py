"""One training of a study: its overrides, its folder, its evaluation, and what they left there."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from softpoint.evaluation.results import Results
from softpoint.evaluation.subjects import SUBJECTS, SubjectResults, measure_subjects, read_subjects
from softpoint.metrics.calibration import FRACTION
from softpoint.paths import atomic_write, write_json

if TYPE_CHECKING:
    from softpoint.inference import Checkpoint


@dataclass(frozen=True)
class Trial:
    """A training and its evaluation.

    `overrides` are those of the train command and `folder` is that of the run. `head` changes settings of the trained
    head before it is evaluated, so that several trials may share one training. `size` is its place on a learning
    curve, such as (10, "images"), and `failed` the reason where it was carried out and failed.
    """

    variant: str
    seed: int
    fold: int | None
    overrides: tuple[str, ...]
    folder: Path
    head: Mapping[str, Any] = field(default_factory=dict)
    size: tuple[int, str] | None = None
    failed: str | None = None

    @property
    def name(self) -> str:
        """Variant, size, fold and seed, for messages and tables."""
        size = "" if self.size is None else f"{self.size[0]} {self.size[1]}"
        fold = "" if self.fold is None else f"fold {self.fold}"
        return ", ".join(part for part in (self.variant, size, fold, f"seed {self.seed}") if part)

    @property
    def checkpoint(self) -> Path:
        """The best weights of the training."""
        return self.folder / "checkpoints" / "best.ckpt"

    @property
    def evaluation(self) -> Path:
        """The folder of metrics.json and predictions.csv."""
        settings = " ".join(f"{key} {value}" for key, value in sorted(self.head.items()))
        return self.folder / (f"evaluation_{slug(settings)}" if settings else "evaluation")

    @property
    def evaluated_checkpoint(self) -> Path:
        """The weights with the head that is evaluated."""
        return self.evaluation / "model.ckpt" if self.head else self.checkpoint

    @property
    def begun(self) -> bool:
        """True where its folder holds what a training left: a checkpoint, or its evaluation."""
        return self.measured or any((self.folder / "checkpoints").glob("*.ckpt"))

    @property
    def trained(self) -> bool:
        """True where training came to its end: its model card is the last file that it writes."""
        return self.checkpoint.is_file() and (self.folder / "model_card.md").is_file()

    @property
    def measured(self) -> bool:
        """True where its evaluation is complete."""
        return all((self.evaluation / name).is_file() for name in ("metrics.json", "predictions.csv"))

    def minutes(self) -> float | None:
        """Return the duration of the training; None where it was not measured."""
        path = self.folder / "minutes.json"
        return float(json.loads(path.read_text(encoding="utf-8"))["minutes"]) if path.is_file() else None

    def metrics(self) -> dict[str, Any]:
        """Return its metrics.json."""
        metrics: dict[str, Any] = json.loads((self.evaluation / "metrics.json").read_text(encoding="utf-8"))
        return metrics

    def results(self) -> Results:
        """Return its predictions.csv."""
        return Results.read(self.evaluation / "predictions.csv")

    def found(self) -> SubjectResults | None:
        """Return its subjects.csv; None of a model that finds no subjects."""
        path = self.evaluation / SUBJECTS
        return read_subjects(path) if path.is_file() else None


@contextmanager
def timed(trial: Trial, resumed: bool) -> Iterator[None]:
    """Write minutes.json with the duration of the block, added to that of the part before where it was `resumed`."""
    before = (trial.minutes() or 0.0) if resumed else 0.0
    start = time.monotonic()
    try:
        yield
    finally:
        minutes = before + (time.monotonic() - start) / 60
        write_json(trial.folder / "minutes.json", {"minutes": minutes})


def evaluate_trial(trial: Trial, tested: Results | None = None, trust: Sequence[str] = ()) -> None:
    """Measure the best weights on the test split of their training, and write predictions.csv and metrics.json.

    `tested` is the outcome of the training's own test, which counts unless the trial changes the head. The network may
    have modules of the packages `trust`.
    """
    from softpoint.inference import read_checkpoint

    if trial.head:
        _write_with_head(trial)
    checkpoint = read_checkpoint(trial.evaluated_checkpoint, trust)
    tested = tested_model(checkpoint) if tested is None or trial.head else tested
    write_test(checkpoint, tested, trial.evaluation, tested_subjects(checkpoint))


def tested_model(checkpoint: Checkpoint, device: str | None = None, data: Mapping[str, Any] | None = None) -> Results:
    """Return the predictions of a model for the test split of its training; `data` are the overrides of `open_set`."""
    import torch

    from softpoint.evaluation.eval_data import open_set
    from softpoint.evaluation.predict import evaluation_predictor, predict

    eval_set = open_set(checkpoint, "test", data)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return predict(evaluation_predictor(checkpoint, eval_set, device=device), eval_set)


def tested_subjects(checkpoint: Checkpoint) -> SubjectResults | None:
    """Return what a model finds in the images of the test split of its training; None of one that finds no subjects."""
    import torch

    from softpoint.evaluation.eval_data import open_set
    from softpoint.evaluation.predict import evaluation_predictor
    from softpoint.evaluation.subjects.predict import find_in_set

    if checkpoint.finder is None:
        return None
    eval_set = open_set(checkpoint, "test")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return find_in_set(checkpoint, eval_set, evaluation_predictor(checkpoint, eval_set, device=device))


def write_test(
    checkpoint: Checkpoint, tested: Results, folder: Path, found: SubjectResults | None = None
) -> dict[str, Any]:
    """Write predictions.csv and metrics.json of a model's predictions for its test split; return the metrics.

    What it has `found` in whole images is measured and written, too.
    """
    from softpoint.evaluation import evaluate
    from softpoint.evaluation.eval_data import confidence_fraction
    from softpoint.evaluation.files import write_evaluation
    from softpoint.inference.regions import Regions

    fraction = confidence_fraction(checkpoint)
    about = {"checkpoint": checkpoint.path.name, "split": "test", "confidence_fraction": fraction}
    regions = Regions.of(checkpoint.net.calibration, checkpoint.skeleton.names)
    metrics = evaluate(tested, fraction=fraction, regions=regions, about=about)
    metrics |= {} if found is None else {"finding": measure_subjects(found)}
    write_evaluation(folder, tested, metrics, found)
    return metrics


def _write_with_head(trial: Trial) -> None:
    """Write a copy of the checkpoint whose head has the trial's settings, without what only training needs."""
    import torch

    stored = torch.load(trial.checkpoint, map_location="cpu", weights_only=True)
    for head in (stored["hyper_parameters"]["head"], stored["hyper_parameters"]["model"]["head"]):
        head.update(trial.head)
    for key in ("optimizer_states", "lr_schedulers", "current_model_state"):
        stored.pop(key, None)
    with atomic_write(trial.evaluated_checkpoint) as path:
        torch.save(stored, path)


def pooled(trials: Sequence[Trial]) -> Results:
    """Return the predictions of all folds of one seed; ValueError where two of them tested the same image."""
    tested: dict[str, Trial] = {}
    parts = [trial.results() for trial in trials]
    for trial, results in zip(trials, parts, strict=True):
        if image := next((image for image in results.images if image in tested), None):
            raise ValueError(
                f"{tested[image].name} and {trial.name} both tested {image}: the labels or their split changed between"
                f" the two; name another output=FOLDER, or remove {trial.folder.parent}"
            )
        tested |= dict.fromkeys(results.images, trial)
    return Results.concat(parts)


def pooled_subjects(trials: Sequence[Trial]) -> SubjectResults | None:
    """Return what the models of all folds of the first seed found; None where one of them finds no subjects."""
    parts = [trial.found() for trial in trials if trial.seed == trials[0].seed and not trial.failed]
    found = [part for part in parts if part is not None]
    return SubjectResults.concat(found) if found and len(found) == len(parts) else None


def fraction_of(trials: Sequence[Trial]) -> float:
    """Return the fraction of a subject's scale that their confidences are about; ValueError where they differ."""
    fractions = {trial.metrics().get("confidence_fraction", FRACTION): trial for trial in trials}
    if len(fractions) > 1:
        listed = ", ".join(f"{trial.name} {fraction:g}" for fraction, trial in fractions.items())
        raise ValueError(f"confidences of different callbacks.calibrate.fraction cannot be pooled: {listed}")
    return float(next(iter(fractions), FRACTION))


def slug(name: str) -> str:
    """Return a name for a folder.

    >>> slug("CBAM 7x7 + CE"), slug("...")
    ('cbam_7x7_ce', '_')
    """
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "_"


def values(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the overall values of a metrics.json by name."""
    return {name: entry["value"] for name, entry in metrics["overall"].items()}
