"""Files of an earlier evaluation are removed, and no others."""

from __future__ import annotations

from pathlib import Path

from softpoint.evaluation.files import write_comparison


def test_only_files_of_an_earlier_comparison_are_removed(tmp_path: Path) -> None:
    own = {"comparison_of_mine.json", "predictions_x.csv"}
    earlier = {
        "comparison_ab.json",
        "comparison_ac.json",
        "predictions_a.csv",
        "predictions_b.csv",
        "predictions_c.csv",
    }
    for name in own | earlier | {"report.html"}:
        (tmp_path / name).touch()
    write_comparison(tmp_path, {}, {})
    assert {path.name for path in tmp_path.iterdir()} == own
