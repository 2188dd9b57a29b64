"""One loader of labels: read, selected, validated, scanned and filtered to samples."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.labels import images, written
from helpers.training import spoil
from softpoint.labels.formats import read_labels
from softpoint.labels.load import load_labels
from softpoint.labels.row_errors import RefusedLabelsError
from softpoint.labels.source import LabelSource
from softpoint.paths import user_cache_dir

THREE = "image,subject,nose_x,nose_y,tail_x,tail_y\na.png,m1,1,2,5,8\nb.png,,1,2,,\n./a.png,m2,3,4,9,6\n"


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = written(tmp_path, THREE)
    images(tmp_path, read_labels(path))
    return path


def test_an_image_with_two_subjects_is_refused_or_its_second_one_skipped(labels: Path) -> None:
    with pytest.raises(ValueError, match=r"line 4: labels ./a.png, which line 2 labels too; .*data.mode=instance"):
        load_labels(LabelSource(labels))
    loaded = load_labels(LabelSource(labels, on_error="skip"))
    assert loaded.labels.places == ("line 2", "line 3") and loaded.boxes is None
    assert loaded.sizes.tolist() == [[10, 12], [10, 12]] and len(loaded.errors.skipped) == 1


def test_in_instance_mode_every_subject_with_a_box_is_a_sample(labels: Path) -> None:
    loaded = load_labels(LabelSource(labels, mode="instance", boxes="keypoints"))
    assert loaded.labels.places == ("line 2", "line 3", "line 4")
    assert loaded.boxes is not None and np.isfinite(loaded.boxes).all()
    np.testing.assert_allclose(loaded.shapes[0], [7, 5])


def test_a_damaged_image_is_refused_or_skipped_with_its_subjects(labels: Path) -> None:
    spoil(labels.parent / "a.png")
    source = LabelSource(labels, mode="instance")
    with pytest.raises(ValueError, match=r"line 2: image .*a\.png (.|\n)*line 4: image .*a\.png"):
        load_labels(source)
    assert load_labels(LabelSource(labels, mode="instance", on_error="skip")).labels.places == ("line 3",)


def test_errors_of_all_kinds_are_raised_together(tmp_path: Path) -> None:
    rows = [
        "a.png,many,2,3,4",
        "v/b.png,1,2,3,4",
        "walk/c.png,1,2,300,4",
        "d.png,1,2,3,4",
        "e.png,1,2,3,4",
        "walk/f.png,1,2,3,4",
    ]
    path = written(tmp_path, "image,nose_x,nose_y,ear_x,ear_y\n" + "\n".join([*rows, rows[4]]) + "\n")
    images(tmp_path, read_labels(path, on_error="skip"))
    (tmp_path / "v" / "b.png").rename(tmp_path / "v" / "bb.png")
    (tmp_path / "walk").rename(tmp_path / "wallk")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8)).save(tmp_path / "d.png")
    spoil(tmp_path / "d.png")  # which its header does not show
    with pytest.raises(RefusedLabelsError) as error:
        load_labels(LabelSource(path))
    stated = [line.strip() for line in str(error.value).splitlines() if "line " in line]
    expected = [
        r"line 2: .*'many' is not a finite number",
        r"line 8: .*labeled in line 6 too",
        r"line 3: .*b.png does not exist; .*; did you mean v/bb.png\?",
        r"line 4: .*c.png does not exist; .*; did you mean wallk/c.png\?",
        r"line 7: .*f.png does not exist; .*; did you mean wallk/f.png\?",
        r"labels.csv line 5: image .*d\.png",
    ]
    assert len(stated) == len(expected)
    assert all(
        re.match(pattern, line.removeprefix(f"{tmp_path}/")) for pattern, line in zip(expected, stated, strict=True)
    )
    (tmp_path / "wallk").rename(tmp_path / "walk")
    with pytest.raises(RefusedLabelsError, match=r"line 4: ear at \(300, 4\) is outside its image"):
        load_labels(LabelSource(path))
    path.write_text(path.read_text().replace("png,1", "png,one"))  # no row is left, which is no error of its own
    with pytest.raises(RefusedLabelsError, match=r"7 rows cannot be used(.|\n)*\nleave it empty for unlabeled$"):
        load_labels(LabelSource(path))


def test_unused_bits_are_refused_and_chosen(labels: Path, caplog: pytest.LogCaptureFixture) -> None:
    wide = Image.fromarray(np.full((10, 12), 4000, np.uint16))
    wide.save(labels.parent / "b.png", format="TIFF", save_all=True, append_images=[wide])
    source = LabelSource(labels, mode="instance")
    with pytest.raises(ValueError, match=r"labels.csv: the 16-bit images use 12 bits \(b.png .*; set data.bits=12"):
        load_labels(source)
    assert load_labels(source, audit=True).scans["b.png"].bits == 12
    loaded = load_labels(replace(source, bits=12))
    assert (loaded.image_folder.read("b.png") == 250).all()
    assert "of 1 images with several pages or frames the first is read; name another as b.png/000001" in caplog.text
    for bits in (7, 12.5, 17):
        with pytest.raises(ValueError, match=rf"data.bits={bits} must be a whole number from 8 to 16, or null"):
            load_labels(replace(source, bits=bits))


def test_chosen_images_alone_are_loaded(labels: Path) -> None:
    assert load_labels(LabelSource(labels), images=["./b.png"]).labels.places == ("line 3",)
    with pytest.raises(ValueError, match=r"lacks 1 of the 2 images of the stored split, first c.png"):
        load_labels(LabelSource(labels), images=["b.png", "c.png"])


def test_an_audit_keeps_all_that_can_be_read(labels: Path) -> None:
    labels.write_text(THREE + "gone.png,,1,2,3,4\nb.png,,many,2,3,4\nc.png,1\n")
    loaded = load_labels(LabelSource(labels), audit=True)
    assert loaded.labels.images == ("a.png", "b.png", "./a.png", "gone.png", "b.png")
    assert loaded.sizes.tolist() == [[10, 12], [10, 12], [10, 12], [0, 0], [10, 12]]
    assert "does not exist" in str(loaded.scans["gone.png"].error)
    assert loaded.labels.visibility[-1].tolist() == [0, 2]
    assert [(row.image, row.part) for row in loaded.errors.skipped] == [("b.png", "nose"), ("c.png", "")]


def test_a_source_reads_no_file_and_checks_its_options() -> None:
    LabelSource("nowhere.csv")
    with pytest.raises(ValueError, match=r"data.mode='imgae': did you mean 'image'"):
        LabelSource("nowhere.csv", mode="imgae")


def test_images_are_opened_once(labels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from softpoint.images import ImageFolder

    source = LabelSource(labels, mode="instance")
    first = load_labels(source)
    for name in ("size", "decoded"):
        monkeypatch.setattr(ImageFolder, name, lambda self, image: pytest.fail(f"{image} is opened again"))
    assert load_labels(source).scans == first.scans and any(user_cache_dir().glob("*.scans.json"))


@pytest.mark.parametrize("name", ["boxes.csv", "boxes_detections.json", "boxes_instances.json"])
def test_boxes_in_place_of_labels_are_told(data_root: Path, name: str) -> None:
    path = data_root / "cases" / "missing" / name
    with pytest.raises(ValueError, match=f"{name} holds boxes and names no keypoint; .* data.boxes={path}"):
        load_labels(LabelSource(path))


def test_crops_are_those_of_a_detector_where_it_found_the_subject(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = ["a.png,1,1,3,3", "a.png,6,6,8,8", "b.png,2,2,4,4"]
    labels = written(tmp_path, "\n".join(["image,p_x,p_y,q_x,q_y", *rows]), "labels.csv")
    images(tmp_path, read_labels(labels))
    own = load_labels(LabelSource(labels, mode="instance")).boxes
    assert own is not None
    # The first box overlaps both subjects of a.png, the second one more; the third holds no point.
    boxes = ["a.png,0,0,8.2,8.2", "a.png,5.5,5.5,8.5,8.5", "b.png,8,8,9,9"]
    file = written(tmp_path, "\n".join(["image,box_left,box_top,box_right,box_bottom", *boxes]), "boxes.csv")
    found = load_labels(LabelSource(labels, mode="instance", boxes=str(file))).boxes
    assert found is not None and found.tolist() == [[0, 0, 8.2, 8.2], [5.5, 5.5, 8.5, 8.5], own[2].tolist()]
    assert "1 of 3 subjects have no box in" in caplog.text and "1 of its 3 boxes are of no subject" in caplog.text
    with pytest.raises(
        ValueError, match=r"boxes.csv is for crops of single subjects; set data.mode=instance or multi too"
    ):
        LabelSource(labels, boxes=str(file))


@pytest.mark.parametrize(
    ("labels", "named"),
    [(None, "null"), ("", ""), ([""], r"\[''\]"), ([], r"\[\]"), (3, "3"), (["a.csv", 3], r"\['a.csv', 3\]")],
)
def test_labels_that_name_no_file_are_refused(labels: Any, named: str) -> None:
    with pytest.raises(ValueError, match=f"^data.labels={named}: give a label file or a project's folder"):
        LabelSource(labels)
