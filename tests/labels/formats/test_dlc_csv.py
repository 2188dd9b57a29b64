"""The CSV of DeepLabCut and lightning-pose: all spellings read the same, all errors are named."""

from __future__ import annotations

import gzip
import logging
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.labels import FUZZ, assert_refused, assert_valid_or_refused, damaged, random_labels, written
from softpoint.images import ImageFolder
from softpoint.labels.formats import dlc_csv, read_labels
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import Labels
from softpoint.labels.validate import validate
from softpoint.paths import normalize_path

HEADER = "scorer,anna,anna,anna,anna\nbodyparts,left_ear,left_ear,right_ear,right_ear\ncoords,x,y,x,y\n"
PLAIN = HEADER + "video/img1.png,1.5,2,3,4\nvideo/img2.png,,,5,6.25\nother/img3.png,,,,\n"
SEVERAL = (
    "scorer,anna,anna,anna,anna,anna,anna,anna,anna\n"
    "individuals,m1,m1,m1,m1,m2,m2,single,single\n"
    "bodyparts,nose,nose,tail,tail,nose,nose,food,food\n"
    "coords,x,y,x,y,x,y,x,y\n"
    "v/1.png,1,2,3,4,5,6,7,8\nv/2.png,,,9,10,,,,\nv/3.png,,,,,,,,\n"
)


def test_a_plain_file_gives_points_states_and_groups(tmp_path: Path) -> None:
    path = written(tmp_path, PLAIN)
    labels = read_labels(path)
    assert labels.source == str(path) and labels.folder == str(tmp_path) and len(labels) == 3
    assert labels.images == ("video/img1.png", "video/img2.png", "other/img3.png")
    assert labels.groups == ("video", "video", "other") and labels.places == ("line 4", "line 5", "line 6")
    assert labels.skeleton.names == ("left_ear", "right_ear")
    assert labels.skeleton.flip_pairs == (("left_ear", "right_ear"),)
    assert labels.visibility.tolist() == [[2, 2], [0, 2], [0, 0]] and labels.visibility.dtype == np.int8
    assert labels.keypoints.dtype == np.float64
    np.testing.assert_array_equal(labels.keypoints[1], [[np.nan, np.nan], [5, 6.25]])


BARE = PLAIN.replace("scorer", "").replace("bodyparts", "").replace("coords", "")
SPELLINGS = {
    "bom": "\ufeff" + PLAIN,
    "crlf": PLAIN.replace("\n", "\r\n"),
    "backslash": PLAIN.replace("\n", "\r\n").replace("/", "\\"),
    "blank-lines": PLAIN + "\n\n,,,,\n",
    "nan": PLAIN.replace(",,,5", ",nan,NaN,5").replace(",,,,", ", ,NAN,,nan"),
    "case": PLAIN.replace("scorer", "Scorer").replace("coords,x,y", "coords,X,Y"),
    "no-newline": PLAIN.rstrip("\n"),
    "quotes": PLAIN.replace("video/img1.png", '"video/img1.png"').replace("1.5", " 1.5e0 "),
    "semicolons": PLAIN.replace(",", ";"),
    "decimal-commas": PLAIN.replace(",", ";").replace(".5", ",5").replace("6.25", "6,25"),
    "tabs": PLAIN.replace(",", "\t"),
    "no-names": BARE,
    "other-names": PLAIN.replace("scorer", "who").replace("bodyparts", "points"),
    "index-name": PLAIN.replace("coords,x,y,x,y\n", "coords,x,y,x,y\nimg,,,,\n"),
    "empty-columns": PLAIN.replace("\n", ",\n"),
    "columns-of-pandas": PLAIN.replace("\n", ",,\n").replace("anna,,", "anna,Unnamed: 5_level_0,Unnamed: 6_level_0"),
    "likelihood": "\n".join(map(str.__add__, PLAIN.splitlines(), (",a", ",left_ear", ",likelihood", ",1", ",x", ","))),
    "trailing-separators": PLAIN.replace("3,4\n", "3,4,,,\n"),
}  # fmt: skip


@pytest.mark.parametrize("text", SPELLINGS.values(), ids=SPELLINGS)
def test_spellings_read_the_same(tmp_path: Path, text: str) -> None:
    labels, plain = read_labels(written(tmp_path, text)), read_labels(written(tmp_path, PLAIN, "plain.csv"))
    assert labels.images == plain.images and labels.skeleton == plain.skeleton
    np.testing.assert_array_equal(labels.keypoints, plain.keypoints)
    np.testing.assert_array_equal(labels.visibility, plain.visibility)


