"""Subjects in columns: what goes in comes out, in few bytes."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.labels import FUZZ, NUMBERS, random_labels
from softpoint.labels import subjects as module
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton
from softpoint.labels.subjects import Subjects
from softpoint.labels.validate import repeated_subjects

K = 17


def assert_equal(actual: Sequence[Subject], expected: Sequence[Subject]) -> None:
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        for field in fields(Subject):
            a, b = getattr(one, field.name), getattr(other, field.name)
            assert type(a) is type(b) or isinstance(b, tuple | float), field.name
            np.testing.assert_equal(a, b, field.name)


@st.composite
def made(draw: st.DrawFn) -> tuple[Subject, ...]:
    """Subjects with any of their fields set, the arrays too that few formats have."""
    result = []
    for subject in draw(random_labels()).subjects:
        count = len(subject.keypoints)
        points = st.lists(NUMBERS, min_size=2 * count, max_size=2 * count).map(lambda v: np.reshape(v, (-1, 2)))
        scores = st.lists(st.floats(0, 1), min_size=count, max_size=count).map(np.array)
        written, confidence = draw(st.none() | points), draw(st.none() | scores)
        result.append(replace(subject, written=written, confidence=confidence))
    return tuple(result)


def people(count: int) -> list[Subject]:
    """Return subjects as a file of COCO's has them, a text of each anew."""
    points, states = np.arange(2.0 * K).reshape(K, 2), np.full(K, 2)
    return [
        Subject(
            *(f"images/{i:012d}.jpg", f"annotation {i}", points + i, states, (0.5, 0.5, 9.5, 9.5)),
            category="".join(["per", "son"]), group=f"video {i % 3}", area=81.0, size=(480, 640),
        )
        for i in range(count)
    ]  # fmt: skip


def labels_of(subjects: Sequence[Subject]) -> Labels:
    return Labels("a.json", ".", Skeleton(tuple(f"part{k}" for k in range(len(subjects[0].keypoints)))), subjects)


@FUZZ
@given(made(), st.integers(1, 3))
def test_subjects_come_out_of_columns_as_they_went_in(subjects: tuple[Subject, ...], block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        kept = Subjects.of(iter(subjects), len(subjects[0].keypoints))
        assert_equal([*kept], subjects)
        assert_equal([kept[i] for i in range(-len(kept), 0)], subjects)
        kept.pack_texts()
        assert_equal(kept[:], subjects)
    with pytest.raises(IndexError):
        kept[len(kept)]


@FUZZ
@given(made(), st.data())
def test_a_selection_is_that_of_the_subjects(subjects: tuple[Subject, ...], data: st.DataObject) -> None:
    labels, names = labels_of(subjects), [f"part{k}" for k in range(len(subjects[0].keypoints))]
    rows = data.draw(st.lists(st.integers(0, len(subjects) - 1)))
    assert_equal(labels.select(rows).subjects, [subjects[row] for row in rows])
    first = data.draw(st.integers(0, len(subjects)))
    assert_equal(labels.select(slice(first, None)).subjects, subjects[first:])
    order = data.draw(st.lists(st.sampled_from(range(len(names))), min_size=1, unique=True))
    of_all = {"written", "confidence"}

    def part(subject: Subject) -> Subject:
        arrays = {name: getattr(subject, name) for name in ("keypoints", "visibility", *of_all)}
        return replace(subject, **{name: None if v is None else v[order] for name, v in arrays.items()})

    assert_equal(labels.with_keypoints([names[k] for k in order]).subjects, [*map(part, subjects)])
    groups = [f"group {row}" for row in range(len(subjects))]
    regrouped = [replace(subject, group=group) for subject, group in zip(subjects, groups, strict=True)]
    assert_equal(labels.changed(group=groups).subjects, regrouped)
    assert_equal(labels.subjects, subjects)  # which nothing changes


def test_a_column_has_no_more_bytes_than_its_values() -> None:
    count = 5000
    labels = labels_of(people(count))
    arrays = [column for column in labels.columns.stated.values() if isinstance(column, np.ndarray)]
    # Keypoints, visibility, box, area, size; not crowd, written and confidence, which no subject states.
    assert sum(array.nbytes for array in arrays) == count * (K * 16 + K + 32 + 8 + 16)
    assert all(array.base is None or array.base.nbytes == array.nbytes for array in arrays)
    assert labels.paths is labels.images
    for texts, different in ((labels.columns.texts("category"), 1), (labels.groups, 3), (labels.images, count)):
        assert len(set(map(id, texts))) == different
    assert labels.boxes.shape == (count, 4) and np.isnan(labels.columns.numbers("confidence")).all()
    assert labels_of([Subject("a.png", "line 1", *([np.full((K, 2), np.nan), np.zeros(K, int)]))]).boxes.shape == (1, 4)


def test_labels_are_pickled_in_few_bytes_and_parts_without_the_rest() -> None:
    subjects = people(1000)
    labels = labels_of(subjects)
    stored = pickle.dumps(labels)
    assert_equal(pickle.loads(stored).subjects, subjects)
    assert len(stored) < 1000 * 450 and len(pickle.dumps(labels.select(slice(10, 110)))) < 100 * 450 + 2000


def test_a_part_shares_the_arrays_that_nobody_can_change() -> None:
    labels = labels_of(people(9))
    part = labels.select(slice(2, 5))
    assert np.shares_memory(part.keypoints, labels.keypoints) and part.images == labels.images[2:5]
    assert labels.select(range(9)) is labels
    for array in (labels.keypoints, labels.visibility, labels.subjects[0].keypoints, part.boxes):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    points = np.zeros((9, K, 2))
    labels.changed(keypoints=points)
    points[:] = 1  # those of the caller are


def test_a_size_that_no_image_has_is_kept_as_the_largest() -> None:
    person = replace(people(1)[0], size=(10**400, 5))
    assert Subjects.of([person], len(person.keypoints))[0].size == (2**53, 5)


def test_one_box_at_zero_or_minus_zero_is_repeated() -> None:
    one = replace(people(1)[0], box=(0.0, 0.0, 9.0, 9.0))
    assert list(repeated_subjects(labels_of([one, replace(one, box=(-0.0, 0.0, 9.0, 9.0))]))) == [1]
