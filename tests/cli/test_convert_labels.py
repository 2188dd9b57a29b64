"""The convert command: from any format to each that can be written."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from helpers.labels import assert_same, images, random_labels, written
from softpoint.images import ImageFolder
from softpoint.images.read_options import ReadOptions
from softpoint.labels.convert import write_labels, write_stated_splits
from softpoint.labels.formats import WRITERS, read_labels
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import Labels

PLAIN = "image,nose_x,nose_y,nose_visibility,tail_x,tail_y\nv/a.png,1,2.5,1,3,4\nv/b.png,,,,5,6\nv/c.png,,,,,\n"


@pytest.mark.parametrize("to", ["coco", "dlc_csv", "csv"])
def test_it_says_what_it_does(start: Callable, tmp_path: Path, to: str) -> None:
    labels = written(tmp_path, PLAIN)
    images(tmp_path, read_labels(labels))
    output = tmp_path / ("out.json" if to == "coco" else "out.csv")
    ending = start("convert", f"labels={labels}", f"to={to}", f"output={output}")
    assert ending.code == 0, ending.err
    counts = "2 subjects in 3 images (1 without labels), 2 keypoints, 3 labeled points"
    assert f"read {labels} (csv_wide): {counts} (1 occluded)\n" in ending.out
    assert f"wrote {output} ({to}): {counts}" in ending.out and "paths start" not in ending.out
    assert ("cannot hold 1 flags of occluded points" in ending.out) == (to == "dlc_csv")
    found, expected = read_labels(output), read_labels(labels)
    np.testing.assert_array_equal(found.keypoints, expected.keypoints)
    assert found.images == expected.images and found.skeleton.names == expected.skeleton.names
    assert (found.visibility == expected.visibility).all() == (to != "dlc_csv")


def test_coco_of_coco_keeps_what_is_no_label(start: Callable, tmp_path: Path) -> None:
    images = [{"id": 30 + n, "file_name": f"{n}.png", "width": 9, "height": 8, "license": n} for n in (0, 1)]
    subject = {"image_id": 30, "category_id": 5, "bbox": [1.0, 1.0, 5.0, 5.0], "area": 20.0, "iscrowd": 0}
    own = {"segmentation": [[1, 1, 2, 2, 3, 3]], "track_id": 8, "attributes": {"tame": True}}
    points = {"num_keypoints": 2, "keypoints": [1.0, 2.0, 2, 3.0, 4.0, 1]}
    kind = {"id": 5, "name": "mouse", "supercategory": "animal", "keypoints": ["l", "r"], "skeleton": [[1, 2]]}
    content = {
        "info": {"year": 2026},
        "licenses": [{"id": 1, "name": "CC"}],
        "images": images,
        "annotations": [{"id": 900, **subject, **points, **own}],
        "categories": [kind | {"color": "red"}],
    }
    path, output = written(tmp_path, json.dumps(content), "a.json"), tmp_path / "b.json"
    ending = start("convert", f"labels={path}", "to=coco", f"output={output}")
    assert ending.code == 0 and "left out" not in ending.out
    assert json.loads(output.read_text()) == content
    ending = start("convert", f"labels={path}", "to=csv", f"output={tmp_path / 'c.csv'}")
    assert "left out 2 id of images, 2 license of images, " in ending.out


def test_ids_that_repeat_carry_nothing_to_another_image(tmp_path: Path) -> None:
    images = [{"id": 30 + n, "file_name": f"{n}.png", "width": 9, "height": 8} for n in (0, 1)]
    subject = {"category_id": 5, "keypoints": [1.0, 2.0, 2]}
    content = {
        "images": images,
        "annotations": [{"id": 900, "image_id": 30 + n, "track_id": n, **subject} for n in (0, 1)],
        "categories": [{"id": 5, "name": "mouse", "keypoints": ["nose"]}],
    }
    path, output = written(tmp_path, json.dumps(content), "a.json"), tmp_path / "b.json"
    errors = RowErrors(str(path), "skip")
    labels = write_labels(read_labels(path, errors=errors), "coco", output, ImageFolder(tmp_path), errors)
    entry = json.loads(output.read_text())["annotations"][0]
    assert labels.images == ("0.png",) and "track_id" not in entry and labels.unread["track_id of annotations"] == 2


def test_a_stated_split_is_written_for_all_images(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, "image,nose_x,nose_y\na.png,1,2\nb.png,1,2\n", "a.csv"))
    path = write_stated_splits(replace(labels, splits={"b.png": "test"}), tmp_path / "a.csv")
    assert path is not None and path.read_text().splitlines() == ["image,split", "a.png,train", "b.png,test"]
    assert write_stated_splits(labels, tmp_path / "a.csv") is None


def test_a_stated_split_is_written_beside(start: Callable, tmp_path: Path, data_root: Path) -> None:
    from softpoint.labels.split import read_splits

    output, source = tmp_path / "tubes.csv", data_root / "keypoints" / "glue-tubes"
    ending = start("convert", f"labels={source}", "to=csv", f"output={output}")
    splits = tmp_path / "tubes.splits.csv"
    assert ending.code == 0 and f"data.splits={splits}" in ending.out
    found, expected = read_labels(output), read_labels(source)
    rows = read_splits(splits, found.images)
    assert all(expected.splits[found.images[row]] == name for name, part in rows.items() for row in part)
    splits.write_text("precious")
    words = [f"labels={source}", "to=csv", f"output={tmp_path / 'tubes.txt'}"]
    ending = start("convert", *words)
    assert ending.code == 1 and f"{splits}, for the split that" in ending.err and "overwrite=true" in ending.err
    assert splits.read_text() == "precious" and not (tmp_path / "tubes.txt").exists()
    assert start("convert", *words, "overwrite=true").code == 0 and len(read_splits(splits, found.images)) == len(rows)


def test_advice_names_the_keys_of_this_script(start: Callable, tmp_path: Path) -> None:
    labels = written(tmp_path, PLAIN.replace("3,4", "three,4"))
    ending = start("convert", f"labels={labels}", "to=csv", f"output={tmp_path / 'out.csv'}")
    assert ending.code == 1 and ending.err.endswith("or leave it out by on_error=skip")
    words = [f"labels={labels}", "to=csv", f"output={tmp_path / 'out.csv'}", "on_error=skip"]
    assert start("convert", *words).code == 0


def test_an_output_is_replaced_only_when_asked(start: Callable, tmp_path: Path) -> None:
    labels, output = written(tmp_path, PLAIN), written(tmp_path, "precious", "out/out.csv")
    words = [f"labels={labels}", "to=csv", f"output={output}"]
    ending = start("convert", *words)
    assert ending.code == 1 and "exists; name another file, or set overwrite=true" in ending.err
    assert output.read_text() == "precious"
    ending = start("convert", *words, "overwrite=true")
    assert ending.code == 0 and f"train on it with data.labels={output} data.images={tmp_path}" in ending.out
    assert_same(read_labels(output), read_labels(labels))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["to=cocoa"], r"error: to=cocoa is not a format to write; choose from dlc_csv, csv, coco"),
        (["to=coco"], r"rows cannot be used"),
        (["to=csv", "labels=nowhere.csv"], r"error: labels nowhere.csv do not exist"),
        (["to=csv", "format=dlc"], r"error: format='dlc'"),
        (["to=csv", "output=."], r"error: output=. is a folder"),
    ],
)
def test_mistakes_are_explained(start: Callable, tmp_path: Path, words: list[str], message: str) -> None:
    given = [f"labels={written(tmp_path, PLAIN)}", f"output={tmp_path / 'out'}"]
    ending = start("convert", *(w for w in given if w.split("=")[0] not in " ".join(words)), *words)
    assert ending.code == 1 and message in ending.err and "Traceback" not in ending.err
    assert not (tmp_path / "out").exists()


def test_images_that_are_missing_can_be_left_out(start: Callable, tmp_path: Path) -> None:
    labels, output = written(tmp_path, PLAIN), tmp_path / "out.json"
    images(tmp_path, read_labels(labels).select([1]))
    ending = start("convert", f"labels={labels}", "to=coco", f"output={output}", "on_error=skip")
    assert ending.code == 0 and "left out 2 that cannot be used" in ending.out
    assert f"wrote {output} (coco): 1 subjects" in ending.out and read_labels(output).images == ("v/b.png",)


def test_images_of_bands_are_merged_and_state_their_sizes(start: Callable, tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    for name, shape in (("a", (20, 30, 5)), ("b", (24, 16, 7))):
        (tmp_path / name).mkdir()
        bands = np.zeros(shape, np.uint8)
        tifffile.imwrite(tmp_path / name / "1.tif", bands, photometric="minisblack", planarconfig="contig")
        written(tmp_path / name, "image,nose_x,nose_y\n1.tif,2.5,1\n")
    sets = f"labels=[{tmp_path / 'a/labels.csv'},{tmp_path / 'b/labels.csv'}]"
    ending = start("convert", sets, "to=coco", f"output={tmp_path / 'out.json'}")
    assert ending.code == 0, ending.err
    sizes = {subject.image: subject.size for subject in read_labels(tmp_path / "out.json").subjects}
    assert sizes == {"a/1.tif": (20, 30), "b/1.tif": (24, 16)}


def points(labels: Labels) -> list:
    """Each labeled point with its image and keypoint, in no order."""
    names = labels.skeleton.names
    return sorted(
        (s.image, names[k], *map(float, s.keypoints[k])) for s in labels.subjects for k in np.flatnonzero(s.visibility)
    )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(random_labels())
def test_no_way_through_the_formats_loses_a_point(labels: Labels) -> None:
    labels = labels.select(i for i, s in enumerate(labels.subjects) if s.visibility.any() and not s.crowd)
    if not len(labels):
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images(folder, labels, (2, 3))
        for first in WRITERS:
            one = folder / f"one_{first}"
            write(labels, first, one, folder)
            for second in WRITERS:
                two = folder / f"two_{second}"
                write(read_labels(one, missing="none"), second, two, folder)
                assert points(read_labels(two, missing="none")) == points(labels), (first, second)


def write(labels: Labels, to: str, path: Path, folder: Path) -> None:
    unsized = replace(labels, subjects=tuple(replace(s, size=(0, 0)) for s in labels.subjects))
    write_labels(unsized, to, path, ImageFolder(folder), RowErrors(str(path)))


# Labels, and the folder that their paths start from where it is another.
SETS = {
    "mirror-mouse": ("mirror-mouse", None),
    "dlc-openfield": ("dlc-openfield", None),
    "fly-wing": ("labels/fly-wing.csv", "fly-wing"),
    "fly-wing-plain": ("fly-wing/landmark-examples/csv-example.csv", "fly-wing/image-examples"),
    "glue-tubes-single": ("labels/glue-tubes-single.csv", "glue-tubes"),
    "glue-tubes": ("glue-tubes", None),
    "coco-sample": ("coco-sample/test_coco.json", None),
}


@pytest.mark.parametrize("to", ["coco", "dlc_csv", "csv"])
@pytest.mark.parametrize("name", SETS)
def test_real_sets(data_root: Path, tmp_path: Path, name: str, to: str) -> None:
    source, images = SETS[name]
    labels = read_labels(data_root / "keypoints" / source)
    folder = Path(labels.folder) if images is None else data_root / "keypoints" / images
    write_labels(labels, to, tmp_path / "out", ImageFolder(folder, ReadOptions(exif="ignore")), RowErrors(name))
    found = read_labels(tmp_path / "out")
    assert points(found) == points(labels) and set(found.images) == set(labels.images)
    assert set(found.skeleton.names) == set(labels.skeleton.names)
    if to != "dlc_csv":
        assert len(found) == len(labels)
        np.testing.assert_array_equal(found.visibility, labels.visibility)
    if to == "csv":
        assert_same(found, replace(labels, skeleton=replace(labels.skeleton, edges=())))


def test_two_sizes_of_one_image_are_refused(start: Callable, tmp_path: Path) -> None:
    text = "image,subject,image_height,image_width,nose_x,nose_y\na.png,m1,10,12,1,2\n./a.png,m2,12,10,3,4\n"
    ending = start("convert", f"labels={written(tmp_path, text)}", "to=coco", f"output={tmp_path / 'out.json'}")
    assert ending.code == 1 and not (tmp_path / "out.json").exists()
    assert "line 3: it states that ./a.png is 10 wide and 12 high, but an earlier row 12 and 10" in ending.err