def test_a_path_may_take_three_columns(tmp_path: Path) -> None:
    text = "scorer,,,anna,anna\nbodyparts,,,nose,nose\ncoords,,,x,y\nlabeled-data,video,img1.png,1,2\n"
    for variant in (text, text.replace("x,y\n", "x,y\nfolder,video,img,,\n")):
        labels = read_labels(written(tmp_path, variant))
        assert labels.images == ("labeled-data/video/img1.png",) and labels.groups == ("labeled-data/video",)
        assert labels.keypoints.tolist() == [[[1, 2]]]


def test_the_first_image_is_not_the_name_of_the_index(tmp_path: Path) -> None:
    for name in ("img1", "a.png", "v/a"):
        assert read_labels(written(tmp_path, HEADER + f"{name},,,,\nb.png,1,2,3,4\n")).images == (name, "b.png")


def test_paths_start_above_a_file_that_is_beside_its_images(tmp_path: Path) -> None:
    text = HEADER + "labeled-data/m1/a.png,1,2,3,4\n"
    beside = read_labels(written(tmp_path, text, "labeled-data/m1/CollectedData_anna.csv"))
    assert beside.folder == str(tmp_path)
    written(tmp_path, "", "labeled-data/m1/labeled-data/m1/a.png")
    assert read_labels(tmp_path / "labeled-data/m1/CollectedData_anna.csv").folder == str(tmp_path / "labeled-data/m1")
    assert read_labels(written(tmp_path, text, "elsewhere/CollectedData.csv")).folder == str(tmp_path / "elsewhere")


@pytest.mark.parametrize("order", ["m1,m1,single,single", "single,single,m1,m1"])
def test_the_points_of_single_belong_to_the_only_animal(tmp_path: Path, order: str) -> None:
    header = f"scorer,a,a,a,a\nindividuals,{order}\nbodyparts,nose,nose,corner,corner\ncoords,x,y,x,y\n"
    labels = read_labels(written(tmp_path, header + "1.png,1,2,3,4\n2.png,,,5,6\n"))
    assert [subject.name for subject in labels.subjects] == ["m1", "m1"]
    assert labels.skeleton.names == ("nose", "corner")
    np.testing.assert_array_equal(labels.keypoints, [[[1, 2], [3, 4]], [[np.nan, np.nan], [5, 6]]])
    both = read_labels(written(tmp_path, header.replace("corner", "nose") + "1.png,1,2,3,4\n"))
    assert {subject.name for subject in both.subjects} == {"m1", "single"}  # one name cannot be two points


def test_individuals_are_subjects(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, SEVERAL))
    assert labels.skeleton.names == ("nose", "tail", "food")
    assert [(s.image, s.name, s.place) for s in labels.subjects] == [
        ("v/1.png", "m1", "line 5, m1"),
        ("v/1.png", "m2", "line 5, m2"),
        ("v/1.png", "single", "line 5, single"),
        ("v/2.png", "m1", "line 6, m1"),
        ("v/3.png", "", "line 7"),
    ]
    assert labels.visibility.tolist() == [[2, 2, 0], [2, 0, 0], [0, 0, 2], [0, 2, 0], [0, 0, 0]]
    np.testing.assert_array_equal(labels.keypoints[0], [[1, 2], [3, 4], [np.nan, np.nan]])
    np.testing.assert_array_equal(labels.keypoints[2], [[np.nan] * 2, [np.nan] * 2, [7, 8]])


def test_likelihood_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = "scorer,net,net,net\nbodyparts,nose,nose,nose\ncoords,x,y,likelihood\na.png,1,2,high\n"
    with caplog.at_level(logging.INFO, "softpoint"):
        labels = read_labels(written(tmp_path, text))
    assert labels.keypoints.tolist() == [[[1, 2]]] and "columns of likelihood are not used" in caplog.text


