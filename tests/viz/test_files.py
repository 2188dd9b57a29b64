"""A table of predictions is in place only when it is complete."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runs import read_csv
from softpoint.inference.files import PredictionTable, write_picture


def test_table_holds_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "predictions.csv"
    with PredictionTable(path, ["nose", "tail"]) as table:
        table.write("a, b.png", {"keypoints": np.array([[1.25, -2], [3, 4e3]]), "confidence": np.array([0.5, 1])})
        assert not path.exists()
    assert read_csv(path) == [
        {
            "image": "a, b.png",
            "nose_x": "1.250",
            "nose_y": "-2.000",
            "nose_confidence": "0.5000",
            "tail_x": "3.000",
            "tail_y": "4000.000",
            "tail_confidence": "1.0000",
        }
    ]
    assert list(path.parent.iterdir()) == [path]


def test_boxes_and_states_have_columns_of_their_own(tmp_path: Path) -> None:
    found = {
        "keypoints": np.array([[1.0, 2.0]]),
        "confidence": np.array([0.5]),
        "visibility": np.array([[0.1, 0.2, 0.7]]),
    }
    with PredictionTable(tmp_path / "p.csv", ["nose"], boxes=True, visibility=True) as table:
        table.write("a.png", found, [-0.5, 0, 9.5, 7])
    header, row = (tmp_path / "p.csv").read_text().splitlines()
    assert (
        header == "image,box_left,box_top,box_right,box_bottom,nose_x,nose_y,nose_confidence,nose_absent,nose_occluded"
    )
    assert row == "a.png,-0.500,0.000,9.500,7.000,1.000,2.000,0.5000,0.1000,0.2000"


def test_an_error_leaves_the_earlier_table(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text("earlier")
    with pytest.raises(ZeroDivisionError), PredictionTable(path, ["nose"]):
        _ = 1 / 0
    assert path.read_text() == "earlier" and list(tmp_path.iterdir()) == [path]


def test_picture_keeps_its_colours(tmp_path: Path) -> None:
    from softpoint.data.pictures.images import read_image

    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    write_picture(tmp_path / "deep" / "x.png", image)
    assert np.array_equal(read_image(tmp_path / "deep" / "x.png"), image)
