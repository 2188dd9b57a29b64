"""Splits are disjoint, cover everything, are repeatable, and a file that says otherwise is refused."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softpoint.data.formats import read_labels
from softpoint.data.splits import SPLITS, carve_val, read_splits, seeded_split, write_splits

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
        (FILE.replace("v/c.png,train\n", ""), r"lacks 1 of 4 labelled images, first v/c.png; add their rows"),
        (FILE.replace("v/c.png,train", "v/c.png,trian"), r"line 4: split 'trian'; did you mean 'train'"),
        (FILE + "v/a.png,test\n", r"lines 2 and 6 both place v/a.png"),
        (FILE.replace("test", "val"), r"has no test image among the 4 labelled"),
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
def test_mistakes_are_named(tmp_path: Path, text: str | bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_splits(written(tmp_path, text), IMAGES)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"split file .* does not exist"):
        read_splits(tmp_path / "nowhere.csv", IMAGES)


def test_images_without_labels_are_left_out_aloud(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="1 of its images are left out, not being labelled; first v/b.png"):
        splits = read_splits(written(tmp_path, FILE + "v/e.png,test\n"), ("v/a.png", "v/c.png", "v/d.png", "v/e.png"))
    assert splits["test"].tolist() == [3]


@settings(deadline=None, max_examples=200)
@given(st.integers(3, 300), st.integers(0, 99), st.integers(1, 12), st.floats(0.01, 0.45), st.floats(0.01, 0.45))
def test_seeded_split_is_a_partition(n: int, seed: int, groups: int, val: float, test: float) -> None:
    names = [f"video{i * groups // n}" for i in range(n)]
    for by in (None, names):
        splits = seeded_split(n, seed, val, test, groups=by)
        assert list(splits) == list(SPLITS) and all(len(part) for part in splits.values())
        assert covers(list(splits.values()), n)
        again = seeded_split(n, seed, val, test, groups=by)
        assert all(np.array_equal(splits[name], again[name]) for name in SPLITS)
    if len(set(names)) >= 3:
        assert sum(len({names[i] for i in part}) for part in splits.values()) == len(set(names))


def test_seeded_split_has_the_asked_sizes_and_depends_on_the_seed() -> None:
    splits = seeded_split(200, seed=1, val=0.1, test=0.2)
    assert [len(splits[name]) for name in SPLITS] == [140, 20, 40]
    assert not np.array_equal(splits["test"], seeded_split(200, seed=2, val=0.1, test=0.2)["test"])


def test_one_long_video_is_not_held_out() -> None:
    names = ["long"] * 90 + ["short"] * 4 + ["brief"] * 6
    for seed in range(10):
        assert set(seeded_split(100, seed, groups=names)["train"]) == set(range(90))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((2, 0), "2 labelled images cannot fill train, val and test; label at least 3"),
        ((50, 0, 0.6, 0.5), "val=0.6 and test=0.5 must be above 0 and sum to less than 1"),
        ((50, 0, 0.0, 0.5), "val=0.0"),
    ],
)
def test_impossible_splits(arguments: tuple[int, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        seeded_split(*arguments)


def test_carve_val(caplog: pytest.LogCaptureFixture) -> None:
    train = np.arange(100, 150)
    with caplog.at_level(logging.INFO, "softpoint"):
        kept, val = carve_val(train, seed=3)
    assert "5 of 50 training images became validation images (seed 3)" in caplog.text
    assert len(val) == 5 and np.array_equal(np.sort(np.concatenate([kept, val])), train)
    assert np.array_equal(val, carve_val(train, seed=3)[1])
    with pytest.raises(ValueError, match="name val images in the split file"):
        carve_val(np.array([4]), seed=0)


def test_carve_val_takes_whole_groups() -> None:
    groups = ["test"] * 10 + [f"video{i // 6}" for i in range(60)]
    kept, val = carve_val(np.arange(10, 70), seed=0, fraction=0.2, groups=groups)
    assert len(val) == 12 and not {groups[i] for i in kept} & {groups[i] for i in val}
    kept, val = carve_val(np.arange(5), seed=0, fraction=0.2, groups=groups)
    assert len(kept) == 4 and len(val) == 1


def test_written_splits_come_back(tmp_path: Path) -> None:
    images = [f"vidéo, 1/img{i}.png" for i in range(20)]
    splits = seeded_split(20, seed=0)
    path = tmp_path / "run" / "splits.csv"
    for _ in range(2):  # writing over an old file too
        write_splits(path, images, splits)
    back = read_splits(path, images)
    assert all(np.array_equal(back[name], splits[name]) for name in SPLITS)
    assert [file.name for file in path.parent.iterdir()] == ["splits.csv"]


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
        kept, val = carve_val(splits["train"], seed=0, groups=labels.groups)
        assert len(val) and not {labels.groups[i] for i in kept} & {labels.groups[i] for i in val}
