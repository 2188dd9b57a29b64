"""Groups of images come from the labels, a setting, folders and file names, which a split that divides them says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from helpers.labels import labels_of
from softpoint.labels.groups import divided_groups, group_names, name_groups, with_groups
from softpoint.labels.schema import Labels
from softpoint.labels.split import Split, split_labels

COUNTERS = range(100, 110)
TRACKS = [f"images/track{track}_{i}.png" for i in COUNTERS for track in range(8)]
BREEDS = [f"{breed}_{i}.jpg" for i in COUNTERS for breed in ("Bengal", "beagle", "pug", "Sphynx")]


@pytest.mark.parametrize(
    ("pattern", "image", "group"),
    [
        (None, "mouse1/day2/img.png", "mouse1/day2"),
        (r"^[^/]+", "mouse1/day2/img.png", "mouse1"),
        (r"(mouse\d)", "x/mouse7_day2.png", "mouse7"),
        ("none", "./a\\b.png", "a/b.png"),
    ],
)
def test_groups_are_read_from_paths(pattern: str | None, image: str, group: str) -> None:
    assert with_groups(labels_of([image]), pattern).groups == (group,)


def test_groups_of_the_label_file_are_kept() -> None:
    assert with_groups(labels_of(["a/1.png", "a/2.png"], groups=["anna", None]), None).groups == ("anna", "a")


def groups_of(labels: Labels, setting: str | None = "auto") -> list[str]:
    return sorted(set(with_groups(labels, setting).groups))


def test_groups_are_found_in_the_names_of_one_folder(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert groups_of(labels_of(TRACKS)) == [f"images/track{track}" for track in range(8)]
    message = (
        "8 groups by file names, such as 'images/track0' of images/track0_100.png, are kept whole; data.group=none"
    )
    assert message not in caplog.text
    with_groups(labels_of(TRACKS), "auto", say=True)
    assert message in caplog.text
    assert groups_of(labels_of(TRACKS), None) == ["images"] and len(groups_of(labels_of(TRACKS), "none")) == 80


def test_classes_are_groups_on_demand() -> None:
    assert groups_of(labels_of(BREEDS)) == [""]
    assert groups_of(labels_of(BREEDS), "names") == ["Bengal", "Sphynx", "beagle", "pug"]
    with pytest.raises(ValueError, match=r"data\.group=names finds no groups in file names such as 'img1\.png'"):
        with_groups(labels_of(["img1.png", "img2.png"]), "names")


def test_groups_that_the_labels_state_are_kept() -> None:
    stated = labels_of(TRACKS, groups=["a", "b"] * 40)
    assert groups_of(stated) == ["a", "b"] and len(groups_of(stated, "names")) == 8


def test_folders_tell_groups_where_no_one_has_most_images() -> None:
    folders = [f"video{v}/track{v % 3}_{i}.png" for v in range(6) for i in COUNTERS]
    assert name_groups(folders) is None and group_names(folders, "auto")[0] == "video0"


def test_a_folder_of_many_videos_beside_others_is_divided() -> None:
    others = [f"images/video{v}/img{i}.png" for v in range(3) for i in COUNTERS]
    labels = labels_of([*TRACKS, *others])
    assert len(groups_of(labels)) == 8 + 3
    sessions = [
        f"{folder}/track{t}_{i}.png" for folder, tracks in (("a", 8), ("b", 4)) for t in range(tracks) for i in COUNTERS
    ]
    assert groups_of(labels_of(sessions)) == ["a", "b"]  # of which each has tracks: a session is more than a track


def test_folders_of_splits_are_one() -> None:
    paths = [
        f"{split}/images/track{t}_{i}.png"
        for split, ids in (("train", COUNTERS), ("test", (1, 2)))
        for t in range(3)
        for i in ids
    ]
    assert groups_of(labels_of(paths)) == ["images/track0", "images/track1", "images/track2"]
    anew = [f"{split}/{t}_{i}.png" for split in ("train", "test") for t in range(3) for i in COUNTERS]
    assert groups_of(labels_of(anew)) == ["test", "train"]  # names that count anew in each say nothing across them


def test_a_split_keeps_the_groups_of_names_whole() -> None:
    labels = with_groups(labels_of(TRACKS), "auto")
    rows = split_labels(labels, Split(val=0.2, test=0.2), 0)
    held = [{labels.groups[row] for row in rows[split]} for split in ("train", "val", "test")]
    assert sum(map(len, held)) == len(set.union(*held)) == 8
    assert divided_groups(labels, rows, Split()) is None


def test_a_stated_split_stays_and_what_it_divides_is_announced() -> None:
    stated = {path: "train" if int(path[-7:-4]) < 105 else "test" for path in TRACKS}
    labels = with_groups(replace(labels_of(TRACKS), splits=stated), "auto")
    rows = split_labels(labels, Split(), 0)
    assert {labels.images[row] for row in rows["test"]} == {path for path in TRACKS if stated[path] == "test"}
    divided = divided_groups(labels, rows, Split())
    assert divided is not None and divided.held_out == {"test": 35}  # val has one track
    held, trained = (labels.groups[row] for row in divided.example)
    assert held == trained
    assert divided.advice() == "data.group=names keeps the 8 groups of such names in one split each"
    again = split_labels(with_groups(labels, "names"), Split(group="names"), 0)
    assert {labels.groups[row] for row in again["test"]}.isdisjoint(labels.groups[row] for row in again["train"])


@pytest.mark.parametrize("group", [None, "auto"])
def test_names_that_may_be_groups_are_announced(group: str | None) -> None:
    labels = with_groups(labels_of(BREEDS), group)
    divided = divided_groups(labels, split_labels(labels, Split(group=group), 0), Split(group=group))
    assert divided is not None and divided.message.endswith(
        "images may be of the same video, track or subject as training images, by their names"
    )
    assert divided.advice("a.csv").startswith(
        "if so, data.group=names in place of data.splits=a.csv keeps the 4 groups"
    )


def test_names_are_not_asked_where_groups_are_stated() -> None:
    single = with_groups(labels_of(TRACKS), "none")
    assert divided_groups(single, split_labels(single, Split(group="none"), 0), Split(group="none")) is None
    stated = labels_of(TRACKS, groups=["a", "b"] * 40)
    assert divided_groups(stated, {"train": range(40), "val": (), "test": range(40, 80)}, Split(splits="x.csv")) is None
