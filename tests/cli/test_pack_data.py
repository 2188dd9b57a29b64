"""The command that packs a set for streaming."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.data import labeled_data, same
from helpers.streaming import open_streamed
from helpers.training import SMALL, write_labels

pytest.importorskip("litdata")

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*many workers.*")


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return write_labels(tmp_path_factory.mktemp("labels"), count=24, missing=[(3, 1)])


def packing(labels: list[str], output: Path) -> list[str]:
    return [*labels, "data.val=0.2", "data.test=0.2", "seed=2", "chunk_mb=0.05", f"output={output}"]


def test_the_split_equals_that_of_training(start: Callable, labels: list[str], tmp_path: Path) -> None:
    ending = start("pack", *packing(labels, tmp_path / "set"))
    assert ending.code == 0, ending.err
    folder = Path(labels[2].removeprefix("data.images="))
    plain = labeled_data(folder / "labels.csv", seed=2, val=0.2, test=0.2)
    packed = open_streamed(tmp_path / "set", seed=2, augment=None)
    for split, source in plain.sources.items():
        shards = packed.sources[split].shards
        paths = [shards.read(index).path for index in range(len(shards))]
        assert sorted(paths) == sorted(source.labels.images)
        assert split == "train" or paths == list(source.labels.images)
    counts = {split: len(source) for split, source in plain.sources.items()}
    assert json.loads((tmp_path / "set" / "softpoint.json").read_text())["samples"] == counts
    assert f"4 keypoints, samples {counts['train']} train, {counts['val']} val, {counts['test']} test" in ending.out
    assert all(split in ending.out for split in counts)  # progress
    assert not list((tmp_path / "run").glob("*"))  # nothing beside the set


def test_the_printed_command_trains(start: Callable, labels: list[str], tmp_path: Path) -> None:
    ending = start("pack", *packing(labels, tmp_path / "set"))
    words = next(line for line in ending.out.splitlines() if line.startswith("use it: ")).split()
    assert words[2:5] == ["softpoint", "train", "data=streaming"]
    assert (Path.cwd() / words[5].removeprefix("data.folder=")).resolve() == tmp_path / "set"
    ending = start("train", *words[4:], *SMALL, "backbone=small", "backbone.width=8", "augment=none")
    assert ending.code == 0 and "mean position / epe" in ending.out, ending.err


def test_real_labels_are_packed_unchanged(data_root: Path, start: Callable, tmp_path: Path) -> None:
    labels = data_root / "keypoints" / "labels" / "mirror-mouse.csv"
    if not labels.is_file():
        pytest.skip(f"no {labels}")
    images = data_root / "keypoints" / "mirror-mouse"
    ending = start("pack", "data=custom", f"data.labels={labels}", f"data.images={images}", f"output={tmp_path / 's'}")
    assert ending.code == 0, ending.err
    plain = labeled_data(labels, images=images, size=256, batch_size=8)
    packed = open_streamed(tmp_path / "s", size=256, batch_size=8, augment=None)
    assert packed.skeleton == plain.skeleton
    for index in (0, 5):
        a, b = plain.dataset("test")[index], packed.dataset("test")[index]
        assert same(a, b)


def test_mistakes_are_explained(start: Callable, labels: list[str], tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("")
    ending = start("pack", *packing(labels, tmp_path / "full"))
    assert ending.code == 1 and "full exists and is not an empty folder; choose a new one" in ending.err
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
    ending = start("pack", *labels)
    assert ending.code == 1 and "output has no value; add to the command line: output=..." in ending.err
    ending = start("train", "data=streaming", f"data.folder={tmp_path}")
    assert ending.code == 1 and "softpoint.json is missing; the folder is not a packed set" in ending.err


def test_an_image_that_cannot_be_read_stops_packing(start: Callable, labels: list[str], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(Path(labels[2].removeprefix("data.images=")), tmp_path / "labels"))
    broken = folder / "video1" / "img05.png"
    broken.write_bytes(broken.read_bytes()[:-200])
    words = ["data=custom", f"data.labels={folder / 'labels.csv'}", f"data.images={folder}"]
    ending = start("pack", *packing(words, tmp_path / "set"))
    assert ending.code == 1 and "img05.png cannot be decoded" in ending.err
    ending = start("train", "data=streaming", f"data.folder={tmp_path / 'set'}")
    assert ending.code == 1 and "or its packing was interrupted" in ending.err
