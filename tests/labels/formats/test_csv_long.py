"""Plain CSV with one row per point."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.labels import FUZZ, assert_same, assert_valid_or_refused, damaged, random_labels, written
from softpoint.labels.csv_io import exact, write_rows
from softpoint.labels.formats import csv_long, csv_wide, read_labels, recognize
from softpoint.labels.formats.parsing.csv_columns import subject_cells
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import Labels

PLAIN = (
    "image,keypoint,x,y\n"
    "v/a.png,left_ear,1.5,2\nv/a.png,tail,3,4\nv/b.png,left_ear,,\nv/b.png,tail,5,6.25\nw/c.png,,,\n"
)
FULL = (
    "y,x,visibility,keypoint,subject,image,box_left,box_top,box_right,box_bottom\n"
    "2,1,1,nose,m1,a.png,0,0,9,9\n4,3,2,tail,m1,a.png,,,,\n6,5,,nose,m2,a.png,,,,\n,,0,tail,m2,a.png,,,,\n"
)


def test_a_plain_file_gives_one_subject_per_image(tmp_path: Path) -> None:
    path = written(tmp_path, PLAIN)
    labels = read_labels(path)
    assert recognize(path) == "csv_long" and labels.skeleton.names == ("left_ear", "tail")
    assert labels.images == ("v/a.png", "v/b.png", "w/c.png") and labels.places == ("line 2", "line 4", "line 6")
    assert labels.visibility.tolist() == [[2, 2], [0, 2], [0, 0]]
    np.testing.assert_array_equal(labels.keypoints[1], [[np.nan, np.nan], [5, 6.25]])


def test_columns_in_any_order_and_several_subjects(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, FULL))
    assert [(s.image, s.name, s.box) for s in labels.subjects] == [("a.png", "m1", (0, 0, 9, 9)), ("a.png", "m2", None)]
    assert labels.visibility.tolist() == [[1, 2], [2, 0]]
    assert labels.keypoints[0].tolist() == [[1, 2], [3, 4]]


SPELLINGS = {
    "point-left-out": "\n".join(PLAIN.splitlines()[:3] + PLAIN.splitlines()[4:]),
    "decimal-commas": PLAIN.replace(",", ";").replace(".5", ",5").replace("6.25", "6,25"),
    "tabs": PLAIN.replace(",", "\t").replace("\n", "\r\n"),
    "names": PLAIN.replace("keypoint", "Bodypart").replace("image", "file"),
    "backslash": PLAIN.replace("v/", "v\\"),
}


@pytest.mark.parametrize("text", SPELLINGS.values(), ids=SPELLINGS)
def test_spellings_read_the_same(tmp_path: Path, text: str) -> None:
    assert_same(read_labels(written(tmp_path, text)), read_labels(written(tmp_path, PLAIN, "plain.csv")))


MISTAKES = [
    (PLAIN.replace("5,6.25", "5,"), r"labels.csv line 5: tail has x=5 and y=nan"),
    (PLAIN.replace("6.25", "six"), r"line 5: column 4 'six' is not a finite number"),
    (PLAIN.replace("6.25", "inf"), r"line 5: column 4 'inf'"),
    (PLAIN.replace("v/a.png,tail", "v/a.png,left_ear"), r"line 3: left_ear in v/a.png is labeled in line 2 too"),
    (PLAIN.replace("v/a.png,tail", "v/a.png,"), r"line 3: the row has coordinates but no keypoint"),
    (PLAIN.replace("v/a.png,tail", ",tail"), r"line 3: the cell of the image is empty"),
    (PLAIN.replace("3,4", "3,4,5"), r"line 3: it has 5 columns, but its header has 4"),
    (FULL.replace("2,1,1", "2,1,7"), r"line 2: nose has visibility 7"),
    (FULL.replace(",,0,tail", ",,1,tail"), r"line 5: tail has visibility 1 but no coordinates"),
    (FULL.replace("tail,m1,a.png,,,,", "tail,m1,a.png,1,1,9,9"), r"line 3: box is .* in line 2 of the same subject"),
    ("image,keypoint,x,y\na.png,,,\n", r"names no keypoint in any row; fill in its column 'keypoint'"),
    ("image,keypoint,x,y,x\na.png,nose,1,2,3\n", r"columns 3 and 5 are both 'x'"),
    ("keypoint,x,y\nnose,1,2\n", r"no column holds the path of the image"),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_errors_name_file_line_and_value(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        read_labels(written(tmp_path, text))
    assert str(tmp_path / "labels.csv") in str(error.value)


def test_a_forced_format_names_the_missing_columns(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'image,nose_x' has no column keypoint or x or y"):
        read_labels(written(tmp_path, "image,nose_x\na,1\n"), "csv_long")


@FUZZ
@given(damaged(PLAIN) | damaged(FULL) | damaged(FULL.replace(",", "\t")) | st.binary(max_size=60))
def test_a_damaged_file_raises_only_value_errors(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert_valid_or_refused(written(Path(folder), content), "csv_long")


def write_long(labels: Labels, path: Path) -> None:
    """Write labels with one row per point, independently of any reader."""
    columns = subject_cells(labels.subjects)
    rows = [["image", *columns, "keypoint", "x", "y", "visibility"]]
    for i, subject in enumerate(labels.subjects):
        fields = [subject.image, *(cells[i] for cells in columns.values())]
        own = labels.categories.get(subject.category, labels.skeleton.names)
        for name, (x, y), visible in zip(labels.skeleton.names, subject.keypoints, subject.visibility, strict=True):
            rows += [[*fields, name, exact(x), exact(y), str(visible)]] if name in own else []
    write_rows(path, rows)


@FUZZ
@given(random_labels())
def test_long_and_wide_tables_read_the_same(labels: Labels) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder) / "long.csv", Path(folder) / "wide.csv"
        write_long(labels, paths[0])
        csv_wide.write(labels, paths[1], np.zeros((len(labels), 2), int))
        long, wide = csv_long.read(paths[0], RowErrors("long")), csv_wide.read(paths[1], RowErrors("wide"))
    if set(long.skeleton.names) == set(labels.skeleton.names):  # a long table cannot name a keypoint without a row
        assert_same(long.with_keypoints(labels.skeleton.names), wide)
