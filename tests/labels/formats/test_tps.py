"""TPS landmarks become pixels of their images, and every error is named."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from helpers.labels import FUZZ, assert_refused, assert_valid_or_refused, damaged, written
from softpoint.labels.formats import read_labels, recognize, tps
from softpoint.labels.row_errors import RowErrors

WINGS = """LM=3
290. 8.
100.5 0
-1 -1
IMAGE=63001.png
ID=left 1
SCALE=0.004
LM=3
2 3
NA NA
4 5
CURVES=2
POINTS=2
1 1
2 2
POINTS=1
3 3
IMAGE = C:\\wings\\63002.png
COMMENT=the second

LM=0
IMAGE=63003.png
ID=2
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images 12 high and 400 wide, with a file of landmarks beside them."""
    folder = tmp_path_factory.mktemp("wings")
    for number in (1, 2, 3):
        Image.new("L", (400, 12)).save(folder / f"6300{number}.png")
    (folder / "wings.tps").write_text(WINGS)
    return folder


def test_y_counts_from_the_lower_border(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        labels = read_labels(folder / "wings.tps")
    nan = [np.nan, np.nan]
    wanted = [[[290, 4], [100.5, 12], nan], [[2, 9], nan, [4, 7]], [nan, nan, nan]]
    np.testing.assert_array_equal(labels.keypoints, wanted)
    np.testing.assert_array_equal(labels.visibility, [[2, 2, 0], [2, 0, 2], [0, 0, 0]])
    assert labels.images == ("63001.png", "63002.png", "63003.png") and labels.folder == str(folder)
    assert labels.skeleton.names == ("LM1", "LM2", "LM3") and not labels.skeleton.flip_pairs
    assert labels.places == ("specimen 1 (line 1)", "specimen 2 (line 8)", "specimen 3 (line 21)")
    assert [subject.name for subject in labels.subjects] == ["left 1", "", "2"]
    assert {subject.size for subject in labels.subjects} == {(12, 400)}
    assert "ignored SCALE (1), CURVES (1), POINTS (2), COMMENT (1)" in caplog.text
    assert labels.unused["curves and outlines"] == 2


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + WINGS,
        WINGS.replace("\n", "\r\n"),
        WINGS.replace("LM=", "lm = ").replace("IMAGE=", "Image="),
        WINGS.replace("-1 -1", "  NA\tNA  ").replace("290. 8.", "2.9e2 8"),
        WINGS + "\n\n",
    ],
    ids=["bom", "crlf", "case", "spaces", "blank"],
)
def test_spellings_read_the_same(folder: Path, text: str) -> None:
    labels, plain = read_labels(written(folder, text, "broken.tps")), read_labels(folder / "wings.tps")
    np.testing.assert_array_equal(labels.keypoints, plain.keypoints)
    assert labels.images == plain.images


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("LM=3", "LM3=3"), r"line 1: LM3 means landmarks in 3-D"),
        (("LM=3\n290", "7 7\nLM=3\n290"), r"line 1: a specimen begins with a line LM="),
        (("LM=3\n290", "LM=4\n290"), r"specimen 1 \(line 1\): LM=4, but 3 lines of numbers follow"),
        (("LM=3\n290", "LM=three\n290"), r"LM='three' is not a number"),
        (("LM=0", "LM=2\n1 1\n2 2"), r"specimen 3 .*: it has 2 landmarks, but most have 3"),
        (("100.5 0", "100.5"), r"line 3 '100.5' is not two numbers"),
        (("100.5 0", "100.5 0 0"), r"line 3 '100.5 0 0' is not two numbers"),
        (("100.5 0", "NA 0"), r"line 3 'NA 0' is not two finite numbers; write NA NA"),
        (("100.5 0", "1e999 0"), r"line 3 '1e999 0' is not two finite"),
        (("100.5 0", "1_0 0"), r"line 3 '1_0 0' is not two finite"),
        (("IMAGE=63001.png\n", ""), r"specimen 1 .*: it has no line IMAGE="),
        (
            ("63001.png", "missing.png"),
            r"missing.png was not found below .*; set data.images to the right folder",
        ),
        (("63001.png", "day2/63002.png"), r"day2/63002.png and C:.wings.63002.png both end in 63002.png"),
        (("SCALE=0.004", "SCALE=0.004\n5 5"), r"line 8 '5 5' is neither a landmark nor KEY=VALUE"),
    ],
)
def test_errors_name_file_line_and_value(folder: Path, change: tuple[str, str], message: str) -> None:
    assert_refused(written(folder, WINGS.replace(*change, 1), "broken.tps"), message, "tps")


def test_a_specimen_with_an_error_can_be_skipped(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    labels = read_labels(written(folder, WINGS.replace("290. 8.", "x 8"), "broken.tps"), on_error="skip")
    assert labels.images == ("63002.png", "63003.png") and "left out 1" in caplog.text


def test_files_without_landmarks_are_errors(folder: Path) -> None:
    for text, message in ((b"LM=2\n\xff\xfe", "UTF-8"), ("LM=0\nIMAGE=63001.png\n", "none of its 1 specimens")):
        assert_refused(written(folder, text, "broken.tps"), message, "tps")
    with pytest.raises(ValueError, match="cannot be read"):
        tps.read(folder, RowErrors(str(folder)))


def test_images_are_searched_near_the_file(tmp_path: Path) -> None:
    for name in ("landmarks", "images", "other"):
        (tmp_path / name).mkdir()
    path = written(tmp_path / "landmarks", WINGS, "broken.tps")
    for number in (1, 2, 3):
        Image.new("L", (400, 12)).save(tmp_path / "images" / f"6300{number}.png")
    Image.new("L", (400, 30)).save(tmp_path / "other/63001.png")
    assert read_labels(path).folder == str(tmp_path / "images")
    with pytest.raises(ValueError, match="2 rows cannot be used"):
        read_labels(path, images=tmp_path / "other")
    skipped = read_labels(path, images=tmp_path / "other", on_error="skip")
    assert skipped.keypoints[0, 0].tolist() == [290, 22]


def test_only_a_number_after_lm_is_recognized(folder: Path) -> None:
    assert recognize(folder / "wings.tps") == "tps"
    for head in (b"", b"LM", b"LM=", b"\x00", b"x LM=3", b"LMN=4"):
        assert not tps.recognize(folder, head)


def test_a_real_file_agrees_with_a_table_made_from_it(data_root: Path) -> None:
    labels = read_labels(data_root / "keypoints/fly-wing/landmark-examples/tps-example.tps")
    truth = read_labels(data_root / "keypoints/labels/fly-wing.csv")
    order = [truth.images.index(f"image-examples/{image}") for image in labels.images]
    assert sorted(order) == list(range(58)) and Path(labels.folder).name == "image-examples"
    np.testing.assert_array_equal(labels.keypoints, truth.keypoints[order])
    assert labels.skeleton.names == truth.skeleton.names


@FUZZ
@given(damaged(WINGS) | st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: b"LM=1\n1 2\n" + tail))
def test_a_damaged_file_raises_only_value_errors(folder: Path, content: bytes) -> None:
    assert_valid_or_refused(written(folder, content, "damaged.tps"), "tps")
