"""A search for a learning rate or a batch size prints a value, and leaves a figure and a table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.training import read_csv, tiny

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
    value = float(done.out.partition(f"use it: {setting}")[2].split()[0])
    tried = [float(row["lr" if find == "lr" else "batch_size"]) for row in read_csv(tmp_path / "out" / f"{find}.csv")]
    assert tried == sorted(tried) and tried[0] <= value <= tried[-1] and len(tried) > 1
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
