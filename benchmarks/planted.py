"""Label errors of several kinds, planted into labels that are right."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from softpoint.labels.schema import VISIBLE, Labels

KINDS = {
    "exchanged": "two points exchanged that are no left and right",
    "on a neighbor": "a point on the place of its nearest neighbor",
    "shifted 5 to 8 %": "a point moved by 5 to 8 % of the subject's size",
    "shifted 10 to 20 %": "by 10 to 20 %",
    "shifted 50 to 100 %": "by half to the whole size, within the image",
    "all shifted": "all points of an image moved by 10 to 20 % together",
    "other image": "the points of another image",
    "forgotten": "a point without label",
}


class Planted(NamedTuple):
    """A label that was made wrong."""

    kind: str
    row: int
    keypoints: tuple[int, ...]


def plant(labels: Labels, each: int, rng: np.random.Generator) -> tuple[Labels, list[Planted]]:
    """Return labels with `each` errors of every kind, one per image."""
    points, planted = labels.keypoints.copy(), list[Planted]()
    enough = rng.permutation(np.flatnonzero(np.isfinite(points[..., 0]).sum(1) >= 3)).tolist()
    if len(enough) < each * len(KINDS) + 1:
        raise ValueError(f"{each} errors of {len(KINDS)} kinds need more than {each * len(KINDS)} images of 3 points")
    limits = [np.array(subject.size[::-1]) - 1.0 for subject in labels.subjects]
    for kind in list(KINDS) * each:
        row = enough.pop()
        other = labels.keypoints[enough[0]]  # never made wrong before: rows are taken from the end
        moved = _wrong(kind, points[row], other, labels, rng)
        if limits[row].min() > 0:
            moved = np.clip(moved, 0, limits[row])
        changed = ~np.isclose(moved, points[row], equal_nan=True).all(-1)
        planted.append(Planted(kind, row, tuple(np.flatnonzero(changed).tolist())))
        points[row] = moved
    states = np.where(np.isfinite(points[..., 0]), VISIBLE, 0)
    subjects = (
        replace(s, keypoints=p, visibility=v, written=None)
        for s, p, v in zip(labels.subjects, points, states, strict=True)
    )
    return replace(labels, subjects=tuple(subjects)), planted


def _wrong(kind: str, points: np.ndarray, other: np.ndarray, labels: Labels, rng: np.random.Generator) -> np.ndarray:
    """Return the points (K, 2) of a subject with an error of this kind; `other` are those of another image."""
    points = points.copy()
    a, b = _two(points, labels, rng)
    size = float(np.linalg.norm(np.nanmax(points, 0) - np.nanmin(points, 0)))
    if kind == "exchanged":
        points[[a, b]] = points[[b, a]]
    elif kind == "on a neighbor":
        away = np.linalg.norm(points - points[a], axis=1)
        away[a] = np.inf
        points[a] = points[int(np.nanargmin(away))] + rng.normal(0, 0.005 * size, 2)
    elif kind == "other image":
        points = np.where(np.isfinite(points), other, np.nan)
    elif kind == "forgotten":
        points[a] = np.nan
    else:
        part = {"shifted 5 to 8 %": (0.05, 0.08), "shifted 50 to 100 %": (0.5, 1.0)}.get(kind, (0.1, 0.2))
        angle = rng.uniform(0, 2 * np.pi)
        shift = size * rng.uniform(*part) * np.array([np.cos(angle), np.sin(angle)])
        points[slice(None) if kind == "all shifted" else a] += shift
    return points


def _two(points: np.ndarray, labels: Labels, rng: np.random.Generator) -> tuple[int, int]:
    """Return two labeled points that are no flip pair."""
    names, pairs = labels.skeleton.names, [{*pair} for pair in labels.skeleton.flip_pairs]
    order = rng.permutation(np.flatnonzero(np.isfinite(points[:, 0]))).tolist()
    return order[0], next(k for k in order[1:] if {names[order[0]], names[k]} not in pairs)
