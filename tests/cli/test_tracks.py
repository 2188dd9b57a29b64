"""The tracks command compares a file of predictions with labels that name individuals."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from softpoint.labels.csv_io import write_rows


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Labels of two individuals in each second frame, and tracks that change places after half of the video."""
    rows = [["scorer", *["me"] * 8], ["individuals", *["ann"] * 4, *["bob"] * 4]]
    rows += [["bodyparts", *["nose", "nose", "tail", "tail"] * 2], ["coords", *"xyxyxyxy"]]
    found = [
        ["frame", "time", "track", *(f"{n}_{part}" for n in ("nose", "tail") for part in ("x", "y", "confidence"))]
    ]
    for t in range(20):
        ann, bob = np.array([10.0 + t, 5, 40 + t, 5]), np.array([10.0 + t, 90, 40 + t, 90])
        if t % 2 == 0:
            rows.append([f"clip.mp4/{t:06d}", *map(str, [*ann, *bob])])
        for number, pose in zip((1, 2) if t < 10 else (2, 1), (ann, bob), strict=True):
            x, y, u, v = pose + 1.0
            found.append([str(t), str(t / 30), str(number), *map(str, [x, y, 0.9, u, v, 0.9])])
    write_rows(tmp_path / "labels.csv", rows)
    write_rows(tmp_path / "predictions.csv", found)
    return tmp_path / "labels.csv", tmp_path / "predictions.csv"


def test_switches_are_printed_and_written(start: Callable, files: tuple[Path, Path], tmp_path: Path) -> None:
    labels, predictions = files
    words = [f"labels={labels}", f"predictions={predictions}", f"output={tmp_path / 'tracks.json'}"]
    ending = start("tracks", *words)
    assert ending.code == 0, ending.err
    lines = dict(line.split()[-2:] for line in ending.out.replace("│", " ").splitlines() if len(line.split()) >= 2)
    assert lines["switches"] == "2" and lines["idf1"] == "0.500" and lines["deta"] == "0.895"  # 17 of 19 levels
    written = json.loads((tmp_path / "tracks.json").read_text())
    assert (written["switches"], written["frames"], written["misses"], written["false"]) == (2, 10, 0, 0)
    assert written["mota"] == pytest.approx(0.9) and written["predictions"] == str(predictions)
    ending = start("tracks", *words[:2], "distance=1px")
    assert ending.code == 0 and "0.500" not in ending.out  # they are 1.4 px off


def test_a_missing_library_is_named(start: Callable, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "motmetrics", None)
    ending = start("tracks", f"labels={files[0]}", f"predictions={files[1]}")
    assert ending.code == 1 and 'measuring tracks needs motmetrics: pip install "softpoint[tracks]"' in ending.err


def test_a_file_that_is_not_there_is_one_line(start: Callable, files: tuple[Path, Path], tmp_path: Path) -> None:
    ending = start("tracks", f"labels={files[0]}", f"predictions={tmp_path / 'none.csv'}")
    assert ending.code == 1 and "Traceback" not in ending.err and "none.csv" in ending.err
