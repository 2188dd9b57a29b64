"""Pages about labels: every subject is drawn at its position, and unreadable images are skipped."""

from __future__ import annotations

import numpy as np
import pytest

from softpoint.audit import Example, Finding
from softpoint.audit.pages import page_of_findings, page_of_labels
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton
from softpoint.viz import palette

GRAY = np.full((100, 140, 3), 77, np.uint8)


def grays(image: str) -> np.ndarray:
    """Return a gray image, unless its name contains "gone"."""
    if "gone" in image:
        raise FileNotFoundError(image)
    return GRAY


def labels(*images: str, point: tuple[float, float] = (70.0, 50.0)) -> Labels:
    points = np.array([point, (np.nan, np.nan)])
    subjects = (Subject(image, "line 1", points, np.array([2, 0])) for image in images)
    return Labels("made", ".", Skeleton(("a", "b")), tuple(subjects))


def discs(page: np.ndarray) -> int:
    """Return the number of pixels of exactly the first keypoint's color."""
    return int((page == palette(1)[0]).all(-1).sum())


def finding(*examples: Example) -> Finding:
    return Finding("out_of_frame", "error", "points: 1", examples, "", len(examples))


def test_every_subject_of_an_image_is_drawn() -> None:
    one = page_of_labels(labels("0.png"), grays)
    two = page_of_labels(labels("0.png", "gone.png", "1.png"), grays)
    assert one is not None and two is not None and discs(one) > 20
    assert discs(two) == 2 * discs(one) and two.shape[1] > 1.9 * one.shape[1]


def test_a_point_is_drawn_at_its_position() -> None:
    page = page_of_labels(labels("0.png", point=(105.0, 50.0)), grays)
    assert page is not None
    _, columns = np.nonzero((page == palette(1)[0]).all(-1))
    # The tile is 560 wide, 4 for each of the image's 140 pixels, and starts after 8 of paper.
    disc = np.abs(columns - np.median(columns)) < 6
    assert np.median(columns[disc]) == pytest.approx(8 + (105 + 0.5) * 4 - 0.5, abs=1.5)


def test_pages_without_images_are_none() -> None:
    assert page_of_labels(labels("gone.png"), grays) is None
    assert page_of_findings(labels("gone.png"), grays, [finding(Example("gone.png", "", "", 0))]) is None
    assert page_of_findings(labels("0.png"), grays, [finding(Example("", "", "tail"))]) is None


@pytest.mark.parametrize("point", [(-30.0, 50.0), (1e9, -1e9), (0.0, 0.0), (139.0, 99.0)])
def test_suspicious_points_are_drawn_unless_they_are_too_far(point: tuple[float, float]) -> None:
    shown = page_of_findings(labels("0.png", point=point), grays, [finding(Example("0.png", "", "x", 0, (0,)))])
    assert shown is not None
    assert (discs(shown) > 20) == (abs(point[0]) < 1e6)


def test_two_images_are_drawn_side_by_side() -> None:
    shown = page_of_findings(labels("0.png", "1.png"), grays, [finding(Example("1.png", "", "x", other="0.png"))])
    assert shown is not None
    half = shown.shape[1] // 2
    assert discs(shown[:, :half]) == discs(shown[:, half:]) > 20
