"""Splits divide no group, share labels out evenly, and test every row of a cross-validation once."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softpoint.labels.partition import fold_split, seeded_split
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton
from softpoint.labels.split import SPLITS, Split, split_labels, stated_split, with_groups


def labels_of(images: list[str], labeled: np.ndarray | None = None, groups: list[str | None] | None = None) -> Labels:
    """Labels with two keypoints; `labeled` (N, 2) says which points are."""
    seen = np.ones((len(images), 2), bool) if labeled is None else labeled
    subjects = tuple(
        Subject(
            image,
            f"line {i}",
            np.where(seen[i, :, None], 1.0 + i, np.nan) * np.ones((2, 2)),
            np.where(seen[i], 2, 0),
            group=None if groups is None else groups[i],
        )
        for i, image in enumerate(images)
    )
    return Labels("labels.csv", ".", Skeleton(("a", "b")), subjects)


def videos(*counts: int) -> Labels:
    return labels_of([f"video{v}/{i:03}.png" for v, count in enumerate(counts) for i in range(count)])


def split_of(splits: dict[str, np.ndarray], count: int) -> list[str]:
    names = dict.fromkeys(range(count), "")
    for name, rows in splits.items():
        for row in rows:
            assert names[int(row)] == ""
            names[int(row)] = name
    assert "" not in names.values()
    return list(names.values())


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
    tested = {group for group, name in zip(labels.groups, names, strict=True) if name == "test"}
    assert not tested & {group for group, name in zip(labels.groups, names, strict=True) if name != "test"}


def test_a_stated_split_is_used_and_without_test_its_val_is() -> None:
    images = [f"{split}/{i}.png" for split, count in (("a", 20), ("b", 5)) for i in range(count)]
    labels = labels_of(images)
    assert stated_split(labels, 0, 0.2) is None
    names = {image: "train" if image.startswith("a") else "val" for image in images}
    splits = stated_split(replace(labels, splits=names), 0, 0.2)
    assert splits is not None
    assert split_of(splits, 25)[20:] == ["test"] * 5 and len(splits["val"]) == 4
    incomplete = replace(labels, splits=dict(list(names.items())[1:]))
    assert stated_split(incomplete, 0, 0.2) is None


def test_many_videos_are_split_whole_by_the_fractions() -> None:
    labels = videos(*[10] * 20)
    names = seeded(labels)
    assert {group: set() for group in labels.groups}.keys() == set(labels.groups)
    assert all(
        len({n for n, g in zip(names, labels.groups, strict=True) if g == group}) == 1 for group in labels.groups
    )
    assert names.count("test") == 20 and names.count("val") == 20


def test_the_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    labels = videos(40)
    assert seeded(labels, 1) == seeded(labels, 1) != seeded(labels, 2)


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


def test_a_keypoint_labeled_twice_can_be_learned() -> None:
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
    labels = videos(53)
    labels = with_groups(labels, "none")
    sizes = [len(fold_split(labels, 0, fold, 5, 0.1)["test"]) for fold in range(5)]
    assert sum(sizes) == 53 and max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("pattern", "image", "group"),
    [
        (None, "mouse1/day2/img.png", "mouse1/day2"),
        (r"^[^/]+", "mouse1/day2/img.png", "mouse1"),
        (r"(mouse\d)", "x/mouse7_day2.png", "mouse7"),
        ("none", "./a\\b.png", "a/b.png"),
    ],
)
def test_groups(pattern: str | None, image: str, group: str) -> None:
    assert with_groups(labels_of([image]), pattern).groups == (group,)


def test_groups_of_the_label_file_are_kept() -> None:
    assert with_groups(labels_of(["a/1.png", "a/2.png"], groups=["anna", None]), None).groups == ("anna", "a")


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


def test_too_few_images_or_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="2 labeled images cannot fill"):
        seeded(videos(2))
    with pytest.raises(ValueError, match=r"val=0.5 and test=0.5 .*less than 1"):
        seeded(videos(9), 0, 0.5, 0.5)
    with pytest.raises(ValueError, match="2 groups of images cannot fill 3 folds"):
        fold_split(videos(4, 4), 0, 0, 3, 0.1)
    with pytest.raises(ValueError, match=r"data.fold=5 must be from 0 to data.folds - 1"):
        fold_split(with_groups(videos(30), "none"), 0, 5, 5, 0.1)
