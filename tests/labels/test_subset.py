"""Subsets of the training images: nested, with every keypoint's share of labels; val and test stay."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.data import labeled_data
from helpers.training import read_csv, write_labels
from softpoint.data import LabeledData
from softpoint.labels.partition import limit_rows, nested_order
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton
from softpoint.labels.split import read_splits, write_splits


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    write_labels(folder)
    return folder


def opened(folder: Path, **changes: Any) -> LabeledData:
    return labeled_data(folder / "labels.csv", **{"val": 0.2, "test": 0.2, **changes})


def random_labels(count: int, frequencies: list[float], groups: int = 4) -> Labels:
    """Labels of `count` images, each keypoint labeled in about its fraction of them."""
    rng = np.random.default_rng(0)
    subjects = []
    for i in range(count):
        known = rng.random(len(frequencies)) < frequencies
        points = np.where(known[:, None], 1.0, np.nan)
        image = f"video{i % groups}/{i}.png"
        subjects.append(Subject(image, f"line {i}", np.repeat(points, 2, axis=1), np.where(known, 2, 0)))
    return Labels("random", ".", Skeleton(tuple(f"k{i}" for i in range(len(frequencies)))), tuple(subjects))


def test_a_smaller_subset_is_part_of_a_larger_one() -> None:
    labels = random_labels(60, [1.0, 0.9, 0.3])
    rows = np.arange(5, 60)
    for key in ("images", "groups"):
        most = 55 if key == "images" else 4
        found = [set(limit_rows(labels, rows, 3, **{key: n}).tolist()) for n in range(1, most + 1)]
        assert all(few < more for few, more in pairwise(found))
        assert found[-1] == set(rows.tolist())
        sizes = [len(part) if key == "images" else len({labels.groups[row] for row in part}) for part in found]
        assert sizes == list(range(1, most + 1))


def test_the_seed_decides_the_subset() -> None:
    labels = random_labels(60, [1.0, 0.5])
    drawn = [tuple(limit_rows(labels, np.arange(60), seed, 10)) for seed in (0, 0, 1, 2)]
    assert drawn[0] == drawn[1] and len(set(drawn)) == 3


def test_whole_groups_come_before_images_of_them() -> None:
    labels = random_labels(40, [1.0])
    part = limit_rows(labels, np.arange(40), 0, 7, 2)
    whole = limit_rows(labels, np.arange(40), 0, None, 2)
    assert len(part) == 7 and len(whole) == 20 and set(part) < set(whole)
    assert len({labels.groups[row] for row in whole}) == 2


def test_every_prefix_shares_rare_labels_out() -> None:
    """Against chance: how far the rarest keypoint's share strays from that of the images, over many seeds."""
    labels = random_labels(200, [1.0, 0.5, 0.1])
    present = (labels.visibility > 0).astype(int)
    strays: dict[str, list[float]] = {"ours": [], "chance": []}
    for seed in range(20):
        ours = nested_order(np.ones(200), present, np.random.default_rng(seed), 200)
        chance = np.random.default_rng(seed).permutation(200)
        for name, order in (("ours", ours), ("chance", chance)):
            share = present[order].cumsum(0)[:, 2] / present[:, 2].sum()
            strays[name].append(float(np.abs(share - np.arange(1, 201) / 200).max()))
    assert np.mean(strays["ours"]) < 0.5 * np.mean(strays["chance"])


def test_images_without_labels_come_last() -> None:
    labels = random_labels(30, [0.5])
    some = np.flatnonzero((labels.visibility > 0).any(1))
    assert set(limit_rows(labels, np.arange(30), 0, len(some))) == set(some)


def test_subjects_of_one_image_stay_together(tmp_path: Path) -> None:
    write_labels(tmp_path)
    rows = ["image,subject,nose_x,nose_y,tail_x,tail_y"]
    for i in range(12):
        path = f"video{i % 4}/img{i:02}.png"
        rows += [f"{path},anna,10,20,30,40", f"{path},otto,20,15,33,44.5"]
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    data = opened(tmp_path, mode="instance", limit=3)
    images = [data.labels.images[row] for row in data.splits["train"]]
    assert len(images) == 6 and len(set(images)) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"limit": 0}, r"data.limit=0: there are 6 training images; choose a number from 1 to that, or null"),
        ({"limit": 7}, r"data.limit=7: there are 6 training images"),
        ({"limit": 2.5}, r"data.limit=2.5: there are 6 training images"),
        ({"limit_groups": 3}, r"data.limit_groups=3: there are 2 training groups; choose"),
        ({"limit_groups": -1}, r"data.limit_groups=-1: "),
        ({"limit_groups": 1, "limit": 4}, r"data.limit=4: there are 3 training images"),
    ],
)
def test_an_impossible_limit_is_refused(folder: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        opened(folder, **changes)


def test_val_and_test_stay_and_the_split_can_be_read_back(folder: Path, tmp_path: Path) -> None:
    whole, part = opened(folder), opened(folder, limit=4)
    for split in ("val", "test"):
        np.testing.assert_array_equal(whole.splits[split], part.splits[split])
    assert len(part.splits["train"]) == 4 and set(part.splits["train"]) < set(whole.splits["train"])
    assert len(part.dataset("train")) == 4 and "4 train" in part.summary
    write_splits(tmp_path / "splits.csv", part.labels.images, part.splits)
    words = [row["split"] for row in read_csv(tmp_path / "splits.csv")]
    assert words.count("unused") == len(whole.splits["train"]) - 4 and words.count("train") == 4
    again = read_splits(tmp_path / "splits.csv", part.labels.images)
    assert {name: rows.tolist() for name, rows in again.items()} == {
        name: rows.tolist() for name, rows in part.splits.items()
    }


def test_a_run_resumes_only_with_the_same_limit(folder: Path, tmp_path: Path) -> None:
    part = opened(folder, limit=4)
    state = part.state_dict()
    opened(folder, limit=4).load_state_dict(state)
    with pytest.raises(ValueError, match=r"another split: 2 images differ in train"):
        opened(folder).load_state_dict(state)
    # As the message advises: its own split file says what was left out.
    write_splits(tmp_path / "splits.csv", part.labels.images, part.splits)
    opened(folder, splits=tmp_path / "splits.csv").load_state_dict(state)
