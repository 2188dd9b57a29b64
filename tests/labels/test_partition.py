"""Partitions divide no group and share labels out evenly; subsets are nested, and leave val and test as they are."""

from __future__ import annotations

import logging
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.data import labeled_data
from helpers.labels import labels_of
from helpers.training import read_csv, write_labels
from softpoint.data import LabeledData
from softpoint.labels.groups import with_groups
from softpoint.labels.partition import _draw, fold_split, limit_rows, nested_order, seeded_split
from softpoint.labels.schema import Labels
from softpoint.labels.split import SPLITS, read_splits, write_splits


def videos(*counts: int) -> Labels:
    return labels_of([f"video{v}/{i:03}.png" for v, count in enumerate(counts) for i in range(count)])


@pytest.mark.parametrize(("val", "test"), [(0.0, 0.0), (0.2, 0.0), (0.0, 0.2)])
def test_a_fraction_of_zero_holds_nothing_out(val: float, test: float) -> None:
    splits = seeded_split(videos(5, 5, 5), 0, val, test)
    assert [bool(len(splits[split])) for split in SPLITS] == [True, bool(val), bool(test)]
    split_of(splits, 15)


def split_of(splits: dict[str, np.ndarray], count: int) -> list[str]:
    """Return the split of each row, which must be in exactly one."""
    names = {int(row): name for name, rows in splits.items() for row in rows}
    assert sum(map(len, splits.values())) == count and sorted(names) == list(range(count))
    return [names[row] for row in range(count)]


def seeded(labels: Labels, seed: int = 0, val: float = 0.1, test: float = 0.1, group: str | None = None) -> list[str]:
    splits = seeded_split(with_groups(labels, group), seed, val, test)
    assert tuple(splits) == SPLITS
    return split_of(splits, len(labels))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=3, max_size=12), st.integers(0, 5))
def test_test_images_share_no_video_with_others(counts: list[int], seed: int) -> None:
    labels = videos(*counts)
    names = seeded(labels, seed)
    assert set(names) == set(SPLITS)
    tested, others = (
        {g for g, n in zip(labels.groups, names, strict=True) if (n == "test") is t} for t in (True, False)
    )
    assert not tested & others


def test_many_videos_are_split_whole_by_the_fractions() -> None:
    labels = videos(*[10] * 20)
    names = seeded(labels)
    assert len(set(zip(names, labels.groups, strict=True))) == 20  # one split per video
    assert names.count("test") == 20 and names.count("val") == 20


def test_a_seed_means_the_same_split_in_every_version() -> None:
    """Checkpoints remember their split, and a run resumes only with the same one."""
    labeled = np.random.default_rng(0).random((24, 3)) < [1.0, 0.5, 0.2]
    labels = labels_of([f"{i}.png" for i in range(24)], labeled)
    splits = seeded_split(labels, 0, 0.2, 0.2)
    assert splits["val"].tolist() == [6, 12, 20, 22, 23] and splits["test"].tolist() == [1, 2, 8, 14, 17]
    assert seeded_split(labels, 1, 0.2, 0.2)["test"].tolist() != splits["test"].tolist()
    assert fold_split(labels, 0, 1, 4, 0.2)["test"].tolist() == [0, 2, 4, 9, 11, 19]
    assert limit_rows(labels, np.arange(24), 3, 5).tolist() == [0, 12, 13, 15, 23]


def test_a_single_video_is_split_by_image() -> None:
    names = seeded(videos(50))
    assert [names.count(name) for name in SPLITS] == [40, 5, 5]


def test_two_videos_are_tested_on_one_and_validated_within_the_other(caplog: pytest.LogCaptureFixture) -> None:
    labels = videos(60, 20)
    with caplog.at_level(logging.INFO):
        names = seeded(labels)
    assert names[60:] == ["test"] * 20 and set(names[:60]) == {"train", "val"}
    assert "too few groups" in caplog.text


def test_several_subjects_of_an_image_stay_together() -> None:
    images = [f"img{i // 3}.png" for i in range(60)]
    names = seeded(labels_of(images))
    assert all(len({names[j] for j in range(i, i + 3)}) == 1 for i in range(0, 60, 3))


def test_rare_labels_are_shared_out() -> None:
    labeled = np.ones((100, 2), bool)
    labeled[:, 1] = np.arange(100) % 10 == 0  # ten labels of the second keypoint
    labels = labels_of([f"{i:03}.png" for i in range(100)], labeled)
    for seed in range(20):
        names = np.array(seeded(labels, seed, 0.2, 0.2))
        rare = [(names[::10] == name).sum() for name in SPLITS]
        assert rare[0] >= 5 and min(rare) >= 1, (seed, rare)


def test_a_keypoint_labeled_once_can_be_learned() -> None:
    labeled = np.ones((40, 2), bool)
    labeled[:, 1] = np.arange(40) < 1
    labels = labels_of([f"{i:03}.png" for i in range(40)], labeled)
    assert all(seeded(labels, seed)[0] == "train" for seed in range(20))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=5, max_size=12), st.integers(2, 5), st.integers(0, 3))
