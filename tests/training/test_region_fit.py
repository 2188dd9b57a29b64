"""Radii of regions hold errors that the calibration did not see, with the stated probability and no fewer units."""

from __future__ import annotations

import numpy as np
import torch

from softpoint.functional import heatmap_set, spatial_softmax
from softpoint.layers import Calibration
from softpoint.layers.calibration import Evidence
from softpoint.metrics.conformal import mahalanobis
from softpoint.training.calibration_fit import Measured, fit_calibration
from softpoint.training.region_fit import fit_regions, fit_sets

RADIUS, K = torch.tensor(5.0), 3
NONE = Evidence(torch.zeros(0, 2, 2), *[torch.zeros(0)] * 3)


def drawn(units: int, seed: int) -> tuple[Measured, np.ndarray]:
    """Four images of each unit, whose errors are heavy-tailed and of a level of its own."""
    torch.manual_seed(seed)
    unit = np.repeat(np.arange(units), 4)
    width = torch.rand(len(unit), K) * 3 + 1
    level = torch.randn(units)[torch.from_numpy(unit)].mul(0.5).exp()[:, None]
    error = torch.randn(len(unit), K, 2) * (width * level)[..., None]
    error /= torch.distributions.Chi2(3.0).sample((len(unit), K)).div(3).sqrt()[..., None]
    spread = width.square()[..., None, None] * torch.eye(2)
    seen = Evidence(spread, torch.full_like(width, 2.0), torch.ones_like(width), torch.full_like(width, 1.5))
    return Measured(seen, error, torch.ones(len(unit), K, dtype=torch.bool), error.norm(dim=-1) <= RADIUS), unit


def test_new_errors_are_inside_and_all_of_an_image_at_once() -> None:
    shares, joint = [], []
    for seed in range(12):
        measured, unit = drawn(30, seed)
        calibration = Calibration(K)
        calibration.set(**fit_calibration(measured, RADIUS, NONE))
        radii = fit_regions(measured, unit, RADIUS, NONE, 1.0).numpy()
        new, _ = drawn(100, 1000 + seed)
        covariance = calibration.covariance(new.evidence, calibration.parts(new.evidence).error_scale)
        distance = mahalanobis(new.error.numpy(), covariance.numpy())
        shares.append([(distance <= row[:-1]).mean() for row in radii])
        joint.append([(distance.max(1) <= row[-1]).mean() for row in radii])
    for held in (np.mean(shares, 0), np.mean(joint, 0)):
        assert 0.45 < held[0] < 0.6 and 0.88 < held[1] < 0.97


def test_eight_units_have_no_region_of_90_percent() -> None:
    for units, known in ((1, [True, False]), (8, [True, False]), (9, [True, True])):
        measured, unit = drawn(units, 0)
        radii = fit_regions(measured, unit, RADIUS, NONE, 0.2)
        assert [bool((row > 0).all()) for row in radii] == known


def test_a_keypoint_that_is_labeled_in_few_units_has_no_region() -> None:
    measured, unit = drawn(12, 0)
    measured.mask[unit > 3, 1] = False
    radii = fit_regions(measured, unit, RADIUS, NONE, 1.0)
    assert radii[1].tolist()[1] == 0 and (radii[1, [0, 2, 3]] > 0).all() and radii[0, 1] > 0


def test_tails_of_heatmap_sets_are_quantiles_of_the_labels() -> None:
    measured, unit = drawn(9, 0)
    tail = torch.linspace(0.9, 0.1, 9).repeat_interleave(4)[:, None] * torch.tensor([1.0, 0.5, 0.1])
    measured.mask[:8, 2] = False  # seven units remain
    found = fit_sets(measured._replace(tail=tail), unit)
    assert found.dtype == torch.float64 and found.shape == (2, K + 1)
    # Of nine new units the tenth is as likely at any place: the fifth lowest holds half, the lowest 90 %.
    expected = [[0.5, 0.25, 0.04, 0.05], [0.1, 0.05, 0.0, 0.01]]
    torch.testing.assert_close(found, torch.tensor(expected).double(), atol=1e-6, rtol=0)
    fewer = fit_sets(measured._replace(tail=tail, mask=measured.mask & (torch.from_numpy(unit) > 0)[:, None]), unit)
    assert not fewer[1].any() and (fewer[0] > 0).all()


def test_labels_outside_the_map_are_in_no_set_and_those_at_the_peak_in_the_smallest() -> None:
    measured, unit = drawn(9, 0)
    tail = torch.ones(36, K)
    tail[:4, 0], tail[:20, 1] = -torch.inf, -torch.inf  # one of nine units, five of nine
    found = fit_sets(measured._replace(tail=tail), unit).float()
    peak = found[0, 0].item()
    assert 0 < peak < 1 and found.tolist() == [[peak, 0, peak, 0], [0, 0, peak, 0]]
    heatmap = spatial_softmax(torch.randn(5, 8, 8))
    assert torch.equal(heatmap_set(heatmap, found[0, 0]), heatmap == heatmap.amax((-2, -1), keepdim=True))
