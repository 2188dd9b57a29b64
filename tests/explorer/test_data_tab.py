"""What the tab of a label set shows, without a browser."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("gradio", reason="exploring needs gradio: pip install 'softpoint[explore]'")

from softpoint.audit import Example
from softpoint.explorer.data_tab import AuditedSet, show
from softpoint.explorer.errors import Measured
from softpoint.inference.predictor import NetworkInput, Predictor
from softpoint.labels.skeleton import Skeleton


def test_filters_choose_subjects_by_finding_keypoint_and_split(data: AuditedSet) -> None:
    assert data.rows() == [*range(6)] and data.rows(split="val") == [4, 5]
    assert data.rows("nose") == [0, 1, 2, 3, 5] and data.rows("nose", "val") == [5]
    assert data.rows(kind="out_of_frame") == [2] == data.rows("tail", "train", "out_of_frame")
    assert data.rows("nose", kind="out_of_frame") == [] == data.rows(split="val", kind="out_of_frame")


def test_examples_are_those_of_the_subject_or_its_image(data: AuditedSet) -> None:
    of_subject, of_images, of_none = (
        Example("2.png", "line 4", "1", subject=2),
        Example("2.png", "line 4", "1", other="4.png"),
        Example("x.png", "line 4", "1"),
    )
    finding = replace(data.report.findings[0], examples=[of_subject, of_images, of_none])
    shown = AuditedSet(data.loaded, replace(data.report, findings=[finding]), data.splits)
    assert shown.examples == {2: [(finding, of_subject), (finding, of_images)], 4: [(finding, of_images)]}


def test_a_keypoint_may_have_any_name(data: AuditedSet) -> None:
    labels = replace(data.loaded.labels, skeleton=Skeleton(("any", "tail")))
    named = AuditedSet(replace(data.loaded, labels=labels), data.report, data.splits)
    assert named.rows() == [*range(6)] and named.rows("any") == [0, 1, 2, 3, 5]


def test_a_subject_is_shown_with_its_labels_and_findings(data: AuditedSet) -> None:
    page = show(data, kind="out_of_frame")
    assert "1 of 1: 2.png" in page and "<td>200.00</td><td>22.00</td><td>visible</td>" in page
    subject, everything = page.split("<h3>All findings</h3>")
    assert "out_of_frame" in subject and "out_of_frame" in everything and 'alt="2.png with 2 labeled' in page
    assert "<td></td><td></td><td>unlabeled</td>" in show(data, split="val") and "2 of 2: 5.png" in show(
        data, split="val", number=9
    )


def test_no_match_and_an_unreadable_image_are_explained(data: AuditedSet) -> None:
    assert 'role="alert"' in show(data, kind="out_of_frame", keypoint="nose")
    (data.loaded.image_folder.folder / "0.png").unlink()
    page = show(data)
    assert 'role="alert"' in page and "does not exist" in page and "1 of 6: 0.png" in page


def test_every_subject_of_an_image_is_listed(data: AuditedSet) -> None:
    assert "in the same image" not in show(data)
    subjects = [replace(subject, image="1.png") for subject in data.loaded.labels.subjects]
    loaded = replace(data.loaded, labels=replace(data.loaded.labels, subjects=subjects))
    page = show(AuditedSet(loaded, data.report, data.splits))
    assert page.count("in the same image: line") == 5 and "those of 5 more subjects" in page


def test_errors_of_a_model_are_measured_once_and_choose_the_images(data: AuditedSet) -> None:
    calls = []

    class Constant(Predictor):
        """Finds every tail at (30, 20), knows no nose, and reports what it saw."""

        def __init__(self) -> None:
            self.skeleton, self.crops = Skeleton(("tail", "ear")), None

        def preprocess(self, image: np.ndarray, box: np.ndarray | None = None) -> NetworkInput:
            calls.append(image)
            return NetworkInput(image, np.eye(3))

        def predict(self, inputs: Iterable[NetworkInput], batch_size: int) -> Iterator[dict[str, np.ndarray]]:
            return ({"keypoints": np.array([[30.0, 20.0], [1.0, 1.0]])} for _ in inputs)

    (data.loaded.image_folder.folder / "3.png").unlink()
    measured = Measured(Constant(), data.loaded)
    assert measured.errors is None and "error (px)" not in show(data, measured)
    measured.measure(), measured.measure()
    assert len(calls) == 5
    expected = [0, 2**0.5, (170**2 + 2**2) ** 0.5, np.nan, 32**0.5, 50**0.5]
    np.testing.assert_allclose(measured.errors, np.stack([np.full(6, np.nan), expected], axis=1))
    assert "1 of 6: 2.png" in show(data, measured) and "<td>170.01</td>" in show(data, measured)
    assert "1 of 2: 5.png" in show(data, measured, split="val", least=4)
    assert "2 of 3: 5.png" in show(data, measured, keypoint="tail", least=4, number=2)
    assert 'role="alert"' in show(data, measured, keypoint="nose", least=4)
