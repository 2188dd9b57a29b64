"""Planes: closed forms, first-order covariances against a simulation, files, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.training import write_labels
from softpoint.labels.load import load_labels
from softpoint.labels.plane import Plane
from softpoint.labels.source import LabelSource

TILTED = np.array([[0.05, 0.002, -3.0], [-0.001, 0.06, 5.0], [1e-4, -2e-4, 1.0]])


def test_a_scale_is_that_of_each_axis() -> None:
    plane = Plane.of([0.5, 0.25])
    assert plane is not None and Plane.of(None) is None
    place, covariance = plane.with_covariance(np.array([[10.0, 8.0]]), np.array([[[4.0, 1.0], [1.0, 16.0]]]))
    assert place.tolist() == [[5.0, 2.0]]
    assert covariance.tolist() == [[[1.0, 0.125], [0.125, 1.0]]]


def test_the_covariance_is_that_of_small_errors() -> None:
    plane, rng = Plane(TILTED), np.random.default_rng(0)
    point, spread = np.array([200.0, 120.0]), np.array([[0.04, 0.015], [0.015, 0.09]])
    _, covariance = plane.with_covariance(point, spread)
    simulated = np.cov(plane.points(rng.multivariate_normal(point, spread, 200_000)).T)
    np.testing.assert_allclose(covariance, simulated, rtol=0.02, atol=1e-7)


@pytest.mark.parametrize("suffix", [".txt", ".csv"])
def test_a_file_holds_the_matrix_or_points_of_it(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(0).uniform(0, 500, (6, 2))
    for rows in (TILTED, np.hstack([pixels, Plane(TILTED).points(pixels)])):
        file = tmp_path / f"plane{suffix}"
        np.savetxt(file, rows, delimiter="," if suffix == ".csv" else " ", header="pixels to mm")
        plane = LabelSource("labels.csv", homography=file).plane
        assert plane is not None
        np.testing.assert_allclose(plane.points(pixels), Plane(TILTED).points(pixels), atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mm_per_pixel": 0}, "mm_per_pixel=0 must be positive"),
        ({"mm_per_pixel": "wide"}, "mm_per_pixel=wide must be one number"),
        ({"mm_per_pixel": [1, 2, 3]}, "must be one number, or"),
        ({"mm_per_pixel": 1, "homography": TILTED.tolist()}, "leave out one of them"),
        ({"homography": [[1, 0], [0, 1]]}, r"shape \(2, 2\)"),
        ({"homography": [[1, 0, 0], [2, 0, 0], [0, 0, 1]]}, "maps the image to a line"),
        ({"homography": "none.txt"}, "none.txt does not exist; give three rows"),
    ],
)
def test_what_is_no_plane_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        LabelSource("labels.csv", **settings)  # type: ignore[arg-type]


def test_a_file_without_numbers_or_of_points_on_a_line_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "plane.csv"
    file.write_text("x,y,X,Y\n1,2,3,4\n")
    with pytest.raises(ValueError, match=r"plane\.csv: could not convert"):
        Plane.read(file)
    file.write_text("0,0,0,0\n1,1,1,1\n2,2,2,2\n3,3,3,3\n")
    with pytest.raises(ValueError, match=r"plane\.csv"):
        Plane.read(file)


def test_an_image_of_a_horizon_is_refused() -> None:
    plane = Plane(np.array([[0.1, 0, 0], [0, 0.1, 0], [0, 0.01, -1.0]]))  # which is at y = 100
    plane.check_covers([(90, 200)])
    with pytest.raises(ValueError, match="a horizon within images of 200x300"):
        plane.check_covers([(90, 200), (300, 200)])


def test_labels_of_an_image_of_a_horizon_are_refused_before_anything_is_predicted(tmp_path: Path) -> None:
    _, labels, images = write_labels(tmp_path, 3)
    source = LabelSource(labels.partition("=")[2], images.partition("=")[2], verify=False)
    load_labels(source)
    with pytest.raises(ValueError, match="homography has a horizon within images of 61x90"):
        load_labels(replace(source, homography=[[0.1, 0, 0], [0, 0.1, 0], [0, 0.01, -0.8]]))
