"""Label files for tests: random ones, damaged ones, and how two readings compare."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton, infer_flip_pairs
from softpoint.paths import normalize_path


def written(folder: Path, text: str | bytes, name: str = "labels.csv") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return path


def images(folder: Path, labels: Labels, size: tuple[int, int] = (10, 12)) -> None:
    """Gray images of one size, height before width."""
    for image in labels.images:
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", size[::-1]).save(folder / image)


PIECES = [
    "", ",", ";", "\n", '"', "\0", "nan", "inf", "1e999", "-", "\\", "é", "\r", "scorer", "coords", "_x", "[[", ",,",
    "9" * 400, "\ufeff", "\ud800", "\t", "single", "box_left", "image", "{", "- [", ": ", "&a *a", "Unnamed: 1",
]  # fmt: skip


def damaged(text: str) -> st.SearchStrategy[bytes]:
    """A file that pieces were cut from, written into, and lines dropped from or doubled in."""
    lines = text.splitlines(keepends=True)
    place = st.integers(0, len(text))
    cut = st.tuples(place, st.integers(0, 6), st.sampled_from(PIECES))
    line = st.tuples(st.integers(0, len(lines) - 1), st.sampled_from([0, 2]))

    def apply(cuts: list[tuple[int, int, str]], counts: list[tuple[int, int]], tail: bytes) -> bytes:
        rows = list(lines)
        for index, count in counts:
            rows[index] = rows[index] * count
        new = "".join(rows)
        for position, removed, inserted in cuts:
            new = new[:position] + inserted + new[position + removed :]
        return new.encode("utf-8", "surrogatepass") + tail

    return st.builds(apply, st.lists(cut, max_size=5), st.lists(line, max_size=2), st.binary(max_size=3))


WORDS = st.text("abLR_ .,;'\"é-", min_size=1, max_size=6).map(str.strip).filter(lambda word: word.strip("."))
NUMBERS = st.floats(-1e6, 1e6) | st.integers(-5, 500).map(float)
EDGES = st.tuples(NUMBERS, NUMBERS, st.floats(0.5, 1e4), st.floats(0.5, 1e4)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


@st.composite
def subjects(draw: st.DrawFn, K: int, index: int, kinds: dict[str, list[int]]) -> Subject:
    """A subject of any kind; its place says its number."""
    kind = draw(st.sampled_from(sorted(kinds))) if kinds else ""
    own = np.isin(np.arange(K), kinds[kind]) if kinds else np.ones(K, bool)
    visibility = np.array(draw(st.lists(st.integers(0, 2), min_size=K, max_size=K)), np.int64) * own
    points = np.array(draw(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=K, max_size=K)), np.float64)
    return Subject(
        image=f"{draw(WORDS)}/{draw(st.integers(0, 3))}.png",
        place=f"subject {index}",
        keypoints=np.where(visibility[:, None] > 0, points, np.nan),
        visibility=visibility,
        box=draw(st.none() | EDGES),
        category=kind,
        name=draw(st.just("") | WORDS),
        group=draw(st.none() | WORDS),
        area=draw(st.just(float("nan")) | st.floats(0, 1e9)),
        crowd=draw(st.booleans()),
        size=draw(st.just((0, 0)) | st.tuples(st.integers(1, 9000), st.integers(1, 9000))),
    )


@st.composite
def random_labels(draw: st.DrawFn) -> Labels:
    """Labels that use every field; no subject is there twice."""
    names = draw(st.lists(WORDS, min_size=1, max_size=4, unique_by=str.lower))
    K = len(names)
    kinds = draw(st.dictionaries(WORDS, st.lists(st.integers(0, K - 1), min_size=1, unique=True), max_size=2))
    found = [draw(subjects(K, index, kinds)) for index in range(draw(st.integers(1, 5)))]
    found = list({(normalize_path(s.image), s.category, s.name): s for s in found}.values())
    used = {s.category for s in found}
    categories = {kind: tuple(names[k] for k in sorted(own)) for kind, own in kinds.items() if kind in used}
    return Labels("random", ".", Skeleton(tuple(names), infer_flip_pairs(names)), tuple(found), categories)


def assert_same(found: Labels, expected: Labels) -> None:
    """Everything but where it stands."""
    assert found.skeleton == expected.skeleton and len(found) == len(expected)
    assert {k: set(v) for k, v in found.categories.items()} == {k: set(v) for k, v in expected.categories.items()}
    np.testing.assert_array_equal(found.keypoints, expected.keypoints)
    np.testing.assert_array_equal(found.visibility, expected.visibility)
    for a, b in zip(found.subjects, expected.subjects, strict=True):
        assert (a.image, a.box, a.category, a.name, a.group, a.crowd, a.size) == (
            b.image, b.box, b.category, b.name, b.group, b.crowd, b.size,
        )  # fmt: skip
        np.testing.assert_equal(a.area, b.area)


def sound(labels: Labels) -> None:
    """Coordinates are finite where they are labeled, and nowhere else."""
    assert np.isfinite(labels.keypoints[labels.visibility > 0]).all()
    assert np.isnan(labels.keypoints[labels.visibility == 0]).all()
    assert len(labels) and all(labels.images) and all(labels.places)
    boxes = labels.boxes[np.isfinite(labels.boxes).all(1)]
    assert (boxes[:, :2] < boxes[:, 2:]).all()
