"""Images of how good a model is: how its errors are distributed, and where it errs most."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np

from softpoint.evaluation.eval_sets import EvaluationSet
from softpoint.evaluation.results import Results
from softpoint.functional.coordinates import grid_to_image
from softpoint.paths import normalize_path
from softpoint.viz.chart import line_chart
from softpoint.viz.grid import contact_sheet
from softpoint.viz.image_ops import letterbox, resize
from softpoint.viz.overlay import draw_keypoints

_WIDTH = 560  # of a tile
_PAPER = 128  # around an image
_NOTHING, _EVERYTHING = 1e-6, 1e6  # pixels, where curves begin and end
_NAMED = 8  # keypoints up to which names are written


def error_figure(results: Results) -> np.ndarray:
    """The share of points within each error, of every keypoint and of all: uint8 (H, W, 3).

    Up to the error that 98 % of all points keep within; a log axis shows sub-pixel and gross errors alike.
    """
    errors, names = results.errors, results.skeleton.names
    curves = {name: _shares(errors[:, k]) for k, name in enumerate(names) if np.isfinite(errors[:, k]).any()}
    series = curves | ({"all": _shares(errors)} if len(curves) > 1 else {})
    known = errors[np.isfinite(errors)]
    limits = None
    if len(known):
        low, high = np.quantile(known, [0.02, 0.98])
        limits = (max(low, 1e-3), max(high, 2 * low, 2e-3))
    return line_chart(
        series,
        "Errors of each keypoint",
        "error (pixels of the original images)",
        "share of points within it",
        dashed=["all"] if "all" in series else [],
        log_x=True,
        x_limits=limits,
        y_limits=(0, 1),
    )


def worst_figure(results: Results, given: EvaluationSet, count: int = 12) -> np.ndarray:
    """The subjects with the largest mean error, worst first: truth as circles, predictions as dots.

    `given` is the set that was predicted. A page uint8 (H, W, 3); ValueError where nothing is labeled.
    """
    errors = results.errors
    known = np.flatnonzero(np.isfinite(errors).any(1))
    if not len(known):
        raise ValueError("no point is labeled: there are no errors to show")
    mean = np.array([np.nanmean(errors[i]) for i in known])
    worst = known[np.argsort(-mean, kind="stable")[:count]]
    parts = [_near(given.source.load(0, int(i)).image, results, int(i)) for i in worst]
    tall = float(np.median([part.shape[0] / part.shape[1] for part, _ in parts]))
    size = round(_WIDTH * float(np.clip(tall, 0.4, 1.4))), _WIDTH
    tiles = [_tile(results, int(i), *part, size) for i, part in zip(worst, parts, strict=True)]
    names = [PurePosixPath(normalize_path(results.images[i])).name for i in worst]
    titles = [f"{np.nanmean(errors[i]):.1f} px: {name}" for i, name in zip(worst, names, strict=True)]
    return contact_sheet(tiles, min(3, len(tiles)), titles=titles)


def _shares(errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The corners of the empirical distribution function, from nothing to everything."""
    ranked = np.sort(errors[np.isfinite(errors)], axis=None)
    ends = _NOTHING, max(_EVERYTHING, float(ranked[-1]))
    x = np.concatenate([ends[:1], np.repeat(ranked, 2), ends[1:]])
    return x, np.repeat(np.arange(len(ranked) + 1) / len(ranked), 2)


def _tile(results: Results, i: int, part: np.ndarray, origin: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """One subject, drawn at the size of the tile so that marks stay legible; labeled points alone."""
    height, width = part.shape[:2]
    scale = min(size[0] / height, size[1] / width)
    canvas = resize(part, (max(1, round(height * scale)), max(1, round(width * scale))))
    scale = canvas.shape[1] / width
    shown = np.where(results.labeled[i, :, None], results.keypoints[i], np.nan)
    drawn = draw_keypoints(
        canvas,
        grid_to_image(shown - origin, scale),
        truth=grid_to_image(results.truth[i] - origin, scale),
        skeleton=results.skeleton,
        names=len(results.skeleton) <= _NAMED,
        upscale=1,
    )
    return letterbox(drawn, size, _PAPER)


def _near(pixels: np.ndarray, results: Results, i: int) -> tuple[np.ndarray, np.ndarray]:
    """The part of an image about a subject's labeled points and where they were predicted, and its origin (2,)."""
    labeled, size = results.labeled[i], np.array(pixels.shape[1::-1])
    known = np.concatenate([results.keypoints[i, labeled], results.truth[i, labeled]]).clip(0, size - 1)
    low, high = known.min(0), known.max(0)
    room = max(0.2 * float((high - low).max()), 32.0)
    (left, top), (right, bottom) = np.floor(low - room).clip(0).astype(int), np.ceil(high + room).astype(int)
    return np.ascontiguousarray(pixels[top : bottom + 1, left : right + 1]), np.array([left, top], float)
