"""Cells as classes: what a class probability says of a keypoint."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from softpoint.functional import spatial_softmax
from softpoint.models import ChannelSoftmaxHead


def head(**settings) -> ChannelSoftmaxHead:
    """A head whose classes are its features."""
    made = ChannelSoftmaxHead(in_channels=3, num_keypoints=2, stride=4, **settings)
    torch.nn.init.dirac_(made.classes.weight)
    torch.nn.init.zeros_(made.classes.bias)
    return made


def test_heatmap_and_confidence_are_the_class_probability():
    features = 3 * torch.randn(2, 3, 5, 6)
    result = head()(features)
    e = np.exp(features.double().numpy())
    p = (e / e.sum(1, keepdims=True))[:, :2]
    np.testing.assert_allclose(result["logits"].detach(), np.log(p), atol=1e-5)
    heatmap = spatial_softmax(result["logits"].detach())
    np.testing.assert_allclose(heatmap, p / p.sum((2, 3), keepdims=True), rtol=1e-4)
    np.testing.assert_allclose(result["confidence"].detach(), p.max((2, 3)), rtol=1e-5)
    assert torch.equal(result["classes"], head().classes(features))


def disc(center: tuple[float, float], edge: float) -> torch.Tensor:
    """Features (1, 3, 36, 40) of a disc of 2.5 cells about (x, y), whose log-odds fall at its rim by `edge` a cell."""
    rows, columns = torch.meshgrid(torch.arange(36.0), torch.arange(40.0), indexing="ij")
    distance = torch.hypot(columns - center[0], rows - center[1])
    features = torch.zeros(1, 3, 36, 40)
    features[0, 0] = (edge * (2.5 - distance)).clamp(-6, 6)
    features[0, 1] = -6
    return features


@pytest.mark.parametrize("center", [(20.0, 12.0), (20.3, 12.4), (5.5, 30.2), (4.0, 4.0)])
@pytest.mark.parametrize(("edge", "error"), [(2.5, 0.3), (100.0, 2.0)])
def test_the_middle_of_a_disc_is_found(center: tuple[float, float], edge: float, error: float):
    with torch.no_grad():
        result = head()(disc(center, edge))["keypoints"][0, 0]
    assert torch.linalg.vector_norm(result - (4 * torch.tensor(center) + 1.5)) < error


def test_a_keypoint_that_is_nowhere_has_no_confidence():
    features = torch.zeros(1, 3, 6, 8)
    features[:, 2] = 8.0  # all background
    features[:, 0, 2, 3] = 16.0
    result = head()(features)["confidence"][0]
    assert result[0] > 0.99 and result[1] < 0.01
