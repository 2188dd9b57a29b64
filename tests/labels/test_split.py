"""Groups, splits that a label file states, and split files, which are written and read back."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.labels import labels_of, written
from softpoint.labels.formats import read_labels
from softpoint.labels.groups import with_groups
from softpoint.labels.partition import carve_val
from softpoint.labels.split import SPLITS, Split, read_splits, split_labels, stated_split, write_splits

IMAGES = ("v/a.png", "v/b.png", "v/c.png", "v/d.png")
FILE = "image,split\nv/a.png,train\nv/b.png,test\nv/c.png,train\nv/d.png,val\n"


def test_a_stated_split_is_used_and_without_test_its_val_is(caplog: pytest.LogCaptureFixture) -> None:
    images = [f"{split}/{i}.png" for split, count in (("a", 20), ("b", 5)) for i in range(count)]
    labels = labels_of(images)
    assert stated_split(labels, 0, 0.2, 0.1) is None
    names = {image: "train" if image.startswith("a") else "val" for image in images}
    splits = stated_split(replace(labels, splits=names), 0, 0.2, 0.1)
    assert splits is not None
    assert splits["test"].tolist() == list(range(20, 25)) and len(splits["val"]) == 4 and len(splits["train"]) == 16
    assert all(record.levelno < logging.WARNING for record in caplog.records)
    incomplete = stated_split(replace(labels, splits=dict(list(names.items())[-4:])), 0, 0.2, 0.1)
    assert incomplete is not None and incomplete["test"].tolist() == list(range(21, 25))
    assert "states no split for 21 of its 25 images, first a/0.png, which are trained on" in caplog.text


@pytest.mark.parametrize("in_file", [True, False])
@pytest.mark.parametrize(
    ("val", "test", "expected"),
    [(0.1, 0.1, ([0, 2], [3], [1])), (0, 0.1, ([0, 2, 3], [], [1])), (0.1, 0, ([0, 1, 2], [3], [])), (0, 0, None)],
)
def test_a_fraction_of_0_trains_on_what_a_file_or_the_labels_hold_out(
    tmp_path: Path, in_file: bool, val: float, test: float, expected: tuple[list[int], ...] | None
) -> None:
    labels, file = labels_of(list(IMAGES)), tmp_path / "splits.csv"
    file.write_text(FILE)
    if not in_file:
        labels = replace(labels, splits=dict(line.split(",") for line in FILE.splitlines()[1:]))
    splits = split_labels(labels, Split(file if in_file else None, val=val, test=test), 0)
    train, held_val, held_test = expected or ([0, 1, 2, 3], [], [])
    assert as_lists(splits) == {"train": train, "val": held_val, "test": held_test}


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "not a regular expression"),
        (r"mouse\d", "in 1 of 2 paths, first 'rat1/b.png'"),
        ("(zzz)?s", "finds nothing in 2 of 2 paths"),
        ("png", "finds 'png' in every path"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"data\.group") as caught:
        split_labels(with_groups(labels_of(["mouse1/a.png", "rat1/b.png"]), pattern), Split(group=pattern), 0)
    assert message in str(caught.value)


def as_lists(splits: dict[str, np.ndarray]) -> dict[str, list[int]]:
    return {name: rows.tolist() for name, rows in splits.items()}


@pytest.mark.parametrize(
    "text",
    [
        FILE,
        FILE.replace("image,", ","),
        FILE.replace("val", "validation"),
        FILE.replace("val", "Dev").replace("train", "TRAIN"),
        "\ufeff" + FILE.replace("\n", "\r\n").replace("/", "\\") + "\r\n",
        FILE.replace("v/a", "./v/a"),
    ],
)
def test_spellings_read_the_same(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    assert as_lists(read_splits(path, IMAGES)) == {"train": [0, 2], "val": [3], "test": [1]}
    # The indices follow the labels, not the file.
    assert as_lists(read_splits(path, IMAGES[::-1])) == {"train": [1, 3], "val": [0], "test": [2]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FILE.replace("v/c.png,train\n", ""), r"lacks 1 of 4 labeled images, first v/c.png; add their rows"),
        (FILE.replace("v/c.png,train", "v/c.png,trian"), r"line 4: split 'trian'; did you mean 'train'"),
        (FILE + "v/a.png,test\n", r"lines 2 and 6 both place v/a.png"),
        (FILE.replace("test", "val"), r"has no test image among the 4 labeled"),
        (FILE.replace("train", "val"), r"has no train image"),
        (FILE.replace("image,split", "path,set"), r"header is 'path,set'; it must be 'image,split' or ',split'"),
        (FILE.replace("image,split\n", ""), r"its header is 'v/a.png,train'"),
        (FILE + "v/e.png\n", r"line 6: \['v/e.png'\] is not an image and its split"),
        (FILE + ",train\n", r"line 6: .* is not an image and its split"),
        ("", r"its header is ''"),
        (b"image,split\n\xff,train\n", r"is not a CSV in UTF-8"),
        ("image,split\n" + "x" * 200_000, r"is not a CSV in UTF-8"),
    ],
)
def test_invalid_files_are_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_splits(written(tmp_path, text), IMAGES)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"split file .* does not exist"):
        read_splits(tmp_path / "nowhere.csv", IMAGES)


def test_images_without_labels_are_left_out_with_a_warning(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="1 of its images are left out, not being labeled; first v/b.png"):
        splits = read_splits(written(tmp_path, FILE + "v/e.png,test\n"), ("v/a.png", "v/c.png", "v/d.png", "v/e.png"))
    assert splits["test"].tolist() == [3]


def test_written_splits_are_read_back(tmp_path: Path) -> None:
    images = [f"vidéo, 1/img{i}.png" for i in range(20)]
    splits = {"train": np.arange(0, 16), "val": np.array([16, 17]), "test": np.array([18, 19])}
    path = tmp_path / "run" / "splits.csv"
    for _ in range(2):  # writing over an old file too
        write_splits(path, images, splits)
    assert as_lists(read_splits(path, images)) == as_lists(splits)
    assert [file.name for file in path.parent.iterdir()] == ["splits.csv"]


def test_an_image_of_several_subjects_is_written_once(tmp_path: Path) -> None:
    images, splits = ["a", "a", "b", "c", "c"], {"train": [0, 1], "val": [2], "test": [3, 4]}
    write_splits(tmp_path / "splits.csv", images, splits)
    assert (tmp_path / "splits.csv").read_text() == "image,split\na,train\nb,val\nc,test\n"
    assert as_lists(read_splits(tmp_path / "splits.csv", images)) == splits


def test_interrupted_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, FILE)
    with pytest.raises(UnicodeEncodeError):
        write_splits(path, ["a", "\ud800"], {"train": [0], "test": [1]})
    assert path.read_text() == FILE and len(list(tmp_path.iterdir())) == 1

    def interrupted(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_splits(path, ["a", "b"], {"train": [0], "test": [1]})
    assert path.read_text() == FILE and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("mirror-mouse", (72, 9, 9)),
        ("dlc-openfield", (93, 0, 23)),
        ("fly-wing", (46, 0, 12)),
        ("glue-tubes-single", (37, 0, 5)),
        ("ultrasound-tongue", (548, 0, 1026)),
    ],
)
def test_real_splits_cover_all_images(data_root: Path, name: str, sizes: tuple[int, ...]) -> None:
    folder = data_root / "keypoints/labels"
    labels = read_labels(folder / f"{name}.csv")
    splits = read_splits(folder / f"{name}.splits.csv", labels.images)
    assert tuple(len(splits[part]) for part in SPLITS) == sizes
    assert sorted(np.concatenate(list(splits.values()))) == list(range(len(labels)))
    if name == "ultrasound-tongue":
        kept, val = carve_val(labels, splits["train"], np.random.default_rng(0), 0.1)
        assert len(val) and not {labels.groups[i] for i in kept} & {labels.groups[i] for i in val}
