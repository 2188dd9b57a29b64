"""Subjects in boxes are predicted each, and memory holds the best candidates alone."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from helpers.selection import candidate, prediction
from softpoint.inference.batch.sources import ImageSource
from softpoint.selection.candidates import Pool, Reading, collect, covering
from softpoint.selection.prelabels import Copy, subjects_of
from softpoint.viz import write_image

BOXES = {"a.png": np.array([[2.0, 2, 12, 12], [20, 4, 40, 30]]), "c.png": np.array([[5.0, 5, 25, 25]])}


class Centers:
    """Stands for a predictor: finds three points about the center of a box, the less surely the larger it is."""

    def __init__(self) -> None:
        self.boxes: list[np.ndarray | None] = []

    def preprocess(self, image: np.ndarray, box: np.ndarray | None) -> np.ndarray:
        self.boxes.append(box)
        return np.array([0.0, 0, image.shape[1], image.shape[0]]) if box is None else box

    def predict(self, inputs: Iterable[np.ndarray], batch_size: int) -> Iterator[dict[str, np.ndarray]]:
        around = np.array([[-1.0, 0], [0, 0], [1, 0]])
        for box in inputs:
            one = prediction(around + (box[:2] + box[2:]) / 2, error_scale=np.full(3, (box[2] - box[0]) / 20))
            yield {name: np.stack([value] * 2)[0] for name, value in one.items()}  # views of larger arrays


def images(folder: Path) -> ImageSource:
    rng = np.random.default_rng(0)
    for name in "abc":
        write_image(folder / f"{name}.png", rng.integers(0, 255, (48, 64, 3)).astype(np.uint8))
    return ImageSource(folder, ("a.png", "b.png", "c.png"))


def test_each_box_is_a_subject_and_the_label_to_correct_keeps_it(tmp_path: Path) -> None:
    predictor: Any = Centers()
    pool = Pool(9)
    collect(predictor, images(tmp_path), Reading(0.05, batch_size=2, boxes=BOXES), pool)
    np.testing.assert_array_equal(predictor.boxes, np.concatenate([*BOXES.values()]))
    found = {one.name: one for one in pool.candidates()}
    assert {*found} == {*BOXES} and pool.seen == 2  # an image without a box has no subject
    assert found["a.png"].score == found["c.png"].score  # of the worse subject, whose box is as wide
    for name, boxes in BOXES.items():
        subjects = subjects_of(Copy(name, found[name]), 0.1)
        np.testing.assert_array_equal([subject.box for subject in subjects], boxes)
        np.testing.assert_allclose([s.keypoints[1] for s in subjects], (boxes[:, :2] + boxes[:, 2:]) / 2)


def test_labeled_images_are_seen_as_the_candidates_are_and_at_most_a_limit_of_them(tmp_path: Path) -> None:
    predictor: Any = Centers()
    source = images(tmp_path)
    found = covering(source.names, tmp_path, predictor, Reading(0.05), 2, BOXES)
    assert len(found.candidates()) == 2 and predictor.boxes == [None, None]
    own = {"b.png": np.array([[1.0, 1, 9, 9]]), "c.png": BOXES["c.png"]}
    found = covering(source.names, tmp_path, predictor, Reading(0.05, boxes=BOXES), 3, own)
    assert {one.name for one in found.candidates()} == {*own}
    np.testing.assert_array_equal(predictor.boxes[2:], np.concatenate([*own.values()]))
    assert covering((), tmp_path, predictor, Reading(0.05), 2).candidates() == []


def test_labeled_images_that_show_nothing_or_cannot_be_read_are_counted(tmp_path: Path) -> None:
    write_image(tmp_path / "black.png", np.zeros((48, 64, 3), np.uint8))
    names = [*images(tmp_path).names, "black.png", "gone.png"]
    found = covering(names, tmp_path, Centers(), Reading(0.05), 9)  # type: ignore[arg-type]
    assert "1 left out, which show nothing, 1 cannot be read\n  gone.png" in str(found)


def test_a_pool_keeps_no_more_than_its_limit_alive(tmp_path: Path) -> None:
    pool, alive = Pool(limit=4), list[weakref.ref[Any]]()
    for i in range(50):
        one = candidate(i, score=float(np.sin(i)))
        alive.append(weakref.ref(one))
        pool.add(one)
        del one
    assert sum(one() is not None for one in alive) <= 4 + 1  # and the row that may go on
    collect(Centers(), images(tmp_path), Reading(0.05), kept := Pool(9))  # type: ignore[arg-type]
    arrays = [value for one in kept.candidates() for value in [*one.predictions[0].values(), one.features]]
    assert all(array.base is None for array in arrays)
