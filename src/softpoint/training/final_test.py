"""The final test of a training: every subject predicted once, measured as `evaluate` measures it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning.callbacks import Callback

from softpoint.data.geometry import transform
from softpoint.data.scenes import SceneRows
from softpoint.data.sources import Record
from softpoint.evaluation.bootstrap import draw_counts, find_units, interval, mean_draws
from softpoint.evaluation.console import finding_tables
from softpoint.evaluation.eval_sets import EvaluationSet, split_set
from softpoint.evaluation.intervals import DRAWS
from softpoint.evaluation.predict import check_finite, join_labels
from softpoint.evaluation.results import Results
from softpoint.evaluation.subjects import SubjectResults, measure_subjects
from softpoint.evaluation.subjects.predict import LEAST_SCORE, find_subjects
from softpoint.evaluation.summary import evaluate
from softpoint.inference.batch.stream import predict_subjects
from softpoint.inference.regions import Regions
from softpoint.labels.csv_io import exact, write_rows
from softpoint.labels.partition import evenly_spaced
from softpoint.metrics.columns import COLUMNS
from softpoint.progress import track
from softpoint.tables import NumberTable, console
from softpoint.training.calibrate import confidence_fraction
from softpoint.training.finder_fit import subject_predictor
from softpoint.training.processes import gather_objects, on_first_process

# Numbers of all resamples together that are computed in about a second.
_WORK = 20_000_000
_EPE = COLUMNS["epe"]
# Largest number of whole images in which a test finds subjects.
SEARCHED = 1000
# A point of a lower confidence is more likely missed than hit.
DOUBT = 0.5


class FinalTest(Callback):
    """Measures the predictions of `KeypointModule.test_step`, prints the error of each keypoint and writes test.csv.

    Each process predicts its share; all shares are joined, so that every subject counts once. `results` and `metrics`
    hold the outcome on the first process, `mean_position_epe` the error of a constant answer, and `gain` the ends of
    the 95 % interval of how much larger that is, where there are enough images for one. For a network that diverged
    `metrics` is empty, and `failure` is the reason. `tested` is the place of each subject in the test split. Of a
    network with a finder, `found` is what it finds by itself in the test images that are at `searched`.
    """

    def __init__(self) -> None:
        self.results: Results | None = None
        self.found: SubjectResults | None = None
        self.searched: Sequence[int] = ()
        self.tested: list[int] = []
        self.metrics: dict[str, Any] = {}
        self.mean_position_epe: float | None = None
        self.gain: list[float] | None = None
        self.failure = ""
        self._rows: dict[int, tuple[Record, np.ndarray, dict[str, np.ndarray]]] = {}

    @classmethod
    def of(cls, trainer: Any) -> FinalTest:
        """Return the one among the callbacks of a trainer; an empty one where it was dropped."""
        return next((callback for callback in trainer.callbacks if isinstance(callback, cls)), cls())

    def on_test_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.results, self.metrics, self.failure, self._rows = None, {}, "", {}

    def on_test_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        matrices = batch["matrix"].double().cpu().numpy()
        for i, index in enumerate(batch["index"].tolist()):  # one that only fills up a share comes again
            prediction = {name: values[i] for name, values in outputs.items()}
            self._rows[index] = (batch["record"][i], matrices[i], prediction)

    def on_test_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        rows = {index: row for share in gather_objects(trainer, self._rows) for index, row in share.items()}
        overall = on_first_process(trainer, lambda: self._measure(trainer, pl_module, dict(sorted(rows.items()))))
        for name, entry in overall.items():
            pl_module.log(f"test/{name}", entry["value"], sync_dist=True)
        self._rows = {}

    def _measure(self, trainer: Any, pl_module: Any, rows: dict[int, Any]) -> dict[str, Any]:
        """Set `results` and `metrics`, print and write the table, and return the metrics of all keypoints together."""
        records, matrices, predictions = zip(*rows.values(), strict=True)
        eval_set, self.tested = split_set(trainer.datamodule, "test"), list(rows)
        boxes, areas = (None if a is None else a[self.tested] for a in (eval_set.boxes, eval_set.areas))
        eval_set = replace(eval_set, images=[eval_set.images[i] for i in self.tested], boxes=boxes, areas=areas)
        stacked = {name: np.stack([prediction[name] for prediction in predictions]) for name in predictions[0]}
        self.results = join_labels(eval_set, records, stacked, pl_module.skeleton, pl_module.skeleton.names)
        try:
            check_finite(self.results)
        except ValueError as fault:
            self.failure = str(fault)
            return {}
        fraction = confidence_fraction(trainer)
        draws = max(200, min(DRAWS, _WORK // max(1, int(self.results.labeled.sum()))))
        regions = Regions.of(pl_module.net.calibration, pl_module.skeleton.names)
        self.metrics = evaluate(self.results, fraction=fraction, draws=draws, regions=regions)
        print(*self.metrics["notes"], sep="\n")
        mean_position = trainer.datamodule.mean_position()
        constant = replace(self.results, keypoints=np.stack([transform(mean_position, m) for m in matrices]))
        columns = [(*array.T, array) for array in (self.results.labeled, self.results.errors, constant.errors)]
        table = [
            (name, int(labeled.sum()), _EPE.summarize(errors), _EPE.summarize(guesses))
            for name, labeled, errors, guesses in zip((*pl_module.skeleton.names, "all"), *columns, strict=True)
        ]
        console().print(_table(table))
        if pl_module.net.finder is not None and eval_set.scenes is not None:
            self.searched = evenly_spaced(len(eval_set.scenes), SEARCHED)
            self.found = find_in_test(trainer.datamodule, pl_module, eval_set, self.searched)
            self.metrics["finding"] = measure_subjects(self.found, draws=draws)
            console().print(finding_tables(self.metrics["finding"]))
        self.mean_position_epe = table[-1][-1]
        self.gain = _gain(self.results, constant.errors, draws)
        cells = [[name, str(n), *("" if e is None else exact(e) for e in errors)] for name, n, *errors in table]
        header = ["keypoint", "points", "epe", "mean_position_epe"]
        write_rows(Path(trainer.default_root_dir) / "test.csv", [header, *cells])
        overall: dict[str, Any] = self.metrics["overall"]
        return overall

    def facts(self) -> dict[str, Any]:
        """The outcome for the run's record: plain values, {} where nothing was measured."""
        if not self.metrics or self.results is None:
            return {}
        constant = {"mean_position_epe": self.mean_position_epe, "mean_position_gain": self.gain}
        return facts_of_test(self.metrics, self.results) | constant


