"""The table of runs shows of a training what was chosen and changed, and the same first columns of each."""

from __future__ import annotations

from pathlib import Path

from helpers.training import composed
from softpoint.cli.shown_settings import shown_settings


def test_what_was_changed_is_shown_beside_the_same_columns_of_every_run(tmp_path: Path) -> None:
    plain = shown_settings(composed("train", [], tmp_path))
    assert plain["loss"] == "[heatmap_ce, coordinate_l1, visibility]" and plain["experiment"] == "none"
    assert (plain["optimizer.lr"], plain["epochs"], plain["minutes"]) == (0.003, 8, "null")
    # Options have values of their own, which nobody changed.
    words = ["head=simcc", "norm=group", "loss=axis_ce", "scheduler=constant", "logger=csv", "report=false", "name=a"]
    words += ["optimizer.lr=0.1", "data.size=[64,96]", "+scheduler.x=1", "~callbacks.ema", "epochs=3"]
    changed = shown_settings(composed("train", [*words, "callbacks.dashboard.share=1"], tmp_path))
    assert [*changed][: len(plain)] == [*plain]
    assert {key: value for key, value in changed.items() if value != plain.get(key)} == {
        "head": "simcc", "norm": "group", "loss": "[axis_ce]", "scheduler": "constant", "optimizer.lr": 0.1,
        "epochs": 3, "data.size": "[64, 96]", "scheduler.x": 1, "callbacks.ema": "none",
    }  # fmt: skip


def test_an_experiment_shows_its_values(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\ndefaults:\n  - override /head: simcc\noptimizer:\n  lr: ${seed}\n"
    text += "seed: 7\nscene:\n  difficulty: 0.25\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    words = ["experiment=mine", f"hydra.searchpath=[file://{tmp_path}]"]
    found = shown_settings(composed("train", words, tmp_path / "run"))
    assert (found["experiment"], found["head"], found["optimizer.lr"], found["seed"]) == ("mine", "simcc", 7, 7)
    assert found["scene.difficulty"] == 0.25 and "head.bins" not in found
