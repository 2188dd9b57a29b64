"""Calibrated confidences and covariances follow their formulas, in any precision, and are left alone until fitted."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from softpoint.functional import grid_to_image, render_gaussians
from softpoint.layers import Calibration
from softpoint.layers.calibration import (
    TAIL,
    evidence,
    local_moments,
    log_deviation,
    log_odds_within,
    peak_lead,
    unit_covariance,
)

STRIDE = 4


def fitted(num_keypoints: int = 1, **values: Tensor) -> Calibration:
    calibration = Calibration(num_keypoints)
    calibration.set(**{"radius": torch.tensor(16.0), "presence_weights": torch.tensor([8.0, 1.0, -2.0]), **values})
    return calibration


def prediction(std: float = 1.0, at: tuple[float, float] = (14.0, 10.0), floor: float = 1e-4) -> dict[str, Tensor]:
    """One keypoint, whose heatmap is a Gaussian of `std` cells above a floor."""
    cells = torch.tensor([[at]])
    logits = (render_gaussians(cells, std, (24, 32)) + floor).log()
    return {"logits": logits, "keypoints": grid_to_image(cells, STRIDE), "confidence": torch.full((1, 1), 0.3)}


def test_nothing_changes_until_it_is_fitted():
    raw, calibration = prediction(), Calibration(1)
    assert calibration(raw, STRIDE) is raw
    calibration.load_state_dict(Calibration(1).state_dict())
    assert calibration(raw, STRIDE) is raw and not list(calibration.parameters())


def test_moments_equal_those_of_numpy():
    heatmap, cells = torch.rand(2, 3, 7, 9, dtype=torch.float64), torch.rand(2, 3, 2, dtype=torch.float64) * 8
    result = local_moments(heatmap, cells).numpy()
    y, x = np.mgrid[:7, :9]
    for b, k in np.ndindex(2, 3):
        dx, dy = x - cells[b, k, 0].item(), y - cells[b, k, 1].item()
        near = heatmap[b, k].numpy() / (1 + (dx**2 + dy**2) / 16)
        expected = [[(near * p * q).sum() for q in (dx, dy)] for p in (dx, dy)]
        np.testing.assert_allclose(result[b, k], expected, rtol=1e-12)


@pytest.mark.parametrize("scale", [0.3, 2.0, 50.0])
@pytest.mark.parametrize("radius", [0.5, 3.0, 20.0])
def test_the_odds_are_the_mass_of_the_distribution(scale: float, radius: float):
    # The density of a t-distribution in two dimensions, summed over rings.
    edges = np.linspace(0, radius, 4_001)
    ring = (edges[1:] + edges[:-1]) / 2
    density = (1 + ring**2 / (TAIL * scale**2)) ** (-TAIL / 2 - 1) / (2 * math.pi * scale**2)
    mass = (density * 2 * math.pi * ring * np.diff(edges)).sum()
    result = log_odds_within(torch.tensor(radius, dtype=torch.float64), torch.tensor(scale, dtype=torch.float64))
    assert result.sigmoid().item() == pytest.approx(mass, rel=1e-4)


def test_a_deviation_is_that_of_the_heatmap():
    # The Cauchy weight takes some of a Gaussian's variance: the integral of d^2 / (1 + d^2 / 16) under it.
    d = np.linspace(0, 30, 6_001)
    weight = d * np.exp(-(d**2) / 2)
    variance = (weight * d**2 / (1 + d**2 / 16)).sum() / weight.sum() / 2
    seen = evidence(prediction(1.0, floor=1e-12), STRIDE)
    assert log_deviation(seen.spread).exp().item() == pytest.approx(STRIDE * math.sqrt(variance), rel=1e-3)
    torch.testing.assert_close(unit_covariance(seen.spread)[0, 0], torch.eye(2), atol=1e-4, rtol=0)


def test_the_covariance_is_scaled_and_lies_as_the_heatmap_does():
    raw = prediction()
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(32.0), indexing="ij")
    along, across = (x - 14 + y - 10) / math.sqrt(2), (x - 14 - y + 10) / math.sqrt(2)
    raw["logits"] = (-(along**2) / 8 - across**2 / 2)[None, None]
    calibration = fitted(log_scale=torch.tensor([0.3]), slope=torch.tensor(1.5), covariance_scale=torch.tensor(3.0))
    covariance = calibration(raw, STRIDE)["covariance"][0, 0]
    values, vectors = torch.linalg.eigh(covariance)
    assert vectors[:, 1].abs().tolist() == pytest.approx([math.sqrt(0.5)] * 2, abs=1e-3)
    assert 1.4 < (values[1] / values[0]).sqrt() < 2  # 2, less what is made rounder and what is far
    deviation = log_deviation(evidence(raw, STRIDE).spread).item()
    expected = 3 * math.exp(2 * (0.3 + 1.5 * deviation))
    assert torch.linalg.det(covariance).sqrt().item() == pytest.approx(expected, rel=1e-4)


def test_a_wider_heatmap_is_trusted_less():
    result = [fitted()(prediction(std), STRIDE) for std in (0.6, 1.0, 1.5, 2.5, 4.0, 8.0)]
    confidence = [one["confidence"].item() for one in result]
    size = [torch.linalg.det(one["covariance"]).item() for one in result]
    assert confidence == sorted(confidence, reverse=True) and confidence[0] > 0.9 > 0.7 > confidence[-1]
    assert size == sorted(size)


def test_a_flat_heatmap_is_out_of_the_image():
    raw = prediction()
    raw["logits"] = torch.zeros_like(raw["logits"])
    strict = fitted(presence_weights=torch.tensor([-3.0, 6.0, -1.0]))
    assert strict(raw, STRIDE)["confidence"] < 0.01 < 0.85 < strict(prediction(), STRIDE)["confidence"]


def test_what_the_network_says_of_absence_multiplies():
    raw = prediction()
    told = {**raw, "visibility": torch.tensor([[[2.0, 0.0, 0.0]]])}
    gone = torch.tensor([2.0, 0.0, 0.0]).softmax(0)[0]
    result, expected = fitted()(told, STRIDE)["confidence"], fitted()(raw, STRIDE)["confidence"] * (1 - gone)
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("std", [0.6, 1.5, 4.0])
def test_the_parts_multiply_to_the_confidence(std: float):
    calibration = fitted(log_scale=torch.tensor([-0.3]), slope=torch.tensor(1.2), presence_weights=torch.ones(3))
    raw = prediction(std)
    seen = evidence(raw, STRIDE)
    parts = calibration.parts(seen)
    torch.testing.assert_close(parts.in_image * parts.within_radius, calibration(raw, STRIDE)["confidence"])
    assert parts.radius.tolist() == [[16.0]] and torch.equal(parts.contrast, seen.contrast)
    scale = parts.error_scale.item()
    assert scale == pytest.approx(math.exp(-0.3) * parts.spread.item() ** 1.2, rel=1e-5)
    # The mass of a t-distribution within the radius, and a logistic function of contrast and log spread.
    assert parts.within_radius.item() == pytest.approx(1 - (1 + 256 / (TAIL * scale**2)) ** (-TAIL / 2), rel=1e-4)
    logit = 1 + parts.contrast.item() + math.log(parts.spread.item())
    assert parts.in_image.item() == pytest.approx(1 / (1 + math.exp(-logit)), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("kind", ["flat", "one cell", "huge", "corner"])
def test_any_logits_give_finite_numbers(dtype: torch.dtype, kind: str):
    logits = torch.zeros(2, 3, 16, 16)
    if kind != "flat":
        logits[..., 0 if kind == "corner" else 5, 0 if kind == "corner" else 9] = 1e4 if kind == "huge" else 30
    raw = {"logits": logits.to(dtype), "keypoints": torch.full((2, 3, 2), -2.0 if kind == "corner" else 37.5)}
    result = fitted(3)(raw, STRIDE)
    for name in ("confidence", "covariance"):
        assert result[name].dtype == torch.float32 and result[name].isfinite().all()
    assert ((result["confidence"] >= 0) & (result["confidence"] <= 1)).all()
    assert (torch.linalg.eigvalsh(result["covariance"]) > 0).all()


def test_autocast_changes_nothing():
    raw = prediction()
    expected = fitted()(raw, STRIDE)
    with torch.autocast("cpu", torch.bfloat16):
        result = fitted()(raw, STRIDE)
    torch.testing.assert_close(result, expected, rtol=0, atol=0)


def test_a_fit_travels_with_the_state():
    one, other = fitted(2, log_scale=torch.tensor([0.5, -0.5])), Calibration(2)
    other.load_state_dict(one.state_dict())
    raw = {key: value.expand(-1, 2, *value.shape[2:]) for key, value in prediction().items()}
    assert other.fitted
    torch.testing.assert_close(other(raw, STRIDE), one(raw, STRIDE), rtol=0, atol=0)


def test_values_of_an_earlier_version_load_and_have_no_regions():
    older = {name: value for name, value in fitted().state_dict().items() if name not in fitted().older()}
    calibration = Calibration(1)
    calibration.load_state_dict(older)
    assert calibration.fitted and not calibration.region_radii.any() and len(older) < len(calibration.state_dict())


def test_a_second_peak_is_found_beyond_the_reach_alone():
    logits = torch.zeros(1, 1, 24, 32)
    logits[..., 10, 14], logits[..., 10, 17], logits[..., 20, 3] = 9.0, 8.0, 5.0
    at = torch.tensor([[[14.0, 10.0]]])
    assert peak_lead(logits, at).item() == pytest.approx(math.log1p(9 - 5))
    assert peak_lead(logits, at + 20).item() == 0  # the point is not at its heatmap's maximum
