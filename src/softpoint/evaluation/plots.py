"""Figures of an evaluation: how the errors are distributed, how reliable confidences are, and the worst images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import binomtest

from softpoint.evaluation.eval_sets import EvaluationSet
from softpoint.evaluation.results import Results
from softpoint.metrics.calibration import (
    BINS,
    FRACTION,
    confidences_and_hits,
    expected_calibration_error,
    predicted_and_real_errors,
    rank_correlation,
)
from softpoint.metrics.functional import ellipse_radius, squared_mahalanobis
from softpoint.paths import normalize_path
from softpoint.viz import contact_sheet, crop_around, draw_tile, legend
from softpoint.viz.figures import COLORS, REFERENCE, new_figure, number_log_axis, styled

_TILE_WIDTH = 560
_MAX_NAMES = 8  # keypoints up to which names are written


@styled
def error_figure(results: Results) -> Figure:
    """Return the cumulative distribution of the errors, in px, of each keypoint and of all of them together.

    The axis is logarithmic, to show sub-pixel and gross errors alike, and holds 96 % of the errors. Of more than 8
    keypoints the 5 of largest mean error have a color.
    """
    errors = results.errors
    finite = errors[np.isfinite(errors)]
    names = {k: name for k, name in enumerate(results.skeleton.names) if np.isfinite(errors[:, k]).any()}
    worst_first = sorted(names, key=lambda k: -np.nanmean(errors[:, k]))
    colored = sorted(names if len(names) <= 8 else worst_first[:5])
    figure, (axes,) = new_figure()
    for k in names:
        values = errors[np.isfinite(errors[:, k]), k]
        if k in colored:
            style: dict[str, Any] = {"color": COLORS[colored.index(k) % 5], "ls": "-" if colored.index(k) < 5 else ":"}
            axes.ecdf(values, label=names[k], zorder=3, **style)
        else:
            axes.ecdf(values, color="0.8", lw=1)
    if len(colored) < len(names):
        axes.plot([], [], color="0.8", label=f"{len(names) - len(colored)} other keypoints")
    if len(names) > 1:
        axes.ecdf(finite, color="black", ls="--", label="all keypoints", zorder=4)
        figure.legend(loc="outside right upper")
    axes.set(title="Errors of the keypoints", xscale="log", ylim=(0, 1))
    axes.set(xlabel="error (px of the original image)", ylabel="fraction of points")
    if len(finite):
        low, high = np.quantile(finite, [0.02, 0.98])
        axes.set_xlim(max(low, 1e-3), max(high, 2 * low, 2e-3))
    number_log_axis(axes.xaxis)
    return figure


@styled
def reliability_figure(results: Results, fraction: float = FRACTION) -> Figure:
    """Return the reliability of confidences and covariances: three panels, an ideal model on each dashed line.

    Hit rate against confidence, of points that are sorted by confidence and divided into equal parts, with Wilson's
    95 % intervals; the share of errors inside the ellipse of each probability; and the error of each point against
    that predicted.
    """
    confidence, hit = confidences_and_hits(results, fraction)
    figure, (left, middle, right) = new_figure(3, (11, 3.9))
    for part in _equal_parts(confidence):
        rate, hits = hit[part].mean(), binomtest(int(hit[part].sum()), len(part))
        ends = np.abs(np.array([*hits.proportion_ci(method="wilson")]) - rate)[:, None]
        left.errorbar(confidence[part].mean(), rate, ends, color=COLORS[0], marker="o", capsize=3, clip_on=False)
    left.set(title=f"Calibration error {expected_calibration_error(confidence, hit):.3f}", xlabel="confidence")
    left.set_ylabel(f"fraction within {100 * fraction:g} % of the subject")
    offsets = (results.keypoints - results.truth)[results.labeled]
    distance = np.sqrt(squared_mahalanobis(offsets, results.covariance[results.labeled]))
    levels = np.linspace(0, 0.99, 100)
    middle.plot(levels, [_fraction_inside(distance, level) for level in levels], color=COLORS[0])
    held = ", ".join(f"{100 * _fraction_inside(distance, level):.0f}" for level in (0.5, 0.9))
    middle.set(title=f"Coverage at 50, 90 %: {held} %", xlabel="probability of the ellipse")
    middle.set_ylabel("fraction of errors inside")
    predicted, error = predicted_and_real_errors(results)
    right.set(title=f"Rank correlation {rank_correlation(predicted, error):.2f}")
    predicted, error = predicted.clip(1e-2), error.clip(1e-2)
    # Many points are pale, so that their density shows, and pixels, as an SVG of each would be large.
    opacity, many = float(np.clip(300 / max(len(error), 1), 0.06, 0.6)), len(error) > 2000
    right.loglog(predicted, error, "o", color=COLORS[0], alpha=opacity, ms=3, mew=0, rasterized=many)
    right.set(xlabel="predicted error (px)", ylabel="error (px)")
    for panel in (left, middle):
        panel.plot([0, 1], [0, 1], **REFERENCE)
        panel.set(xlim=(0, 1), ylim=(0, 1), box_aspect=1)
    if len(predicted):
        right.plot([predicted.min(), predicted.max()], [predicted.min(), predicted.max()], **REFERENCE)
    right.set(box_aspect=1)
    number_log_axis(right.xaxis)
    number_log_axis(right.yaxis)
    return figure


def _equal_parts(confidence: np.ndarray) -> list[np.ndarray]:
    """Return the indices of up to ten parts of at least 25 points, or of one part, from the lowest confidence up."""
    parts = min(BINS, max(1, len(confidence) // 25))
    return [part for part in np.array_split(np.argsort(confidence, kind="stable"), parts) if len(part)]


def _fraction_inside(distance: np.ndarray, level: float) -> float:
    """Return the fraction of Mahalanobis distances (P,) inside the ellipse of this probability; NaN for none."""
    return float((distance <= ellipse_radius(level)).mean()) if len(distance) else float("nan")


def worst_figure(results: Results, evaluated: EvaluationSet, count: int = 12) -> np.ndarray:
    """Return an image uint8 (H, W, 3) of the subjects with the largest mean error, worst first.

    Labels are circles, predictions discs, as a legend below explains. `evaluated` is the set that was predicted.
    Raises ValueError for results without a labeled point.
    """
    labeled = np.flatnonzero(results.labeled.any(1))
    if not len(labeled):
        raise ValueError("no point is labeled: there are no errors to show")
    mean = np.array([np.nanmean(results.errors[i]) for i in labeled])
    order = np.argsort(-mean, kind="stable")[:count]
    crops = []
    for i in labeled[order]:
        image, points = evaluated.source.load(0, int(i)).image, results.labeled[i]
        around = np.concatenate([results.keypoints[i, points], results.truth[i, points]])
        crops.append(crop_around(image, around.clip(0, np.array(image.shape[1::-1]) - 1)))
    shape = float(np.median([crop.shape[0] / crop.shape[1] for crop, _ in crops]))
    size = round(_TILE_WIDTH * float(np.clip(shape, 0.4, 1.4))), _TILE_WIDTH
    tiles, titles, names = [], [], _short_names(results.images)
    for i, error, (crop, origin) in zip(labeled[order], mean[order], crops, strict=True):
        predicted = np.where(results.labeled[i, :, None], results.keypoints[i], np.nan) - origin
        truth = results.truth[i] - origin
        named = len(results.skeleton) <= _MAX_NAMES
        tiles.append(draw_tile(crop, predicted[None], size, results.skeleton, truth=truth[None], names=named))
        titles.append(f"{error:.1f} px: {names[i]}")
    sheet = contact_sheet(tiles, min(3, len(tiles)), titles=titles)
    return np.concatenate([sheet, legend(results.skeleton.names, sheet.shape[1])])


def _short_names(images: Sequence[str]) -> list[str]:
    """Return the paths of images below the folder that holds them all, as frames of two videos may have one name.

    >>> _short_names(["data/a/img1.png", "data/b/img1.png"]), _short_names(["a/img1.png"])
    (['a/img1.png', 'b/img1.png'], ['img1.png'])
    """
    paths = [PurePosixPath(normalize_path(image)) for image in images]
    folders = zip(*(path.parts[:-1] for path in paths), strict=False)
    shared = sum(1 for _ in takewhile(lambda names: len(set(names)) == 1, folders))
    return ["/".join(path.parts[shared:]) for path in paths]
