"""Of labeled subjects, those become samples whose images decode: one an image, or one a crop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.labels import written
from softpoint.images.scan import Scan
from softpoint.labels.filter import decodable, one_a_sample, one_per_image
from softpoint.labels.formats import read_labels
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import Labels

THREE = "image,subject,nose_x,nose_y,tail_x,tail_y\na.png,m1,1,2,5,8\nb.png,,1,2,,\n./a.png,m2,3,4,9,6\n"


@pytest.fixture
def labels(tmp_path: Path) -> Labels:
    return read_labels(written(tmp_path, THREE))


def test_one_per_image(labels: Labels) -> None:
    with pytest.raises(ValueError, match=r"line 4: labels ./a.png, which line 2 labels too; .*data.mode=instance"):
        one_per_image(labels, RowErrors("labels.csv"))
    assert one_per_image(labels.select([0, 1]), RowErrors("labels.csv")) == [0, 1]
    assert one_per_image(labels, RowErrors("labels.csv", "skip")) == [0, 1]


def test_a_broken_image_takes_its_subjects_along(labels: Labels) -> None:
    sizes = np.array([[10, 20], [30, 40], [10, 20]])
    broken = [Scan(name, (0, 0), f"{name} is cut short", "", "", 1) for name in ("a.png", "./a.png")]
    scans = [*broken, Scan("b.png", (30, 40), None, "d", "", 1)]
    with pytest.raises(ValueError, match=r"line 2: a\.png is cut short(.|\n)*line 4: \./a\.png is"):
        decodable(labels, sizes, scans, RowErrors("labels.csv"))
    kept, left = decodable(labels, sizes, scans, RowErrors("labels.csv", "skip"))
    assert kept.places == ("line 3",) and left.tolist() == [[30, 40]]


def test_a_sample_is_an_image_or_a_subject_with_a_box(labels: Labels) -> None:
    sizes = np.array([[10, 20], [30, 40], [10, 20]])
    whole = one_a_sample(labels.select([0, 1]), sizes[:2], "image", None, RowErrors("labels.csv"))
    assert whole[0].places == ("line 2", "line 3") and whole[1].tolist() == [[10, 20], [30, 40]] and whole[2] is None
    crops = one_a_sample(labels, sizes, "instance", "keypoints", RowErrors("labels.csv"))
    assert len(crops[0]) == len(crops[1]) == len(crops[2]) and np.isfinite(crops[2]).all()
    assert {"line 2", "line 4"} <= {*crops[0].places}