MISTAKES = [
    (PLAIN.replace("1.5,2", ",2"), r"labels.csv line 4: left_ear has no x and y=2; give both"),
    (PLAIN.replace("6.25", "six"), r"labels.csv line 5: column 5 'six' is not a finite number"),
    (PLAIN.replace("6.25", "inf"), r"line 5: column 5 'inf'"),
    (PLAIN.replace("6.25", "1_0"), r"line 5: column 5 '1_0'"),
    (PLAIN.replace("6.25", "1e999"), r"line 5: column 5 '1e999'"),
    (PLAIN.replace("6.25", '"6,25"'), r"line 5: column 5 '6,25'"),
    (PLAIN.replace("6.25", "6.25,7"), r"line 5: it has 6 columns, but its header has 5"),
    (PLAIN.replace(",5,6.25", ",5"), r"line 5: it has 4 columns"),
    (PLAIN.replace("video/img2.png", ""), r"line 5: image path \[''\] has an empty part"),
    (PLAIN.replace("img2", "img1"), r"line 5: video/img1.png is labeled in line 4 too; remove one"),
    (SEVERAL.replace("v/2", "./v/1"), r"line 6: ./v/1.png is labeled in line 5 too"),
    (SEVERAL.replace("9,10", "9,"), r"line 6: tail of m1 has x=9 and no y"),
    (HEADER, r"has a header but no image below it"),
    (PLAIN.replace("bodyparts", "coords"), r"first rows begin with scorer, coords, coords; they must"),
    (PLAIN.replace("coords,x,y", "coords,x"), r"3 header rows have 5, 5, 4 columns"),
    (PLAIN.replace("coords,x,y", "coords,x,z"), r"column 3: its header has .*bodyparts 'left_ear', coords 'z'"),
    (PLAIN.replace("coords,x,y", "coords,x,x"), r"columns 2 and 3 both hold x of left_ear"),
    (PLAIN.replace("coords,x,y", "coords,x,likelihood"), r"left_ear has columns x; it needs both"),
    (PLAIN.replace("left_ear,left_ear", "left_ear,"), r"column 3: its header has .*bodyparts ''"),
    (SEVERAL.replace("m2,m2", "m2,"), r"column 7: its header has individuals ''"),
    (SEVERAL.replace("tail,tail,nose,nose", "tail,tail,nose,food"), r"nose of m2 has columns x; it needs both"),
    ("scorer,,\nbodyparts,,\ncoords,,\na.png,,\n", r"names no keypoint"),
    (PLAIN.encode("utf-16"), "is text in UTF-16; save it as UTF-8"),
    (gzip.compress(PLAIN.encode()), "is compressed by gzip; unpack it"),
    (PLAIN.encode() + b"\xff\xfe", r"is not a CSV in UTF-8 \(after line 0: .*save it as CSV UTF-8"),
    (PLAIN + "x" * 200_000, r"is not a CSV in UTF-8 \(after line 6: field larger than"),
    ("", r"(?s)no known label format: it is empty.*dlc_csv: a CSV whose first rows"),
    ("frame,x,y\n1,2,3\n", r"format: it begins with b'frame,x,y"),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_errors_name_file_line_and_value(tmp_path: Path, text: str | bytes, message: str) -> None:
    assert_refused(written(tmp_path, text), message)


def test_rows_with_errors_are_listed_or_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path, PLAIN.replace("1.5", "one").replace("6.25", "") + "a.png,1,2,3,4\n")
    with pytest.raises(ValueError, match=r"(?s)2 rows cannot be used\n  line 4: .*\n  line 5: .*data.on_error=skip"):
        read_labels(path)
    assert read_labels(path, on_error="skip").images == ("other/img3.png", "a.png")
    assert "left out 2 that cannot be used" in caplog.text


def test_a_skipped_row_is_no_duplicate(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + "a.png,one,2,3,4\na.png,1,2,3,4\n")
    assert read_labels(path, on_error="skip").places == ("line 5",)


def test_an_unknown_format_or_path_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere.csv do not exist"):
        read_labels(tmp_path / "nowhere.csv")
    with pytest.raises(ValueError, match=r"(?s)in no known label format.*this folder holds nothing"):
        read_labels(tmp_path)
    with pytest.raises(ValueError, match="cannot be read as a file"):
        read_labels(tmp_path, format="dlc_csv")
    with pytest.raises(ValueError, match=r"data.format='dlc': (did you mean|choose from)"):
        read_labels(written(tmp_path, PLAIN), format="dlc")
    with pytest.raises(ValueError, match="its first rows begin with a, b, c"):
        read_labels(written(tmp_path, "a,1\nb,2\nc,3\nd,4\n"), format="dlc_csv")


