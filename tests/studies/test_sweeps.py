"""The trainings of a sweep are ranked by their scores."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from helpers.training import read_csv
from softpoint.studies.sweeps import Outcome, ranking_table, read_outcomes, sweep_chart, write_ranking


def written(folder: Path) -> Path:
    same = ["data=synthetic", "~callbacks.progress=null"]
    for number, (rate, head, score) in enumerate(
        [("0.1", "simcc", 3.0), ("0.001", "simcc", 2.0), ("0.01", "soft_argmax", 2.5)]
    ):
        words = [*same, f"optimizer.lr={rate}", f"head={head}", f"resume={number}/last.ckpt"]
        Outcome(words, score, minutes=1.5, pruned=number == 0).write(folder / str(number))
    Outcome([*same, "optimizer.lr=9", "head=simcc"], failed="the training diverged").write(folder / "3")
    return folder


def test_the_best_comes_first_with_what_differs(tmp_path: Path) -> None:
    outcomes = read_outcomes(written(tmp_path))
    assert list(outcomes) == ["1", "2", "0", "3"]
    with (console := Console(width=100)).capture() as captured:
        console.print(ranking_table(outcomes))
    lines = [line for line in captured.get().splitlines() if "optimizer.lr" in line]
    assert "optimizer.lr=0.001 head=simcc" in lines[0] and " 2.000 " in lines[0] and "data=" not in captured.get()
    assert "3.000 (pruned)" in lines[2] and "failed" in lines[3] and "resume" not in captured.get()
    write_ranking(tmp_path, outcomes)
    rows = read_csv(tmp_path / "ranking.csv")
    assert [rows[0][key] for key in ("run", "score", "optimizer.lr")] == ["1", "2.0", "0.001"]
    assert rows[3]["failed"] == "the training diverged" and rows[3]["score"] == "" and "data" not in rows[0]
    assert (tmp_path / "ranking.png").stat().st_size > 1000


def test_a_higher_score_is_better_where_the_metric_says_so(tmp_path: Path) -> None:
    for number, score in enumerate((0.2, 0.9)):
        Outcome([f"seed={number}"], score, monitor="val/pck@0.1").write(tmp_path / str(number))
    assert list(read_outcomes(tmp_path)) == ["1", "0"]


def test_the_chart_has_a_panel_for_each_key_and_a_dot_for_each_score(tmp_path: Path) -> None:
    figure = sweep_chart(read_outcomes(written(tmp_path)))
    rate, head = figure.axes
    assert (rate.get_xlabel(), head.get_xlabel()) == ("optimizer.lr", "head") and rate.get_xscale() == "log"
    assert [label.get_text() for label in head.get_xticklabels()] == ["simcc", "soft_argmax"]
    dots = [line.get_xydata().tolist()[0] for line in rate.lines if line.get_marker() == "o"]
    assert dots == [[0.001, 2.0], [0.01, 2.5], [0.1, 3.0]]
