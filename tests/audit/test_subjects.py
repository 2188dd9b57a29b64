"""Planted faults of images with several subjects are found, and correct labels are left alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from softpoint.audit.subjects import subject_findings
from softpoint.labels.formats import read_labels
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton

SKELETON = Skeleton(("nose", "back", "tail"))
POSE = np.array([[0.0, 0.0], [20.0, 5.0], [40.0, 0.0]])  # its diagonal is 40.3 px
RIGHT = np.array([1.5, 0.0])
NONE = np.full((3, 2), np.nan)


def labels_of(images: Sequence[Sequence[np.ndarray | Subject]]) -> Labels:
    subjects = []
    for i, poses in enumerate(images):
        for j, pose in enumerate(poses):
            given = pose if isinstance(pose, Subject) else of(pose)
            subjects.append(replace(given, image=f"v/{i:02}.png", place=f"image {i} subject {j}"))
    return Labels("made", ".", SKELETON, tuple(subjects))


def of(pose: np.ndarray, box: Sequence[float] | None = None, crowd: bool = False) -> Subject:
    states = np.where(np.isfinite(pose).all(1), 2, 0)
    return Subject("", "", pose, states, None if box is None else (box[0], box[1], box[2], box[3]), crowd=crowd)


def found(labels: Labels) -> dict[str, list[str]]:
    return {f.kind: [f"{e.place}: {e.value}" for e in f.examples] for f in subject_findings(labels)}


def test_a_subject_that_is_labeled_twice_is_found() -> None:
    apart = POSE + 3.0
    images = [[POSE, POSE + 100, POSE + RIGHT], [POSE, apart], [POSE, POSE]]
    assert found(labels_of(images)) == {
        "doubled_subject": ["image 0 subject 2: its 3 points are within 1.5 px of those in image 0 subject 0"]
    }  # 3 px in x and y are 4.2 px, more than 5 % of 40.3; the exact copy is a repeated_subject


def test_few_points_in_common_decide_nothing() -> None:
    one, two = POSE.copy(), POSE.copy() + 0.5
    one[1:], two[2] = np.nan, np.nan
    assert found(labels_of([[POSE, one + 0.5]])) == {}  # noses may touch
    assert list(found(labels_of([[POSE, two]]))) == ["doubled_subject"]


def test_a_box_of_another_subject_is_found() -> None:
    box = [-5, -5, 45, 10]
    images = [[of(POSE, box), of(POSE + 60, box)], [of(POSE, box), of(POSE + 60, [55, 55, 105, 70])]]
    assert found(labels_of(images)) == {"shared_box": ["image 0 subject 1: its box is that in image 0 subject 0"]}


def test_a_subject_within_a_crowd_is_told() -> None:
    crowd = of(NONE, [-10, -10, 50, 50], crowd=True)
    partly = POSE + 10 * RIGHT  # its tail is outside
    assert found(labels_of([[crowd, POSE, partly], [crowd, crowd]])) == {
        "subject_in_crowd": ["image 0 subject 1: inside the crowd in image 0 subject 0"]
    }


@pytest.mark.parametrize(("pairs", "singles", "lacking"), [(19, 1, 1), (18, 2, 2), (17, 3, 0), (8, 1, 0)])
def test_images_with_fewer_subjects_stand_out_where_the_number_is_nearly_always_the_same(
    pairs: int, singles: int, lacking: int
) -> None:
    images = [[POSE, POSE + 100]] * pairs + [[POSE, NONE]] * singles
    kinds = found(labels_of(images))
    assert len(kinds.get("fewer_subjects", [])) == lacking
    if lacking:
        assert kinds["fewer_subjects"][0] == f"image {pairs} subject 0: 1 of the usual 2"


def test_single_subjects_are_left_alone() -> None:
    assert subject_findings(labels_of([[POSE]] * 30)) == []


def test_correct_sets_of_several_subjects_have_no_warning(data_root: Path) -> None:
    for name in ("glue-tubes", "coco-sample/test_coco.json"):
        labels = read_labels(data_root / "keypoints" / name)
        assert [f.kind for f in subject_findings(labels) if f.severity != "info"] == [], name
        copied = max(labels.subjects, key=lambda subject: (subject.visibility > 0).sum())
        nearly = replace(copied, keypoints=copied.keypoints + 1, place="planted", written=None)
        more = Labels(labels.source, labels.folder, labels.skeleton, (*labels.subjects, nearly))
        assert next(f.kind for f in subject_findings(more) if f.severity == "warning") == "doubled_subject"