def test_folds_test_everything_once_and_divide_no_video(counts: list[int], folds: int, seed: int) -> None:
    labels = videos(*counts)
    tested = np.zeros(len(labels), int)
    for fold in range(folds):
        splits = fold_split(labels, seed, fold, folds, 0.2)
        split_of(splits, len(labels))
        assert all(len(rows) for rows in splits.values())
        tested[splits["test"]] += 1
        held = {labels.groups[row] for row in splits["test"]}
        assert not held & {labels.groups[row] for row in [*splits["train"], *splits["val"]]}
    assert (tested == 1).all()


def test_folds_of_single_images_are_of_one_size() -> None:
    labels = with_groups(videos(53), "none")
    sizes = [len(fold_split(labels, 0, fold, 5, 0.1)["test"]) for fold in range(5)]
    assert sum(sizes) == 53 and max(sizes) - min(sizes) <= 1


def test_too_few_images_or_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="2 labeled images cannot fill"):
        seeded(videos(2))
    with pytest.raises(ValueError, match=r"val=0.5 and test=0.5 .*less than 1"):
        seeded(videos(9), 0, 0.5, 0.5)
    with pytest.raises(ValueError, match="2 groups of images cannot fill 3 folds"):
        fold_split(videos(4, 4), 0, 0, 3, 0.1)
    with pytest.raises(ValueError, match=r"data.fold=5 must be from 0 to data.folds - 1"):
        fold_split(with_groups(videos(30), "none"), 0, 5, 5, 0.1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    write_labels(folder)
    return folder


def opened(folder: Path, **changes: Any) -> LabeledData:
    return labeled_data(folder / "labels.csv", **{"val": 0.2, "test": 0.2, **changes})


def random_labels(count: int, frequencies: list[float]) -> Labels:
    """Return labels of `count` images in four videos, each keypoint labeled in about its fraction of them."""
    labeled = np.random.default_rng(0).random((count, len(frequencies))) < frequencies
    return labels_of([f"video{i % 4}/{i}.png" for i in range(count)], labeled)


def test_a_smaller_subset_is_part_of_a_larger_one() -> None:
    labels = random_labels(60, [1.0, 0.9, 0.3])
    rows = np.arange(5, 60)
    for key in ("images", "groups"):
        most = 55 if key == "images" else 4
        subsets = [set(limit_rows(labels, rows, 3, **{key: n}).tolist()) for n in range(1, most + 1)]
        assert all(few < more for few, more in pairwise(subsets))
        assert subsets[-1] == set(rows.tolist())
        sizes = [len(part) if key == "images" else len({labels.groups[row] for row in part}) for part in subsets]
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
    strays = []
    for seed in range(20):
        nested = nested_order(np.ones(200), present, np.random.default_rng(seed), 200)
        chance = np.random.default_rng(seed).permutation(200)
        shares = [present[order].cumsum(0)[:, 2] / present[:, 2].sum() for order in (nested, chance)]
        strays.append(np.abs(np.array(shares) - np.arange(1, 201) / 200).max(1))
    assert np.mean(strays, 0)[0] < 0.5 * np.mean(strays, 0)[1]


def test_images_without_labels_come_last() -> None:
    labels = random_labels(30, [0.5])
    labeled = np.flatnonzero((labels.visibility > 0).any(1))
    assert set(limit_rows(labels, np.arange(30), 0, len(labeled))) == set(labeled)


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
        assert whole.sources[split].labels.places == part.sources[split].labels.places
    trained, all_trained = (set(data.sources["train"].labels.places) for data in (part, whole))
    assert len(trained) == 4 and trained < all_trained
    assert len(part.dataset("train")) == 4 and "4 train" in part.summary
    write_splits(tmp_path / "splits.csv", part.labels.images, part.splits)
    cells = [row["split"] for row in read_csv(tmp_path / "splits.csv")]
    assert cells.count("unused") == len(whole.splits["train"]) - 4 and cells.count("train") == 4
    again = read_splits(tmp_path / "splits.csv", part.labels.images)
    assert all(np.array_equal(again[name], rows) for name, rows in part.splits.items())


def test_a_run_resumes_only_with_the_same_limit(folder: Path, tmp_path: Path) -> None:
    part = opened(folder, limit=4)
    state = part.state_dict()
    opened(folder, limit=4).load_state_dict(state)
    with pytest.raises(ValueError, match=r"another split: 2 images differ in train"):
        opened(folder).load_state_dict(state)
    # As the message advises: its own split file says what was left out.
    write_splits(tmp_path / "splits.csv", part.labels.images, part.splits)
    opened(folder, splits=tmp_path / "splits.csv").load_state_dict(state)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.floats(0, 1), st.integers(0, 2), st.integers(0, 99))
@settings(deadline=None)
def test_units_are_taken_in_a_random_order_while_they_fit(sizes: list[int], part: float, leave: int, seed: int) -> None:
    room = wanted = max(1.0, part * sum(sizes))
    leave = min(leave, len(sizes) - 1)
    held: list[int] = []
    for unit in np.random.default_rng(seed).permutation(len(sizes)).tolist():
        if sizes[unit] <= 2 * room and len(held) < len(sizes) - leave:
            held.append(unit)
            room -= sizes[unit]
    drawn = _draw(np.array(sizes), wanted, np.random.default_rng(seed), leave)
    assert np.flatnonzero(drawn).tolist() == sorted(held or [sizes.index(min(sizes))])