def find_in_test(data: Any, module: Any, eval_set: EvaluationSet, places: Sequence[int]) -> SubjectResults:
    """Return what a network finds in the whole images of a set that are at these places."""
    assert eval_set.scenes is not None
    subjects = subject_predictor(module, data, LEAST_SCORE)
    return find_subjects(
        partial(predict_subjects, subjects.predictor, subjects.finder, batch_size=data.batch_size),
        module.skeleton,
        SceneRows(eval_set.scenes, places),
        [eval_set.scene_images[i] for i in places],
        has_groups=eval_set.has_groups,
        progress=partial(track, description="finding subjects", total=len(places)),
    )


def facts_of_test(metrics: Mapping[str, Any], results: Results) -> dict[str, Any]:
    """Return the outcome of a test as the record of a model keeps it.

    `metrics` {name: value}, `intervals` {name: [low, high]} and what they resample, and `per_keypoint`
    {name: {points, metrics of parts, doubtful}}; `doubtful` is the fraction of labeled points whose confidence is
    below `DOUBT`.
    """
    overall, resampled = metrics["overall"], metrics["resampled"]
    brief = [name for name, column in COLUMNS.items() if column.brief]
    keypoints = {
        name: {key: entry[key] for key in ("points", *brief) if key in entry}
        for name, entry in metrics["keypoints"].items()
    }
    doubt, labeled = results.confidence < DOUBT, results.labeled
    for k, entry in enumerate(keypoints.values()):
        if labeled[:, k].any():
            entry["doubtful"] = float(doubt[labeled[:, k], k].mean())
    return {
        "test_set": {key: metrics[key] for key in ("images", "subjects", "points")},
        "metrics": {name: entry["value"] for name, entry in overall.items()},
        "intervals": {name: [entry["low"], entry["high"]] for name, entry in overall.items() if "low" in entry},
        "resampled": f"{resampled['units']} {resampled['unit']}",
        "per_keypoint": keypoints,
        **({"doubtful": float(doubt[labeled].mean())} if labeled.any() else {}),
        **({"finding": _facts_of_finding(metrics["finding"])} if "finding" in metrics else {}),
    }


def _facts_of_finding(finding: Mapping[str, Any]) -> dict[str, Any]:
    """Return the counts, and the values of the main numbers about found subjects."""
    entries = {**finding["average_precision"], **finding["oks"]["overall"]}
    values = {name: entry["value"] for name, entry in entries.items()}
    kept = ("oks_ap", "precision", "recall", "false_per_image", "epe")
    counts = {name: finding[name] for name in ("images", "subjects", "threshold")}
    return {**counts, **{name: values[name] for name in kept if name in values}}


def _gain(results: Results, guesses: np.ndarray, draws: int) -> list[float] | None:
    """Return the 95 % interval of the mean of `guesses` (N, K) less the errors, both of the same resampled images."""
    unit, _ = find_units(results.images, results.groups, results.has_groups)
    units = int(unit.max()) + 1
    ends = interval(mean_draws(guesses - results.errors, unit, draw_counts(units, draws, seed=0)), units)
    return None if ends is None else list(ends)


def _table(rows: Sequence[tuple[str, int, float | None, float | None]]) -> NumberTable:
    """Table of name, points, error and error of the mean position; of each keypoint, and then of all together."""
    headings = ["points", "epe", "mean position", "mean position / epe"]
    table = NumberTable("keypoint", headings, "test error in original pixels (mean Euclidean distance)")
    for name, count, error, guess in rows:
        if name == "all":
            table.add_section()
        if error is None or guess is None:
            table.add_row(name, str(count), "never labeled", "-", "-")
        else:
            table.add_row(name, str(count), _EPE.text(error), f"{guess:.1f}", f"{guess / error:.1f}" if error else "-")
    return table
