"""Groups that file names show are announced where a split divides them, with an expression that mends it."""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from helpers.labels import labels_of
from softpoint.labels.name_groups import EXPRESSIONS, shared_name_groups
from softpoint.labels.split import Split, split_labels, with_groups

COUNTERS = range(100, 110)


@pytest.mark.parametrize(
    ("pattern", "names", "groups"),
    [
        ("frames/clip{}_{:04}.png", "abcd", ["frames/clipa", "frames/clipb", "frames/clipc", "frames/clipd"]),
        ("track{}_{:04}_left.png", "123", ["track1", "track2", "track3"]),
        ("mouse{}-frame{:04}.png", "123", ["mouse1", "mouse2", "mouse3"]),
        ("{}img{}.jpg", ("anna", "otto", "ida"), ["anna", "ida", "otto"]),
        ("{}_{:06}.jpg", ("20240101", "20240102", "20240103"), ["20240101", "20240102", "20240103"]),
        ("{}_c1s1_{}_00.jpg", ("0001", "0002", "0003"), ["0001_c1s1", "0002_c1s1", "0003_c1s1"]),
        ("cam{}_shot{:03}.png", "123", ["cam1", "cam2", "cam3"]),
        ("v{}_f0{}_id7.png", "123", ["v1", "v2", "v3"]),
        ("{}_shot_{:04}.png", ("01", "02", "03"), ["01_shot", "02_shot", "03_shot"]),
        ("2024-05-{}_run_{:05}.png", ("01", "02", "03"), ["2024-05-01_run", "2024-05-02_run", "2024-05-03_run"]),
        ("2024-05-01_{1:05}_cam{0}.png", "123", ["cam1", "cam2", "cam3"]),
        ("x/IMG_{1:04}_t{0}.png", "123", ["t1", "t2", "t3"]),
        ("x/{0}_{2}.png", ("anna", "otto", "ida"), ["x/anna", "x/ida", "x/otto"]),
    ],
)
def test_the_proposed_expression_keeps_the_groups_whole(pattern: str, names: str, groups: list[str]) -> None:
    labels = labels_of([pattern.format(name, i, chr(i)) for i in COUNTERS for name in names])
    shared = shared_name_groups(labels, split_labels(labels, Split(), 0))
    assert shared is not None and shared.groups == len(names) and set(shared.held_out) == {"val", "test"}
    mended = with_groups(labels, shared.expression)
    assert sorted(set(mended.groups)) == groups
    held, trained = (mended.groups[row] for row in shared.example)
    assert held == trained
    assert (
        shared_name_groups(labels, split_labels(mended, Split(group=shared.expression, val=0.3, test=0.3), 0)) is None
    )


@pytest.mark.parametrize(
    "images",
    [
        [f"img{i:04}.png" for i in range(60)],
        [f"{7919 * i:012}.jpg" for i in range(60)],
        [f"{7919 * i**3 % 2**32:08x}.jpg" for i in range(1, 61)],
        [f"video{v}/img{i}.png" for v in range(6) for i in range(10)],  # folders are whole as they are
        [f"{frame:03}-mouse{m}.jpg" for m in range(6) for frame in range(10)],  # frames are no videos
        [f"{frame:04}_mouse_{m}.jpg" for m in range(6) for frame in range(10)],
        [f"{'a' if i < 50 else 'b'}_{i}.png" for i in range(60)],  # what is tested would be the rest alone
        [f"v1_f{frame:04}_id{i}.png" for i in range(20) for frame in range(3)],
        [f"{'a' if i < 50 else i}_{i}.png" for i in range(60)],  # one group with most images
    ],
    ids=[
        "one counter",
        "numbers",
        "digests",
        "folders",
        "mice last",
        "mice apart",
        "nearly one group",
        "one video",
        "one large group",
    ],
)
def test_names_without_groups_are_left_alone(images: list[str]) -> None:
    labels = labels_of(images)
    assert shared_name_groups(labels, split_labels(labels, Split(), 0)) is None


def test_two_videos_in_one_folder_are_announced() -> None:
    labels = labels_of([f"vid{video}_{i:03}.png" for i in range(40) for video in "AB"])
    shared = shared_name_groups(labels, split_labels(labels, Split(), 0))
    assert shared is not None and shared.groups == 2
    mended = with_groups(labels, shared.expression)
    split = split_labels(mended, Split(group=shared.expression), 0)
    assert {mended.groups[i] for i in split["test"]}.isdisjoint(mended.groups[i] for i in split["train"])


def test_a_large_group_is_announced_beside_others() -> None:
    sizes = {"cam1": 40, "cam2": 15, "cam3": 15}  # more than half in one
    labels = labels_of([f"{name}_frame{i:04}.png" for name, size in sizes.items() for i in range(size)])
    shared = shared_name_groups(labels, split_labels(labels, Split(), 0))
    assert shared is not None and shared.groups == 3
    assert "in place of data.splits=a.csv keeps the 3 groups" in shared.advice("a.csv")
    assert "in place of" not in shared.advice()


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_the_advice_can_be_given_on_a_command_line(expression: str) -> None:
    assert OverridesParser.create().parse_override(f"data.group='{expression}'").value() == expression


def test_a_split_of_single_images_across_folders_is_announced() -> None:
    """A frame counter may be all that a name has."""
    labels = with_groups(labels_of([f"{video}/img{i}.png" for video in "abc" for i in COUNTERS]), "none")
    shared = shared_name_groups(labels, split_labels(labels, Split(group="none"), 0))
    assert shared is not None and shared.groups == 3
