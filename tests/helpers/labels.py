"""Label files for tests: random and damaged ones, and comparisons of labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from PIL import Image

from softpoint.labels.formats import FORMATS, read_labels
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton, infer_flip_pairs
from softpoint.paths import normalize_path

FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def written(folder: Path, text: str | bytes, name: str = "labels.csv") -> Path:
    """Write a file and return its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return path


def images(folder: Path, labels: Labels, size: tuple[int, int] = (10, 12)) -> None:
    """Write the labels' images, gray and of one size (height, width)."""
    for image in labels.images:
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", size[::-1]).save(folder / image)


def labels_of(images: list[str], labeled: np.ndarray | None = None, groups: list[str | None] | None = None) -> Labels:
    """Return labels of one subject per image; `labeled` (N, K) masks the labeled ones of K keypoints, here two."""
    mask = np.ones((len(images), 2), bool) if labeled is None else labeled
    subjects = []
    for i, image in enumerate(images):
        points = np.where(mask[i, :, None], [1.0 + i, 1.0 + i], np.nan)
        group = None if groups is None else groups[i]
        subjects.append(Subject(image, f"line {i}", points, np.where(mask[i], 2, 0), group=group))
    return Labels("labels.csv", ".", Skeleton(tuple(f"k{k}" for k in range(mask.shape[1]))), tuple(subjects))


PIECES = [
    "", ",", ";", "\n", '"', "\0", "nan", "inf", "1e999", "-", "\\", "é", "\r", "scorer", "coords", "_x", "[[", ",,",
    "9" * 400, "\ufeff", "\ud800", "\t", "single", "box_left", "image", "{", "- [", ": ", "&a *a", "Unnamed: 1", " ",
    "NA", "LM=3", "IMAGE=", "POINTS=", "!!set {}", "!!binary x", "2001-13-45", "../../..", "*.txt", "~", "null", ".inf",
]  # fmt: skip


def damaged(text: str) -> st.SearchStrategy[bytes]:
    """Text with pieces cut out and inserted, and with lines dropped and doubled."""
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
def subjects(draw: st.DrawFn, K: int, index: int, categories: dict[str, list[int]]) -> Subject:
    """A subject with any of its fields set."""
    category = draw(st.sampled_from(sorted(categories))) if categories else ""
    own = np.isin(np.arange(K), categories[category]) if categories else np.ones(K, bool)
    visibility = np.array(draw(st.lists(st.integers(0, 2), min_size=K, max_size=K)), np.int64) * own
    points = np.array(draw(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=K, max_size=K)), np.float64)
    return Subject(
        image=f"{draw(WORDS)}/{draw(st.integers(0, 3))}.png",
        place=f"subject {index}",
        keypoints=np.where(visibility[:, None] > 0, points, np.nan),
        visibility=visibility,
        box=draw(st.none() | EDGES),
        category=category,
        name=draw(st.just("") | WORDS),
        group=draw(st.none() | WORDS),
        area=draw(st.just(float("nan")) | st.floats(0, 1e9)),
        crowd=draw(st.booleans()),
        size=draw(st.just((0, 0)) | st.tuples(st.integers(1, 9000), st.integers(1, 9000))),
    )


@st.composite
def random_labels(draw: st.DrawFn) -> Labels:
    """Labels that use every field, without repeated subjects."""
    names = draw(st.lists(WORDS, min_size=1, max_size=4, unique_by=str.lower))
    K = len(names)
    drawn = draw(st.dictionaries(WORDS, st.lists(st.integers(0, K - 1), min_size=1, unique=True), max_size=2))
    members = [draw(subjects(K, index, drawn)) for index in range(draw(st.integers(1, 5)))]
    members = list({(normalize_path(s.image), s.category, s.name): s for s in members}.values())
    used = {s.category for s in members}
    categories = {name: tuple(names[k] for k in sorted(own)) for name, own in drawn.items() if name in used}
    return Labels("random", ".", Skeleton(tuple(names), infer_flip_pairs(names)), tuple(members), categories)


def assert_same(actual: Labels, expected: Labels) -> None:
    """Assert that all but the places are equal."""
    assert actual.skeleton == expected.skeleton and len(actual) == len(expected)
    assert {k: set(v) for k, v in actual.categories.items()} == {k: set(v) for k, v in expected.categories.items()}
    np.testing.assert_array_equal(actual.keypoints, expected.keypoints)
    np.testing.assert_array_equal(actual.visibility, expected.visibility)
    np.testing.assert_allclose(actual.boxes, expected.boxes, rtol=0, atol=1e-8)
    for a, b in zip(actual.subjects, expected.subjects, strict=True):
        assert (a.image, a.category, a.name, a.group, a.crowd, a.size) == (
            b.image, b.category, b.name, b.group, b.crowd, b.size,
        )  # fmt: skip
        np.testing.assert_equal(a.area, b.area)


def assert_valid(labels: Labels) -> None:
    """Assert that coordinates are finite exactly where they are labeled, and that boxes enclose an area."""
    assert np.isfinite(labels.keypoints[labels.visibility > 0]).all()
    assert np.isnan(labels.keypoints[labels.visibility == 0]).all()
    assert len(labels) and all(labels.images) and all(labels.places)
    boxes = labels.boxes[~np.isnan(labels.boxes).any(1)]
    assert np.isfinite(boxes).all() and (boxes[:, :2] < boxes[:, 2:]).all()


def assert_valid_or_refused(path: Path, format: str) -> None:
    """Assert that a file gives valid labels or an error that names it, and that its recognition does not raise."""
    assert FORMATS[format].recognize(path, path.read_bytes()[: 1 << 16] if path.is_file() else b"") in (True, False)
    for on_error in ("error", "skip"):
        try:
            labels = read_labels(path, format, on_error)
        except (ValueError, FileNotFoundError) as error:
            assert str(path) in str(error)
        else:
            assert_valid(labels)


def assert_refused(path: Path, message: str, format: str | None = None, images: Path | None = None) -> None:
    """Assert that a file raises a ValueError that names it and matches `message`."""
    with pytest.raises(ValueError, match=message) as error:
        read_labels(path, format, images=images)
    assert str(path) in str(error.value)
