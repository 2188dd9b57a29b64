"""A search for a learning rate or a batch size prints a value, and leaves a figure and a table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.training import read_csv, tiny
from softpoint.training.tuning import BatchSizes, Rates

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*many workers.*")


@pytest.mark.parametrize(
    ("find", "settings", "setting"),
    [
        ("lr", ["steps=20", "lr_min=0.001", "lr_max=0.1"], "optimizer.lr="),
        ("batch_size", ["largest=4", "batch_steps=2"], "data.batch_size="),
    ],
)
def test_a_search_prints_a_value(start: Callable, tmp_path: Path, find: str, settings: list[str], setting: str) -> None:
    words = [word for word in tiny() if word not in ("~callbacks.progress", "trainer.enable_progress_bar=false")]
    done = start("tune", f"find={find}", *settings, f"output={tmp_path / 'out'}", *words)
    assert done.code == 0 and "Finding" not in done.err, done.err
    tried = [float(row["lr" if find == "lr" else "batch_size"]) for row in read_csv(tmp_path / "out" / f"{find}.csv")]
    # A search of so few steps may tell nothing, and then only the sentence has its rate.
    before = "most steeply at " if "trust neither" in done.out else f"use it: {setting}"
    value = float(done.out.partition(before)[2].split()[0].rstrip(","))
    assert tried == sorted(tried) and tried[0] <= value <= tried[-1] and len(tried) > 1
    assert ("use it: " in done.out) == ("trust neither" not in done.out)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"{find}.{suffix}" for suffix in ("csv", "png", "svg")
    }


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["find=rate"], "find='rate'"),
        (["find=lr", "semi=mean_teacher", "data.unlabeled_images.source=images"], "search without semi="),
    ],
)
def test_an_impossible_search_is_refused(start: Callable, tmp_path: Path, words: list[str], error: str) -> None:
    done = start("tune", *words, f"output={tmp_path}")
    assert done.code == 1 and error in done.err


def test_a_result_of_noise_is_no_advice() -> None:
    clear = Rates([0.001, 0.01, 0.1], [3.0, 2.0, 1.0], suggested=0.005)
    assert str(clear).endswith("smallest at 0.1; a good rate is from the first to a tenth of the second")
    assert clear.setting == "optimizer.lr=0.005"
    noisy = Rates([0.001, 0.01, 0.1], [1.0, 3.0, 2.0], suggested=0.05)
    assert "smallest at 0.001; the second should be ten times the first, so trust neither" in str(noisy)
    assert noisy.setting == ""


def test_the_largest_batch_is_not_compared_with_larger_ones() -> None:
    assert "16 is the fastest, with 9.0 images/s" in str(BatchSizes([8, 16], [5.0, 9.0], [0.0, 0.0]))
    assert "8 is as fast as larger ones" in str(BatchSizes([8, 16], [8.9, 9.0], [0.0, 0.0]))
