"""A metric is one function and one row: with them it reaches every output."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from helpers.results import example_results
from helpers.training import composed, tiny
from softpoint.evaluation import evaluate
from softpoint.evaluation.console import metrics_tables
from softpoint.metrics import COLUMNS, Column, Points
from softpoint.metrics.functional import errors

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*many workers.*")


def squared_errors(points: Points) -> np.ndarray:
    return errors(points) ** 2


@pytest.fixture
def squared(monkeypatch: pytest.MonkeyPatch) -> Column:
    """The row of a new metric."""
    column = Column("mse", "px^2", True, "mean squared error", ".1f", squared_errors, brief=True)
    monkeypatch.setitem(COLUMNS, "mse", column)
    return column


def test_a_new_row_is_in_metrics_json_and_on_the_console(squared: Column) -> None:
    results = example_results()
    metrics = evaluate(results, draws=50)
    value = float(np.nanmean(results.errors**2))
    entry = metrics["overall"]["mse"]
    assert entry["value"] == pytest.approx(value) and entry["low"] < value < entry["high"]
    assert metrics["definitions"]["mse"] == "mean squared error in px^2 of the original images"
    nose = float(np.nanmean(results.errors[:, 0] ** 2))
    assert metrics["keypoints"]["nose"]["mse"] == pytest.approx(nose)
    console = Console(file=io.StringIO(), width=200)
    console.print(metrics_tables(metrics))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"{value:.1f}" in printed and f"{nose:.1f}" in printed and printed.count("mse (px^2)") == 4


def test_a_new_row_is_among_the_scalars_of_tensorboard(squared: Column, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from softpoint.cli.train import main

    main(composed("train", tiny(), tmp_path))
    scalars: set[str] = set()
    for path in (tmp_path / "tensorboard").glob("events*"):
        events = EventAccumulator(str(path))
        events.Reload()
        scalars |= set(events.Tags()["scalars"])
    logged = {f"val/{name}" for name, column in COLUMNS.items() if column.logged}
    assert {"val/mse", "test/mse", "test/median", "test/ece"} | logged <= scalars


def test_every_row_is_complete() -> None:
    for name, column in COLUMNS.items():
        assert column.name == name and column.description and format(1.0, column.format)
        proper = column.description.startswith(("COCO", "Spearman"))
        assert column.unit in ("px", "mm", "") and (proper or not column.description[0].isupper())


def test_better_is_lower_higher_or_nearer() -> None:
    values = np.array([0.2, 0.8])
    assert COLUMNS["epe"].loss(values).argmin() == 0 and COLUMNS["auc"].loss(values).argmin() == 1
    assert COLUMNS["coverage_90"].loss(values).argmin() == 1 and COLUMNS["coverage_50"].loss(values)[0] == 0.3