def test_thousands_of_keypoints_are_refused(tmp_path: Path) -> None:
    n = 5000
    rows = ["scorer" + ",a" * 2 * n, "bodyparts" + "".join(f",p{i},p{i}" for i in range(n)), "coords" + ",x,y" * n]
    with pytest.raises(ValueError, match="names 5000 keypoints"):
        read_labels(written(tmp_path, "\n".join([*rows, "a.png" + ",1" * 2 * n])))


@FUZZ
@given(damaged(PLAIN) | damaged(SEVERAL) | damaged(SEVERAL.replace(",", ";")) | st.binary(max_size=60))
def test_a_damaged_file_raises_only_value_errors(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert_valid_or_refused(written(Path(folder), content), "dlc_csv")


def expected_rows(labels: Labels) -> dict[str, list[bytes]]:
    """Return the labeled points of each image, in a fixed order."""
    rows: dict[str, list[bytes]] = {normalize_path(image): [] for image in labels.images}
    for subject in labels.subjects:
        if subject.visibility.any():
            rows[normalize_path(subject.image)].append((subject.keypoints + 0.0).tobytes())
    return {image: sorted(points) for image, points in rows.items()}


@FUZZ
@given(random_labels())
def test_a_round_trip_keeps_every_point(labels: Labels) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels.csv"
        dlc_csv.write(labels, path, np.zeros((len(labels), 2), int))
        result = dlc_csv.read(path, RowErrors(str(path)))
        assert [p.name for p in Path(folder).iterdir()] == ["labels.csv"]
    assert expected_rows(result) == expected_rows(labels)
    if (labels.visibility > 0).any():
        assert set(result.skeleton.names) == set(labels.skeleton.names)
    named = {(normalize_path(s.image), s.name) for s in labels.subjects if s.name and s.visibility.any()}
    assert named <= {(normalize_path(s.image), s.name) for s in result.subjects}


def test_losses_of_the_format_are_counted_in_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = "a.png,1,2,1,0,0,9,9\na.png,3,4,2,1,1,9,9\nb.png,,,,,,,\n"
    labels = read_labels(
        written(tmp_path, "image,nose_x,nose_y,nose_visibility,box_left,box_top,box_right,box_bottom\n" + rows)
    )
    dlc_csv.write(labels, tmp_path / "out.csv", np.zeros((3, 2), int))
    assert len(caplog.records) == 1
    assert "cannot hold 1 flags of occluded points, 2 boxes, 2 subjects without a name" in caplog.text
    assert [s.name for s in read_labels(tmp_path / "out.csv").subjects] == ["individual1", "individual2", ""]


@pytest.mark.parametrize(
    ("name", "images", "points", "missing"),
    [
        ("mirror-mouse", 90, 17, 134),
        ("dlc-openfield", 116, 4, 0),
        ("fly-wing", 58, 12, 0),
        ("glue-tubes-single", 42, 2, 0),
        ("ultrasound-tongue", 1574, 14, 154),
    ],
)
def test_real_tables_survive_a_round_trip(
    data_root: Path, tmp_path: Path, name: str, images: int, points: int, missing: int
) -> None:
    source = data_root / "keypoints" / "labels" / f"{name}.csv"
    labels = read_labels(source)
    folder = data_root / "keypoints" / name.removesuffix("-single")
    sample = labels.select(range(0, images, 20))  # opening all of them takes seconds
    _, sizes = validate(sample, ImageFolder(folder), RowErrors(str(source)))
    assert labels.keypoints.shape == (images, points, 2) and sizes.shape == (len(sample), 2)
    assert (labels.visibility == 0).sum() == missing
    dlc_csv.write(labels, tmp_path / "again.csv", np.zeros((images, 2), int))
    again = read_labels(tmp_path / "again.csv")
    np.testing.assert_array_equal(again.keypoints, labels.keypoints)
    assert again.images == labels.images and again.skeleton == labels.skeleton


def test_a_real_file_of_deeplabcut_agrees_with_the_table_made_from_it(data_root: Path) -> None:
    folder = data_root / "keypoints" / "dlc-openfield"
    original = read_labels(folder / "labeled-data/m4s1/CollectedData_Pranav.csv")
    table = read_labels(data_root / "keypoints" / "labels" / "dlc-openfield.csv")
    assert original.folder == str(folder)
    assert original.images == table.images and original.skeleton.flip_pairs == (("leftear", "rightear"),)
    assert original.keypoints == pytest.approx(table.keypoints, abs=5e-4)
