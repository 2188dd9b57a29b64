"""Conformal bounds of regions, of a calibration's ellipses and of heatmap sets, from errors on images held out."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from softpoint.layers.calibration import REGION_LEVELS, Calibration, Evidence
from softpoint.metrics.conformal import mahalanobis, region_radii
from softpoint.training.calibration_fit import Measured, fit_calibration

_FOLDS = 10


def fit_regions(measured: Measured, unit: np.ndarray, radius: Tensor, absent: Evidence, weight: float) -> Tensor:
    """Return the `region_radii` (levels, K + 1) of a calibration, 0 where the units are too few.

    `unit` (N,) is that of each image; the other arguments are those of `fit_calibration`. The units are divided in ten,
    and the distances of each part are measured by a calibration fitted to the others, so that no radius flatters itself
    (cross-conformal prediction: Vovk, arXiv:1208.0806).
    """
    distance = np.full(measured.mask.shape, np.nan)
    folds = min(_FOLDS, int(unit.max()) + 1)
    for fold in range(folds):
        held = torch.from_numpy(unit % folds == fold)
        others = measured._replace(mask=measured.mask & ~held[:, None])
        calibration = Calibration(measured.mask.shape[1]).double()
        calibration.set(**fit_calibration(others, radius, absent, weight))
        observed = Evidence(*(value[held].double() for value in measured.evidence))
        covariance = calibration.covariance(observed, calibration.parts(observed).error_scale)
        error = torch.where(measured.mask[..., None], measured.error, torch.nan)[held]
        distance[held.numpy()] = mahalanobis(error.double().numpy(), covariance.numpy())
    return region_bounds(distance, unit)


def fit_sets(measured: Measured, unit: np.ndarray) -> Tensor:
    """Return the tails (levels, K + 1) of heatmap sets, as `fit_regions` the radii; a heatmap is fitted to nothing."""
    assert measured.tail is not None
    # At 1 the most probable cell alone is in a set. A bound just below means the same, and no other cell reaches it.
    tail = measured.tail.float().clamp_max(1 - torch.finfo(torch.float32).eps)
    return -region_bounds(torch.where(measured.mask, -tail, torch.nan).double().numpy(), unit)


def region_bounds(scores: np.ndarray, unit: np.ndarray) -> Tensor:
    """Return the `region_radii` (levels, K + 1) of scores (N, K) at `REGION_LEVELS`, 0 for an infinite one."""
    bounds = np.stack([region_radii(scores, unit, level) for level in REGION_LEVELS])
    return torch.from_numpy(np.where(np.isfinite(bounds), bounds, 0.0))
