"""Validation of labels against their images."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.labels import images, written
from softpoint.images import ImageFolder
from softpoint.labels.formats import read_labels
from softpoint.labels.formats.parsing.path_search import LikelyNames
from softpoint.labels.load import load_labels
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import Labels
from softpoint.labels.source import LabelSource
from softpoint.labels.validate import validate, with_found_names

HEADER = "scorer,anna,anna,anna,anna\nbodyparts,left_ear,left_ear,right_ear,right_ear\ncoords,x,y,x,y\n"
PLAIN = HEADER + "video/img1.png,1.5,2,3,4\nvideo/img2.png,,,5,6.25\nother/img3.png,,,,\n"


def checked(
    labels: Labels, folder: Path, out_of_frame: str = "error", on_error: str = "error"
) -> tuple[Labels, np.ndarray]:
    return validate(labels, ImageFolder(folder), RowErrors(labels.source, on_error), out_of_frame)


def test_sizes_are_returned(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, PLAIN))
    images(tmp_path, labels)
    Image.new("RGB", (7, 30)).save(tmp_path / "other/img3.png")
    valid, sizes = checked(labels, tmp_path)
    assert sizes.tolist() == [[10, 12], [10, 12], [30, 7]] and valid.subjects == labels.subjects


def test_points_on_the_border_are_kept(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, HEADER + "a.png,12,10,-1,-1\n"))
    images(tmp_path, labels)
    assert checked(labels, tmp_path)[0].subjects == labels.subjects


@pytest.mark.parametrize("point", ["12.5,3", "-1.5,3", "3,10.5", "3,-7", "1e300,0"])
def test_points_outside_are_refused_or_dropped(tmp_path: Path, caplog: pytest.LogCaptureFixture, point: str) -> None:
    labels = read_labels(written(tmp_path, HEADER + f"a.png,1,1,{point}\nb.png,1,1,2,2\n"))
    images(tmp_path, labels)
    with pytest.raises(ValueError, match=r"labels.csv line 4: right_ear at .* is outside .*data.out_of_frame=drop"):
        checked(labels, tmp_path)
    dropped, _ = checked(labels, tmp_path, out_of_frame="drop")
    assert "1 labeled points outside their image are treated as unlabeled" in caplog.text
    assert dropped.visibility.tolist() == [[2, 0], [2, 2]] and np.isnan(dropped.keypoints[0, 1]).all()
    assert labels.visibility.tolist() == [[2, 2], [2, 2]]
    skipped, sizes = checked(labels, tmp_path, on_error="skip")
    assert skipped.images == ("b.png",) and len(sizes) == 1
    with pytest.raises(ValueError, match=r"data.out_of_frame='dorp': did you mean 'drop'"):
        LabelSource("labels.csv", out_of_frame="dorp")


def test_missing_images_are_counted_and_searched_nearby(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path / "labels", PLAIN))
    with pytest.raises(ValueError, match=r"(?s)3 rows cannot be used\n  line 4: .*set it so that"):
        checked(labels, tmp_path / "labels")
    images(tmp_path / "set", labels)
    for wrong in (tmp_path, tmp_path / "set" / "video", tmp_path / "set" / "other", tmp_path / "labels"):
        with pytest.raises(ValueError, match=rf"video/img1.png exists under .*: set data.images={tmp_path / 'set'}$"):
            checked(labels, wrong)


def test_a_folder_is_suggested_only_where_it_has_nearly_all_images(tmp_path: Path) -> None:
    rows = "".join(f"v/{i}.png,1,1,2,{i + 1}\n" for i in range(8))
    labels = read_labels(written(tmp_path / "labels", HEADER + rows))
    for name, count in (("mine", 7), ("theirs", 8), ("other", 4)):
        images(tmp_path / name, labels.select(range(8 - count, 8)))
    with pytest.raises(ValueError, match=r"line 4: .*0.png.* the other 7 images are in data.images=.*mine: restore it"):
        checked(labels, tmp_path / "mine")
    with pytest.raises(ValueError, match=rf"v/0.png exists under {tmp_path / 'theirs'}: set data.images="):
        checked(labels, tmp_path / "labels")
    images(tmp_path / "deeper/images", labels)
    with pytest.raises(ValueError, match=r"exists under .*deeper/images and .*theirs: set data.images to the one"):
        checked(labels, tmp_path / "labels")


@pytest.mark.parametrize(
    ("path", "image"),
    [
        ("v/A.PNG", "v/a.png"),
        ("V/a.png", "v/a.png"),
        ("v/a", "v/a.png"),
        ("v/a.jpg", "v/a.png"),
        ("v/cafe\u0301.png", "v/caf\u00e9.png"),
        ("v/caf\u00e9.png", "v/cafe\u0301.png"),
        ("v/a.png", "v/a.png "),
    ],
)
def test_the_name_that_was_meant_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, path: str, image: str
) -> None:
    labels = read_labels(written(tmp_path, HEADER + f"{path},1,1,2,2\n"))
    (tmp_path / "v").mkdir()
    (tmp_path / image).write_bytes(b"")
    message = re.escape(f"{tmp_path} has {image}, not {path}: correct the paths in the labels, or rename the images")
    with pytest.raises(ValueError, match=message):
        checked(labels, tmp_path)
    assert with_found_names(labels, ImageFolder(tmp_path)).images == (image,)
    assert f"1 images have another name, as {path}, which is {image} here" in caplog.text
    if image == image.strip():  # else a table names one image twice
        twice = read_labels(written(tmp_path, HEADER + f"{path},1,1,2,2\n{image},3,3,2,2\n"))
        assert with_found_names(twice, ImageFolder(tmp_path)).images == twice.images
    (tmp_path / "v" / "a.tif").write_bytes(b"")
    (tmp_path / "v" / "CAF\u00c9.png").write_bytes(b"")
    if path in ("v/a.jpg", "v/a", "v/caf\u00e9.png", "v/cafe\u0301.png"):  # two names are as near
        with pytest.raises(ValueError, match="does not exist") as error:
            checked(labels, tmp_path)
        assert "rename the images" not in str(error.value)


@pytest.mark.parametrize(
    ("path", "files", "meant"),
    [
        ("v/frma_07.png", ["v/frame_07.png", "v/frame_08.png"], "v/frame_07.png"),
        ("v/img7.png", ["v/img_007.png", "v/img_008.png"], "v/img_007.png"),
        ("vidoe/img7.png", ["video/img7.png", "audio/img7.png"], "video/img7.png"),
        ("v/img0O7.png", ["v/img007.png", "v/other.png"], "v/img007.png"),
        ("v/img7.png", ["v/img6.png", "v/img8.png"], ""),  # a frame that is gone
        ("v/img7.png", ["v/nothing_alike.png"], ""),
        ("../v/img7.png", ["v/img7.png"], ""),
        (f"{'long' * 100}/img7.png", ["v/img7.png"], ""),
    ],
)
def test_a_misspelled_name_has_a_suggestion(tmp_path: Path, path: str, files: list[str], meant: str) -> None:
    for name in files:
        written(tmp_path, b"", name)
    assert LikelyNames(tmp_path, []).hint(path) == (f"; did you mean {meant}?" if meant else "")
    assert LikelyNames(tmp_path, files).hint(path) == ""


def test_unreadable_images_are_listed_or_skipped(tmp_path: Path) -> None:
    rows = "".join(f"img{i}.png,1,1,1,1\n" for i in range(9))
    labels = read_labels(written(tmp_path, HEADER + rows))
    images(tmp_path, labels)
    for i in range(7):
        (tmp_path / f"img{i}.png").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"(?s)7 rows.*img0.png is empty.*and 2 more\ncopy it again, or remove it from the labels$"
    ):
        checked(labels, tmp_path)
    valid, sizes = checked(labels, tmp_path, on_error="skip")
    assert valid.images == ("img7.png", "img8.png") and sizes.tolist() == [[10, 12]] * 2


def test_an_image_of_another_size_is_refused(tmp_path: Path) -> None:
    header = "image,image_height,image_width,nose_x,nose_y\n"
    labels = read_labels(written(tmp_path, header + "a.png,10,12,1,2\nb.png,12,10,1,2\n"))
    images(tmp_path, labels)
    with pytest.raises(ValueError, match=r"line 3: b.png is 12 wide and 10 high, but its labels say 10 and 12"):
        checked(labels, tmp_path)


def test_an_image_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path / "set", HEADER + "../a.png,1,1,1,1\n"))
    images(tmp_path / "set", labels)
    with pytest.raises(ValueError, match=r"line 4: its image '../a.png' lies outside data.images"):
        checked(labels, tmp_path / "set")


def test_one_image_has_one_name(tmp_path: Path) -> None:
    rows = f"v/a.png,1,1,2,2\nw/a.png,3,3,4,4\nb.png,1,1,1,1\nlink.png,1,1,1,1\n{tmp_path / 'b.png'},3,3,1,1\n"
    labels = read_labels(written(tmp_path, HEADER + rows + "hard.png,1,1,2,2\n"))
    images(tmp_path, labels.select([0, 2]))
    (tmp_path / "w").symlink_to("v")
    (tmp_path / "link.png").symlink_to("b.png")
    (tmp_path / "hard.png").hardlink_to(tmp_path / "b.png")  # a copy, as far as a file system tells
    with pytest.raises(ValueError, match=r"3 rows .*") as error:
        checked(labels, tmp_path)
    assert "line 5: w/a.png is the image v/a.png of line 4 by another name" in str(error.value)
    assert "line 7: link.png is the image b.png of line 6 by another name" in str(error.value)
    assert checked(labels, tmp_path, on_error="skip")[0].images == ("v/a.png", "b.png", "hard.png")


@pytest.mark.parametrize("again", ["a.png", "./a.png", "v/..\\\\a.png"])
def test_a_subject_labeled_twice_is_refused_or_skipped(tmp_path: Path, again: str) -> None:
    rows = f"image,subject,nose_x,nose_y\na.png,m1,1,2\n{again},m2,1,2\na.png,m3,3,4\nb.png,,,\nb.png,,,\n"
    labels = read_labels(written(tmp_path, rows))
    images(tmp_path, labels)
    with pytest.raises(ValueError, match=r"line 3: labels .*a.png exactly as line 2 does"):
        checked(labels, tmp_path)
    assert checked(labels, tmp_path, on_error="skip")[0].places == ("line 2", "line 4", "line 5", "line 6")


@pytest.mark.parametrize("page", ["a.tif/000000", "a.tif/1"])
def test_pages_beside_their_whole_file_are_refused_or_skipped(tmp_path: Path, page: str) -> None:
    labels = read_labels(written(tmp_path, f"image,nose_x,nose_y\na.tif,1,2\n{page},3,4\nb.tif/0,1,2\n"))
    pages = [Image.new("L", (9, 9), level) for level in (20, 90)]
    for name in ("a.tif", "b.tif"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    with pytest.raises(ValueError, match=f"line 3: labels .*{page}, a page of a.tif; the file is labeled as a whole"):
        checked(labels, tmp_path)
    assert checked(labels, tmp_path, on_error="skip")[0].places == ("line 2", "line 4")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a.png,,,,,,\nb.png,,,,,,\n", "no subject is labeled in its 2 images; label some"),
        ("a.png,1,1,5,5,true,\nb.png,,,,,,\n", "in its 2 images, only 1 crowds, of which nothing is learned"),
        ("a.png,1,1,5,5,,\na.png,1,1,4,4,,\nb.png,,,,,,\n", "none of its 2 subjects has a labeled point; label some"),
    ],
)
def test_labels_without_points_are_refused(tmp_path: Path, rows: str, message: str) -> None:
    header = "image,box_left,box_top,box_right,box_bottom,crowd,nose_x,nose_y\n"
    labels = read_labels(written(tmp_path, header + rows.replace(",\n", ",,\n")))
    images(tmp_path, labels)
    with pytest.raises(ValueError, match=message):
        checked(labels, tmp_path)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            "dlc_deleted",
            r"img0003.png does not exist.*the other 19 images are in data.images=.*dlc_deleted",
        ),
    ],
)
def test_real_sets_with_missing_images_are_explained(data_root: Path, labels: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_labels(LabelSource(data_root / "cases" / labels))


def test_the_right_folder_is_suggested_for_real_labels(data_root: Path) -> None:
    folder = data_root / "keypoints"
    labels = read_labels(folder / "labels" / "dlc-openfield.csv")
    for wrong in (folder, folder / "dlc-openfield" / "labeled-data"):
        with pytest.raises(ValueError, match=r"(?s)116 rows.*set data.images=.*dlc-openfield$"):
            checked(labels, wrong)
