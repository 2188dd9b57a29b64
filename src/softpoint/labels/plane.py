"""The plane that images show: from pixels of the original images to millimeters on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from softpoint.runtime import in_plane

_HOW = (
    "give three rows of three numbers, which map (x, y, 1) in pixels to millimeters, or a file of them, or a file of"
    " four or more rows `x y X Y`: points in pixels and where they are in millimeters"
)


@dataclass(frozen=True, eq=False)
class Plane:
    """A flat scene before a camera that does not move: `matrix` (3, 3) maps (x, y, 1) in pixels to millimeters.

    A lens that bends straight lines is not described by it: undistort the images first.
    """

    matrix: np.ndarray

    @classmethod
    def of(cls, mm_per_pixel: float | Sequence[float] | None, homography: object = None) -> Plane | None:
        """Return the plane of a scale, a number or that of x and of y, or of a homography; None without either.

        A homography is a matrix, or a file of one or of points (`read`). Raises ValueError for both and for impossible
        numbers, FileNotFoundError for no such file.
        """
        if mm_per_pixel is None and homography is None:
            return None
        if mm_per_pixel is not None and homography is not None:
            raise ValueError("mm_per_pixel and homography both say where a pixel is; leave out one of them")
        if isinstance(homography, (str, Path)):
            return cls.read(Path(homography))
        if homography is not None:
            return cls(_checked(homography, f"homography={homography}"))
        given = f"mm_per_pixel={mm_per_pixel}"
        try:
            x, y = np.broadcast_to(np.asarray(mm_per_pixel, float), 2).tolist()
        except (TypeError, ValueError) as error:
            raise ValueError(f"{given} must be one number, or [OF_X, OF_Y]") from error
        if not (0 < x < np.inf and 0 < y < np.inf):
            raise ValueError(f"{given} must be positive: millimeters from one pixel to the next")
        return cls(np.diag([x, y, 1.0]))

    @classmethod
    def read(cls, path: Path) -> Plane:
        """Return the plane in a text file: a matrix (3, 3), or points (N, 4), to which it is fitted."""
        if not path.is_file():
            raise FileNotFoundError(f"homography={path} does not exist; {_HOW}")
        try:
            rows: np.ndarray = np.loadtxt(path.read_text(encoding="utf-8-sig").replace(",", " ").splitlines(), ndmin=2)
        except ValueError as error:
            raise ValueError(f"homography={path}: {error}; {_HOW}") from error
        if rows.ndim == 2 and rows.shape[1] == 4 and len(rows) >= 4 and np.isfinite(rows).all():
            rows = cv2.findHomography(rows[:, :2], rows[:, 2:])[0]
            if rows is None:
                raise ValueError(f"homography={path}: its points lie on one line; give four that do not")
        return cls(_checked(rows, f"homography={path}"))

    def points(self, points: np.ndarray) -> np.ndarray:
        """Return points (..., 2) in pixels as millimeters."""
        return in_plane(self.matrix, points)[0]

    def with_covariance(self, points: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return points (..., 2) in millimeters, and their covariances (..., 2, 2), to first order, in mm^2."""
        return in_plane(self.matrix, points, covariance)

    def check_covers(self, sizes: Iterable[tuple[int, int]]) -> None:
        """Raise ValueError for an image of size (H, W) that shows the horizon of the plane."""
        for height, width in sizes:
            corners = np.array([[-0.5, -0.5, 1], [width - 0.5, -0.5, 1], [-0.5, height - 0.5, 1],
                                [width - 0.5, height - 0.5, 1]])  # fmt: skip
            depth = corners @ self.matrix[2]
            if depth.min() <= 0 <= depth.max():
                raise ValueError(
                    f"homography has a horizon within images of {width}x{height}: a part of them is no part of the"
                    " plane; check the numbers, which map pixels to millimeters"
                )


def _checked(matrix: object, given: str) -> np.ndarray:
    """Return a matrix (3, 3) that can be inverted; ValueError for anything else."""
    try:
        checked = np.asarray(matrix, float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{given} holds no numbers; {_HOW}") from error
    if checked.shape != (3, 3) or not np.isfinite(checked).all():
        raise ValueError(f"{given} has the shape {checked.shape}; {_HOW}")
    if np.linalg.cond(checked / np.abs(checked).max(1, keepdims=True).clip(1e-300)) > 1e12:
        raise ValueError(f"{given} maps the image to a line; {_HOW}")
    return checked
