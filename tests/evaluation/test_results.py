"""Results survive a file to the last bit, and can be joined and selected."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from helpers.results import example_results
from softpoint.evaluation import Results
from softpoint.labels.skeleton import Skeleton


def same(a: Results, b: Results) -> bool:
    def equal(name: str) -> bool:
        x, y = getattr(a, name), getattr(b, name)
        if name == "skeleton":
            return x.names == y.names
        return np.array_equal(x, y, equal_nan=True) if isinstance(x, np.ndarray) else x == y

    return all(equal(field.name) for field in fields(Results))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"boxes": None},
        {"areas": np.array([3.5, np.nan] * 6)},
        {"boxes": None, "areas": np.arange(12.0)},
        {"predicted_visibility": np.random.default_rng(0).dirichlet([1, 1, 1], (12, 4))},
    ],
)
def test_a_file_keeps_every_bit(tmp_path: Path, changes: dict):
    results = example_results(**changes)
    results.write(tmp_path / "predictions.csv")
    assert same(Results.read(tmp_path / "predictions.csv"), results)


def test_keypoints_named_like_columns_are_distinguished(tmp_path: Path):
    names = ("a", "a_true", "box_left_x", "a,b")
    results = example_results(skeleton=Skeleton(names), boxes=None)
    results.write(tmp_path / "predictions.csv")
    assert same(Results.read(tmp_path / "predictions.csv"), results)


def test_concatenated_parts_equal_the_whole():
    whole = example_results(predicted_visibility=np.full((12, 4, 3), 1 / 3))
    parts = [whole.select(range(5)), whole.select(range(5, 12))]
    assert same(Results.concat(parts), whole)
    without = replace(parts[1], boxes=None)
    joined = Results.concat([parts[0], without])
    assert np.isnan(joined.boxes[5:]).all() and np.array_equal(joined.boxes[:5], whole.boxes[:5], equal_nan=True)


def test_keypoints_are_chosen_by_name():
    whole = example_results()
    part = whole.with_keypoints(["tail", "nose"])
    assert part.skeleton.names == ("tail", "nose")
    assert np.array_equal(part.errors, whole.errors[:, [3, 0]], equal_nan=True)


def test_results_and_files_that_do_not_fit_are_refused(tmp_path: Path):
    results = example_results()
    with pytest.raises(ValueError, match="results of tail cannot be joined with results of nose"):
        Results.concat([results.with_keypoints(["nose"]), results.with_keypoints(["tail"])])
    with pytest.raises(ValueError, match="no results to join"):
        Results.concat([])
    with pytest.raises(FileNotFoundError, match="no predictions at"):
        Results.read(tmp_path / "none.csv")
    results.write(tmp_path / "a.csv")
    lines = (tmp_path / "a.csv").read_text().splitlines()
    (tmp_path / "b.csv").write_text("\n".join([lines[0].replace("nose_xx", "nose_z"), *lines[1:]]))
    with pytest.raises(ValueError, match=r"is no predictions\.csv"):
        Results.read(tmp_path / "b.csv")
    (tmp_path / "c.csv").write_text("\n".join([*lines[:3], lines[3].replace(",", ",wide,", 1)]))
    with pytest.raises(ValueError, match="line 4"):
        Results.read(tmp_path / "c.csv")
    (tmp_path / "d.csv").write_text("")
    with pytest.raises(ValueError, match=r"is no predictions\.csv"):
        Results.read(tmp_path / "d.csv")


def test_a_prediction_that_is_nan_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    predictions = example_results()
    predictions.write(path)
    assert len(Results.read(path)) == len(predictions)
    lines = path.read_text().splitlines()
    cells = lines[1].split(",")
    cells[lines[0].split(",").index(f"{predictions.skeleton.names[0]}_x")] = "nan"
    path.write_text("\n".join([lines[0], ",".join(cells), *lines[2:], ""]))
    with pytest.raises(ValueError, match="line 2: a predicted x, y, confidence or covariance is not a number"):
        Results.read(path)
