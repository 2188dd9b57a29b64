"""Plain CSV with one row per subject or per point: all spellings of the columns, and a lossless writer."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.labels import FUZZ, assert_refused, assert_same, assert_valid_or_refused, damaged, random_labels, written
from helpers.predictions import predicted
from softpoint.inference.batch.writers import write_table
from softpoint.labels.csv_io import exact, write_rows
from softpoint.labels.formats import csv_long, csv_wide, read_labels, recognize
from softpoint.labels.formats.parsing.csv_columns import subject_cells
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import Labels
from softpoint.labels.skeleton import Skeleton

WIDE = "image,left_ear_x,left_ear_y,tail_x,tail_y\nv/a.png,1.5,2,3,4\nv/b.png,,,5,6.25\nw/c.png,,,,\n"
FULL_WIDE = (
    "image,subject,category,group,box_left,box_top,box_right,box_bottom,area,crowd,image_height,image_width,"
    "nose_x,nose_y,nose_visibility,nose_confidence\n"
    "a.png,m1,mouse,day1,-0.5,0,9.5,10,77.5,0,480,640,1,2,1,0.9\n"
    "a.png,m2,mouse,day1,,,,,,,480,640,3,4,2,0.9\n"
    "b.png,,rat,,1,2,3,4,,1,,,,,0,\n"
)
LONG = (
    "image,keypoint,x,y\n"
    "v/a.png,left_ear,1.5,2\nv/a.png,tail,3,4\nv/b.png,left_ear,,\nv/b.png,tail,5,6.25\nw/c.png,,,\n"
)
FULL_LONG = (
    "y,x,visibility,keypoint,subject,image,box_left,box_top,box_right,box_bottom\n"
    "2,1,1,nose,m1,a.png,0,0,9,9\n4,3,2,tail,m1,a.png,,,,\n6,5,,nose,m2,a.png,,,,\n,,0,tail,m2,a.png,,,,\n"
)


@pytest.mark.parametrize(("text", "format", "lines"), [(WIDE, "csv_wide", (2, 3, 4)), (LONG, "csv_long", (2, 4, 6))])
def test_a_file_gives_points_states_and_groups(
    tmp_path: Path, text: str, format: str, lines: tuple[int, int, int]
) -> None:
    path = written(tmp_path, text)
    labels = read_labels(path)
    assert recognize(path) == format and labels.folder == str(tmp_path)
    assert labels.images == ("v/a.png", "v/b.png", "w/c.png") and labels.places == tuple(f"line {i}" for i in lines)
    assert labels.skeleton.names == ("left_ear", "tail") and labels.categories == {}
    assert labels.visibility.tolist() == [[2, 2], [0, 2], [0, 0]] and labels.groups == ("v", "v", "w")
    np.testing.assert_array_equal(labels.keypoints[1], [[np.nan, np.nan], [5, 6.25]])


def test_columns_in_any_order_and_several_subjects(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, FULL_LONG))
    assert [(s.image, s.name, s.box) for s in labels.subjects] == [("a.png", "m1", (0, 0, 9, 9)), ("a.png", "m2", None)]
    assert labels.visibility.tolist() == [[1, 2], [2, 0]]
    assert labels.keypoints[0].tolist() == [[1, 2], [3, 4]]


WIDE_SPELLINGS = {
    "bom-crlf": "\ufeff" + WIDE.replace("\n", "\r\n"),
    "dots": WIDE.replace("_x", ".x").replace("_y", ".y"),
    "prefix": WIDE.replace("left_ear_x,left_ear_y,tail_x,tail_y", "x_left_ear,y_left_ear,X.tail,Y.tail"),
    "capitals": WIDE.replace("_x", " X").replace("_y", "-Y").replace("image", "Filename"),
    "first-column": WIDE.replace("image", "Bild"),
    "image-last": "\n".join(",".join((*rest, image)) for image, *rest in (r.split(",") for r in WIDE.split())),
    "semicolons": WIDE.replace(",", ";"),
    "decimal-commas": WIDE.replace(",", ";").replace(".5", ",5").replace("6.25", "6,25"),
    "tabs": WIDE.replace(",", "\t"),
    "visibility": WIDE.replace("tail_y", "tail_y,tail_v").replace("4\n", "4,2\n").replace("25\n", "25,2.0\n")
    .replace(",,,,\n", ",,,,,0\n"),
    "visibility-zero-unlabels": WIDE.replace("tail_y", "tail_y,left_ear_visible").replace("4\n", "4,\n")
    .replace("b.png,,,5,6.25", "b.png,8,9,5,6.25,0").replace(",,,,\n", ",,,,,\n"),
    "confidence": WIDE.replace("tail_y", "tail_y,tail_confidence").replace("4\n", "4,high\n")
    .replace("25\n", "25,\n").replace(",,,,\n", ",,,,,\n"),
}  # fmt: skip
LONG_SPELLINGS = {
    "point-left-out": "\n".join(LONG.splitlines()[:3] + LONG.splitlines()[4:]),
    "decimal-commas": LONG.replace(",", ";").replace(".5", ",5").replace("6.25", "6,25"),
    "tabs": LONG.replace(",", "\t").replace("\n", "\r\n"),
    "names": LONG.replace("keypoint", "Bodypart").replace("image", "file"),
    "backslash": LONG.replace("v/", "v\\"),
}


@pytest.mark.parametrize(
    ("text", "plain"),
    [pytest.param(text, WIDE, id=f"wide-{name}") for name, text in WIDE_SPELLINGS.items()]
    + [pytest.param(text, LONG, id=f"long-{name}") for name, text in LONG_SPELLINGS.items()],
)
def test_spellings_of_columns_read_the_same(tmp_path: Path, text: str, plain: str) -> None:
    assert_same(read_labels(written(tmp_path, text)), read_labels(written(tmp_path, plain, "plain.csv")))


def test_numbers_may_name_keypoints(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, "id,X1,Y1,X2,Y2\n63001.jpg,290,108,100,179\n"))
    assert labels.skeleton.names == ("1", "2") and labels.images == ("63001.jpg",)
    assert labels.keypoints.tolist() == [[[290, 108], [100, 179]]]


def test_every_field_of_a_subject_is_read(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, FULL_WIDE))
    first, second, third = labels.subjects
    assert (first.name, first.category, first.group, first.box) == ("m1", "mouse", "day1", (-0.5, 0, 9.5, 10))
    assert (first.area, first.crowd, first.size, first.visibility.tolist()) == (77.5, False, (480, 640), [1])
    assert second.box is None and np.isnan(second.area) and second.name == "m2"
    assert (third.crowd, third.group, third.size, third.box) == (True, None, (0, 0), (1, 2, 3, 4))
    assert labels.categories == {"mouse": ("nose",), "rat": ("nose",)}


def test_unused_columns_are_named_in_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read_labels(written(tmp_path, "image,nose_x,nose_y,nose_visibilty,note\na.png,1,2,1,hm\n"))
    assert "columns nose_visibilty, note are not used" in caplog.text


def test_a_table_of_predictions_is_a_label_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names, points = ("nose", "left_ear"), np.array([[1.25, 2], [3, 4.5]])
    predictions = predicted([points[None], points[None] + 1], ("v/a.png", "v/b.png"), tmp_path, Skeleton(names))
    write_table(tmp_path / "predictions.csv", predictions)
    with caplog.at_level(logging.INFO, "softpoint"):
        labels = read_labels(tmp_path / "predictions.csv")
    assert labels.images == ("v/a.png", "v/b.png") and labels.skeleton.names == names
    np.testing.assert_array_equal(labels.keypoints, [points, points + 1])
    assert "confidence are not used" in caplog.text


MISTAKES = [
    (WIDE.replace("1.5,2", "1.5,"), r"labels.csv line 2: left_ear has x=1.5 and no y"),
    (WIDE.replace("6.25", "six"), r"line 3: column 5 'six' is not a finite number"),
    (WIDE.replace("6.25", "-inf"), r"line 3: column 5 '-inf'"),
    (WIDE.replace("v/b.png", ""), r"line 3: the cell of the image is empty"),
    (WIDE.replace("6.25", "6.25,1"), r"line 3: it has 6 columns, but its header has 5"),
    (WIDE.replace("tail_y", "tail_z"), r"column 4: keypoint tail has only x"),
    (WIDE.replace("tail_y", "tail_y,left_ear_x"), r"columns 2 and 6 are both 'left_ear_x'"),
    (WIDE.replace("image", "nose_x"), r"column 1: keypoint nose has only x"),
    ("nose_x,nose_y\n1,2\n", r"no column holds the path of the image"),
    (WIDE + "v/a.png,1.5,2,3,4\n", r"line 5: v/a.png is labeled in line 2 too"),
    (WIDE.split("\n")[0], r"labels no image"),
    (FULL_WIDE.replace("m2", "m1"), r"line 3: m1 in a.png is labeled in line 2 too"),
    (FULL_WIDE.replace("1,2,1,", "1,2,3,"), r"line 2: nose has visibility 3; it must be 0 \(unlabeled\), 1"),
    (FULL_WIDE.replace("1,2,1,", ",,1,"), r"line 2: nose has visibility 1 but no coordinates"),
    (FULL_WIDE.replace("9.5,10", "9.5,"), r"line 2: box has .* bottom nan"),
    (FULL_WIDE.replace("-0.5,0,9.5", "9.5,0,9.5"), r"line 2: box has left 9.5"),
    (FULL_WIDE.replace("77.5", "-1"), r"line 2: area -1 is negative"),
    (FULL_WIDE.replace("77.5,0", "77.5,maybe"), r"line 2: crowd is 'maybe'"),
    (FULL_WIDE.replace("77.5,0,480", "77.5,0,48.5"), r"line 2: image_width is 640 and image_height 48.5"),
    (FULL_WIDE.replace("77.5,0,480", "77.5,0,"), r"line 2: image_width is 640 and image_height nan"),
    (
        FULL_WIDE.replace("box_top", "top"),
        r"has no column 'box_top'; add it, or remove box_left, box_right, box_bottom",
    ),
    (FULL_WIDE.replace("group", "individual"), r"columns 2 and 4 both hold the name"),
    (LONG.replace("5,6.25", "5,"), r"labels.csv line 5: tail has x=5 and no y"),
    (LONG.replace("6.25", "six"), r"line 5: column 4 'six' is not a finite number"),
    (LONG.replace("6.25", "inf"), r"line 5: column 4 'inf'"),
    (LONG.replace("v/a.png,tail", "v/a.png,left_ear"), r"line 3: left_ear in v/a.png is labeled in line 2 too"),
    (LONG.replace("v/a.png,tail", "v/a.png,"), r"line 3: the row has coordinates but no keypoint"),
    (LONG.replace("v/a.png,tail", ",tail"), r"line 3: the cell of the image is empty"),
    (LONG.replace("3,4", "3,4,5"), r"line 3: it has 5 columns, but its header has 4"),
    (FULL_LONG.replace("2,1,1", "2,1,7"), r"line 2: nose has visibility 7"),
    (FULL_LONG.replace(",,0,tail", ",,1,tail"), r"line 5: tail has visibility 1 but no coordinates"),
    (
        FULL_LONG.replace("tail,m1,a.png,,,,", "tail,m1,a.png,1,1,9,9"),
        r"line 3: box is .* in line 2 of the same subject",
    ),
    (
        "image,area,crowd,keypoint,x,y\na.png,0,0,nose,1,2\na.png,3,,tail,1,2\n",
        r"line 3: area is 3.0, but 0.0 in line 2 of the same subject",
    ),
    (
        "image,area,crowd,keypoint,x,y\na.png,0,0,nose,1,2\na.png,,1,tail,1,2\n",
        r"line 3: crowd is True, but False in line 2",
    ),
    ("image,keypoint,x,y\na.png,,,\n", r"names no keypoint in any row; fill in its column 'keypoint'"),
    ("image,keypoint,x,y,x\na.png,nose,1,2,3\n", r"columns 3 and 5 are both 'x'"),
    ("keypoint,x,y\nnose,1,2\n", r"no column holds the path of the image"),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_errors_name_file_line_and_value(tmp_path: Path, text: str, message: str) -> None:
    assert_refused(written(tmp_path, text), message)


def test_a_forced_format_names_the_missing_columns(tmp_path: Path) -> None:
    assert_refused(
        written(tmp_path, "image,nose_x\na,1\n"), r"'image,nose_x' has no column keypoint or x or y", "csv_long"
    )


@FUZZ
@given(
    st.sampled_from(["csv_wide", "csv_long"]),
    st.sampled_from([WIDE, FULL_WIDE, FULL_WIDE.replace(",", ";"), LONG, FULL_LONG]).flatmap(damaged)
    | st.binary(max_size=60),
)
def test_a_damaged_file_raises_only_value_errors(format: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert_valid_or_refused(written(Path(folder), content), format)


@FUZZ
@given(random_labels())
def test_a_round_trip_loses_nothing(labels: Labels) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels.csv"
        csv_wide.write(labels, path, np.zeros((len(labels), 2), int))
        read = csv_wide.read(path, RowErrors(str(path)))
        assert [p.name for p in Path(folder).iterdir()] == ["labels.csv"]
        assert csv_wide.recognize(path, path.read_bytes()[: 1 << 16])
    assert_same(read, labels)


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


def test_columns_without_values_are_not_written(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, WIDE))
    csv_wide.write(labels, tmp_path / "out.csv", np.zeros((3, 2), int))
    assert (tmp_path / "out.csv").read_text() == WIDE.replace(",2,3,4", ",2.0,3.0,4.0").replace(",5,", ",5.0,")
