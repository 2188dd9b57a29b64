"""The label reader understands what tools write, names what is wrong, and proves labels against pictures."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from softpoint.data.formats import read_labels
from softpoint.data.labels import Labels, check

SHARED = Path(os.environ.get("SOFTPOINT_DATA", Path(__file__).parents[2].parent / "shared")) / "keypoints"
real = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no real data sets at {SHARED}; set SOFTPOINT_DATA")

HEADER = "scorer,anna,anna,anna,anna\nbodyparts,left_ear,left_ear,right_ear,right_ear\ncoords,x,y,x,y\n"
PLAIN = HEADER + "video/img1.png,1.5,2,3,4\nvideo/img2.png,,,5,6.25\nother/img3.png,,,,\n"


def written(folder: Path, text: str | bytes, name: str = "labels.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def pictures(folder: Path, labels: Labels, size: tuple[int, int] = (10, 12)) -> None:
    for image in labels.images:
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", size[::-1]).save(folder / image)


def test_plain_file(tmp_path: Path) -> None:
    path = written(tmp_path, PLAIN)
    labels = read_labels(path)
    assert labels.source == str(path) and len(labels) == 3
    assert labels.images == ("video/img1.png", "video/img2.png", "other/img3.png")
    assert labels.groups == ("video", "video", "other") and labels.rows == (4, 5, 6)
    assert labels.skeleton.names == ("left_ear", "right_ear")
    assert labels.skeleton.flip_pairs == (("left_ear", "right_ear"),)
    assert labels.visibility.tolist() == [[2, 2], [0, 2], [0, 0]] and labels.visibility.dtype == np.int64
    assert labels.keypoints.dtype == np.float64
    np.testing.assert_array_equal(labels.keypoints[1], [[np.nan, np.nan], [5, 6.25]])


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r\n").replace("/", "\\"),
        PLAIN + "\n\n,,,,\n",
        PLAIN.replace(",,,5", ",nan,NaN,5").replace(",,,,", ", ,NAN,,nan"),
        PLAIN.replace("scorer", "Scorer").replace("coords,x,y", "coords,X,Y"),
        PLAIN.rstrip("\n"),
        PLAIN.replace("video/img1.png", '"video/img1.png"').replace("1.5", " 1.5e0 "),
    ],
    ids=["bom", "crlf", "backslash", "blank-lines", "nan", "case", "no-newline", "quotes"],
)
def test_spellings_read_the_same(tmp_path: Path, text: str) -> None:
    labels, plain = read_labels(written(tmp_path, text)), read_labels(written(tmp_path, PLAIN, "plain.csv"))
    assert labels.images == plain.images and labels.skeleton == plain.skeleton
    np.testing.assert_array_equal(labels.keypoints, plain.keypoints)
    np.testing.assert_array_equal(labels.visibility, plain.visibility)


def test_path_in_three_columns(tmp_path: Path) -> None:
    text = "scorer,,,anna,anna\nbodyparts,,,nose,nose\ncoords,,,x,y\nlabeled-data,video,img1.png,1,2\n"
    labels = read_labels(written(tmp_path, text))
    assert labels.images == ("labeled-data/video/img1.png",) and labels.groups == ("labeled-data/video",)
    assert labels.keypoints.tolist() == [[[1, 2]]]


def test_likelihood_is_noted_and_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = "scorer,net,net,net\nbodyparts,nose,nose,nose\ncoords,x,y,likelihood\na.png,1,2,high\n"
    with caplog.at_level(logging.INFO, "softpoint"):
        labels = read_labels(written(tmp_path, text))
    assert labels.keypoints.tolist() == [[[1, 2]]] and "likelihood columns are not used" in caplog.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (PLAIN.replace("1.5,2", ",2"), r"labels.csv line 4: left_ear has x=nan and y=2; give both"),
        (PLAIN.replace("6.25", "six"), r"labels.csv line 5 column 5: 'six' is not a finite number"),
        (PLAIN.replace("6.25", "inf"), r"line 5 column 5: 'inf'"),
        (PLAIN.replace("6.25", "1_0"), r"line 5 column 5: '1_0'"),
        (PLAIN.replace("6.25", "1e999"), r"line 5 column 5: '1e999'"),
        (PLAIN.replace("6.25", "6.25,7"), r"line 5 has 6 columns, but its header has 5"),
        (PLAIN.replace(",5,6.25", ",5"), r"line 5 has 4 columns"),
        (PLAIN.replace("video/img2.png", ""), r"line 5: its image path \[''\] has an empty part"),
        (HEADER, r"has 3 rows; it needs three header rows and at least one image"),
        (PLAIN.replace("bodyparts", "individuals,mouse1\nbodyparts"), r"several animals.*not supported yet"),
        (PLAIN.replace("bodyparts", "points"), r"begin with scorer, points, coords; they must begin with"),
        (PLAIN.replace("coords,x,y", "coords,x"), r"three header rows have 5, 5, 4 columns"),
        (
            PLAIN.replace("coords,x,y", "coords,x,z"),
            r"column 3: its header is bodypart 'left_ear', coord 'z'",
        ),
        (PLAIN.replace("coords,x,y", "coords,x,x"), r"column 3: x of left_ear stands twice"),
        (
            PLAIN.replace("coords,x,y", "coords,x,likelihood"),
            r"left_ear has columns x, likelihood; it needs both",
        ),
        (PLAIN.replace("left_ear,left_ear", "left_ear,"), r"column 3: its header is bodypart ''"),
        ("scorer,,\nbodyparts,,\ncoords,,\na,b,c\n", r"names no keypoint"),
        (PLAIN.encode("utf-16"), r"in no known label format.*begins with b'\\xff"),
        (PLAIN.encode() + b"\xff\xfe", r"is not UTF-8 text.*save it as CSV UTF-8"),
        (PLAIN + "x" * 200_000, r"is not CSV: field larger than"),
        ("", r"no known label format: looked for dlc_csv \(a CSV whose first three.*but it is empty"),
        ("frame,x,y\n1,2,3\n", r"but it begins with b'frame,x,y"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str | bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_labels(written(tmp_path, text))


def test_format_and_path_are_checked(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere.csv does not exist"):
        read_labels(tmp_path / "nowhere.csv")
    with pytest.raises(FileNotFoundError, match="is a folder"):
        read_labels(tmp_path)
    with pytest.raises(ValueError, match=r"data.format='dlc': (did you mean|choose from)"):
        read_labels(written(tmp_path, PLAIN), format="dlc")
    with pytest.raises(ValueError, match="its first rows begin with a, b, c"):
        read_labels(written(tmp_path, "a,1\nb,2\nc,3\nd,4\n"), format="dlc_csv")


PIECES = [
    "",
    ",",
    "\n",
    '"',
    "\0",
    "nan",
    "inf",
    "-",
    "\\",
    "é",
    "\r",
    "scorer",
    ",,",
    "9" * 400,
    "\ufeff",
    "\ud800",
]
MUTATION = st.tuples(st.integers(0, len(PLAIN)), st.integers(0, 6), st.sampled_from(PIECES))


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(MUTATION, max_size=5), st.binary(max_size=4))
def test_a_damaged_file_is_only_ever_a_value_error(changes: list[tuple[int, int, str]], tail: bytes) -> None:
    text = PLAIN
    for position, removed, inserted in changes:
        text = text[:position] + inserted + text[position + removed :]
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), text.encode("utf-8", "surrogatepass") + tail)
        try:
            labels = read_labels(path)
        except ValueError as error:
            assert str(path) in str(error)
        else:
            assert np.isfinite(labels.keypoints[labels.visibility > 0]).all()
            assert np.isnan(labels.keypoints[labels.visibility == 0]).all()


def test_select_and_with_keypoints(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, PLAIN))
    some = labels.select(np.array([2, 0]))
    assert some.images == ("other/img3.png", "video/img1.png") and some.rows == (6, 4)
    assert some.groups == ("other", "video") and some.visibility.tolist() == [[0, 0], [2, 2]]
    right = labels.with_keypoints(["right_ear"])
    assert right.skeleton.names == ("right_ear",) and right.skeleton.flip_pairs == ()
    assert right.keypoints[0].tolist() == [[3, 4]] and right.visibility.shape == (3, 1)
    assert labels.with_keypoints(["right_ear", "left_ear"]).keypoints[0].tolist() == [[3, 4], [1.5, 2]]
    with pytest.raises(ValueError, match=r"data.keypoints: no keypoint is named 'rightear'; did you mean 'right_ear'"):
        labels.with_keypoints(["rightear"])


def test_check_returns_sizes(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, PLAIN))
    pictures(tmp_path, labels)
    Image.new("RGB", (7, 30)).save(tmp_path / "other/img3.png")
    checked, sizes = check(labels, tmp_path)
    assert sizes.tolist() == [[10, 12], [10, 12], [30, 7]] and checked is labels


def test_points_on_the_border_are_kept(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, HEADER + "a.png,12,10,-1,-1\n"))
    pictures(tmp_path, labels)
    assert check(labels, tmp_path)[0] is labels


@pytest.mark.parametrize("point", ["12.5,3", "-1.5,3", "3,10.5", "3,-7", "1e300,0"])
def test_points_outside(tmp_path: Path, point: str) -> None:
    labels = read_labels(written(tmp_path, HEADER + f"a.png,1,1,{point}\n"))
    pictures(tmp_path, labels)
    with pytest.raises(
        ValueError, match=r"(?s)1 labelled points lie outside.*line 4: right_ear at .*data.outside=drop"
    ):
        check(labels, tmp_path)
    with pytest.warns(UserWarning, match="1 labelled points outside their image are treated as unlabelled"):
        dropped, _ = check(labels, tmp_path, outside="drop")
    assert dropped.visibility.tolist() == [[2, 0]] and np.isnan(dropped.keypoints[0, 1]).all()
    assert labels.visibility.tolist() == [[2, 2]]
    with pytest.raises(ValueError, match=r"data.outside='dorp': did you mean 'drop'"):
        check(labels, tmp_path, outside="dorp")


def test_missing_pictures_are_counted_and_found_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    labels = read_labels(written(tmp_path / "labels", PLAIN))
    with pytest.raises(ValueError, match=r"(?s)3 of 3 images cannot be opened\n  line 4: .*set it so that"):
        check(labels, tmp_path / "labels")
    pictures(tmp_path / "set", labels)
    for wrong in (tmp_path, tmp_path / "set" / "video", tmp_path / "set" / "other"):
        with pytest.raises(ValueError, match=rf"video/img1.png exists under .*: set data.images={tmp_path / 'set'}$"):
            check(labels, wrong)
    labels = read_labels(written(tmp_path / "set", PLAIN))
    with pytest.raises(ValueError, match=rf"set data.images={tmp_path / 'set'}$"):
        check(labels, tmp_path / "labels")


def test_unreadable_pictures_are_listed(tmp_path: Path) -> None:
    rows = "".join(f"img{i}.png,1,1,1,1\n" for i in range(9))
    labels = read_labels(written(tmp_path, HEADER + rows))
    pictures(tmp_path, labels)
    for i in range(7):
        (tmp_path / f"img{i}.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"(?s)7 of 9 images.*img0.png is empty.*and 2 more\ncopy them again"):
        check(labels, tmp_path)


@pytest.mark.parametrize("again", ["video/img1.png", "./video//img1.png", "video\\img1.png"])
def test_an_image_labelled_twice(tmp_path: Path, again: str) -> None:
    labels = read_labels(written(tmp_path, PLAIN + f"{again},1,1,1,1\n"))
    with pytest.raises(ValueError, match=r"lines 4 and 7 both label"):
        check(labels, tmp_path)


def test_nothing_labelled(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, HEADER + "a.png,,,,\nb.png,,,,\n"))
    pictures(tmp_path, labels)
    with pytest.raises(ValueError, match="none of its 2 images has a labelled point"):
        check(labels, tmp_path)


@real
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
def test_real_sets(name: str, images: int, points: int, missing: int) -> None:
    labels, sizes = check(read_labels(SHARED / "labels" / f"{name}.csv"), SHARED / name.removesuffix("-single"))
    assert labels.keypoints.shape == (images, points, 2) and sizes.shape == (images, 2)
    assert (labels.visibility == 0).sum() == missing
    assert len(np.unique(sizes, axis=0)) == (2 if name.startswith("glue") else 1)


@real
def test_real_file_as_its_tool_wrote_it() -> None:
    folder = SHARED / "dlc-openfield"
    original, _ = check(read_labels(folder / "labeled-data/m4s1/CollectedData_Pranav.csv"), folder)
    ours = read_labels(SHARED / "labels" / "dlc-openfield.csv")
    assert original.images == ours.images and original.skeleton.flip_pairs == (("leftear", "rightear"),)
    assert original.keypoints == pytest.approx(ours.keypoints, abs=5e-4)


@real
def test_real_wrong_folder_is_answered_with_the_right_one() -> None:
    labels = read_labels(SHARED / "labels" / "dlc-openfield.csv")
    for wrong in (SHARED, SHARED / "dlc-openfield" / "labeled-data"):
        with pytest.raises(ValueError, match=r"(?s)116 of 116.*set data.images=.*dlc-openfield$"):
            check(labels, wrong)
