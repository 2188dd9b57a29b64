"""Split files are written and read back, and invalid ones are refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from softpoint.labels.formats import read_labels
from softpoint.labels.partition import carve_val
from softpoint.labels.split import SPLITS, read_splits, write_splits

SHARED = Path(os.environ.get("SOFTPOINT_DATA", Path(__file__).parents[2].parent / "shared")) / "keypoints"
IMAGES = ("v/a.png", "v/b.png", "v/c.png", "v/d.png")
FILE = "image,split\nv/a.png,train\nv/b.png,test\nv/c.png,train\nv/d.png,val\n"


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "splits.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def covers(parts: list[np.ndarray], n: int) -> bool:
    return np.array_equal(np.sort(np.concatenate(parts)), np.arange(n))


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
def test_spellings(tmp_path: Path, text: str) -> None:
    splits = read_splits(written(tmp_path, text), IMAGES)
    assert {name: part.tolist() for name, part in splits.items()} == {
        "train": [0, 2],
        "val": [3],
        "test": [1],
    }


def test_indices_follow_the_labels_not_the_file(tmp_path: Path) -> None:
    splits = read_splits(written(tmp_path, FILE), IMAGES[::-1])
    assert {name: part.tolist() for name, part in splits.items()} == {
        "train": [1, 3],
        "val": [0],
        "test": [2],
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (FILE.replace("v/c.png,train\n", ""), r"lacks 1 of 4 labeled images, first v/c.png; add their rows"),
        (FILE.replace("v/c.png,train", "v/c.png,trian"), r"line 4: split 'trian'; did you mean 'train'"),
        (FILE + "v/a.png,test\n", r"lines 2 and 6 both place v/a.png"),
        (FILE.replace("test", "val"), r"has no test image among the 4 labeled"),
        (FILE.replace("train", "val"), r"has no train image"),
        (
            FILE.replace("image,split", "path,set"),
            r"header is 'path,set'; it must be 'image,split' or ',split'",
        ),
        (FILE.replace("image,split\n", ""), r"its header is 'v/a.png,train'"),
        (FILE + "v/e.png\n", r"line 6: \['v/e.png'\] is not an image and its split"),
        (FILE + ",train\n", r"line 6: .* is not an image and its split"),
        ("", r"its header is ''"),
        (b"image,split\n\xff,train\n", r"is not a CSV in UTF-8"),
        ("image,split\n" + "x" * 200_000, r"is not a CSV in UTF-8"),
    ],
)
def test_invalid_files_are_refused(tmp_path: Path, text: str | bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
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
    back = read_splits(path, images)
    assert all(np.array_equal(back[name], splits[name]) for name in SPLITS)
    assert [file.name for file in path.parent.iterdir()] == ["splits.csv"]


def test_an_image_of_several_subjects_is_written_once(tmp_path: Path) -> None:
    images, splits = ["a", "a", "b", "c", "c"], {"train": [0, 1], "val": [2], "test": [3, 4]}
    write_splits(tmp_path / "splits.csv", images, splits)
    assert (tmp_path / "splits.csv").read_text() == "image,split\na,train\nb,val\nc,test\n"
    back = read_splits(tmp_path / "splits.csv", images)
    assert {name: rows.tolist() for name, rows in back.items()} == splits


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


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no real data sets at {SHARED}; set SOFTPOINT_DATA")
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
def test_real_splits(name: str, sizes: tuple[int, ...]) -> None:
    labels = read_labels(SHARED / "labels" / f"{name}.csv")
    splits = read_splits(SHARED / "labels" / f"{name}.splits.csv", labels.images)
    assert tuple(len(splits[part]) for part in SPLITS) == sizes and covers(list(splits.values()), len(labels))
    if name == "ultrasound-tongue":
        kept, val = carve_val(labels, splits["train"], np.random.default_rng(0), 0.1)
        assert len(val) and not {labels.groups[i] for i in kept} & {labels.groups[i] for i in val}
