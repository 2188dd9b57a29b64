"""Losses are what their formulas say cell by cell, and a masked point teaches nothing at all."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from softpoint.functional import (
    axis_ce,
    coordinate_huber,
    coordinate_l1,
    coordinate_l2,
    coordinate_wing,
    heatmap_awing,
    heatmap_ce,
    heatmap_js,
    heatmap_kl,
    heatmap_margin,
    heatmap_mse,
    heatmap_transport,
    masked_mean,
    render_gaussians,
    spatial_softmax,
    spatial_softmax_with_loss,
    variance,
    visibility_ce,
)

HEATMAP = (heatmap_ce, heatmap_kl, heatmap_js, heatmap_mse)
COORDINATE = (coordinate_l1, coordinate_l2, coordinate_huber, coordinate_wing)


def by_cells(name: str, p: list[float], t: list[float]) -> float:
    """A heatmap loss of one map, as a sum of terms."""
    m = [(a + b) / 2 for a, b in zip(p, t, strict=True)]
    kl = lambda a, b: math.fsum(x * math.log(x / y) for x, y in zip(a, b, strict=True) if x > 0)  # noqa: E731
    return {
        "heatmap_ce": -math.fsum(b * math.log(a) for a, b in zip(p, t, strict=True) if b > 0),
        "heatmap_kl": kl(t, p),
        "heatmap_js": (kl(p, m) + kl(t, m)) / 2,
        "heatmap_mse": math.fsum((a - b) ** 2 for a, b in zip(p, t, strict=True)),
    }[name]


def random_pair(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and a target distribution with some empty cells."""
    target = torch.rand(*shape, dtype=torch.float64)
    target = torch.where(target > 0.3, target, 0)
    return torch.randn(*shape, dtype=torch.float64), target / target.sum((-2, -1), keepdim=True)


@pytest.mark.parametrize("loss", HEATMAP)
@pytest.mark.parametrize("dim", [(-2, -1), (0, 1), (1, -1)])
def test_heatmap_losses_are_their_sums_over_cells(loss, dim: tuple[int, int]):
    logits, target = random_pair(2, 3, 4, 5)
    p = torch.softmax(logits.flatten(2), -1)
    result = loss(logits.movedim((-2, -1), dim), target.movedim((-2, -1), dim), dim=dim)
    assert result.shape == (2, 3)
    for b, k in np.ndindex(2, 3):
        expected = by_cells(loss.__name__, p[b, k].tolist(), target[b, k].flatten().tolist())
        assert result[b, k].item() == pytest.approx(expected, rel=1e-10)


def test_the_summed_squared_error_of_a_blob_does_not_depend_on_the_size_of_the_map():
    sums, means = [], []
    for side in (16, 32):
        target, result = render_gaussians(torch.tensor([[7.0, 8.0], [8.0, 7.5]]), 1.2, (side, side))
        sums.append(heatmap_mse(result.clamp_min(1e-30).log(), target).item())
        means.append(heatmap_mse(result.clamp_min(1e-30).log(), target, total=False).item())
    assert sums[0] == pytest.approx(sums[1], rel=1e-5) and means[0] == pytest.approx(4 * means[1], rel=1e-5)


def test_axis_ce_is_the_heatmap_ce_of_a_map_of_one_row_and_its_floor_the_targets_entropy():
    logits, target = random_pair(3, 2, 1, 9)
    torch.testing.assert_close(axis_ce(logits[..., 0, :], target[..., 0, :]), heatmap_ce(logits, target))
    std = 6.0
    gaussian = render_gaussians(torch.tensor([50.0, 0.0], dtype=torch.float64), std, (1, 101))[0]
    floor = math.log(std * math.sqrt(2 * math.pi * math.e))
    assert axis_ce(gaussian.log(), gaussian).item() == pytest.approx(floor, rel=1e-6)
    assert math.sqrt(2 * math.pi * math.e) == pytest.approx(4.13, abs=5e-3)  # as the docstring says


def test_kl_is_zero_for_equal_distributions_and_positive_otherwise():
    logits, target = random_pair(50, 4, 5)
    zero = torch.zeros(50, dtype=torch.float64)
    torch.testing.assert_close(heatmap_kl(logits, spatial_softmax(logits)), zero)
    torch.testing.assert_close(heatmap_js(logits, spatial_softmax(logits)), zero)
    assert (heatmap_kl(logits, target) > 0).all()


@pytest.mark.parametrize("loss", [*HEATMAP, heatmap_awing, heatmap_margin, heatmap_transport])
def test_heatmap_gradients_are_those_of_finite_differences(loss):
    logits, target = random_pair(2, 3, 4)
    logits.requires_grad_()
    assert gradcheck(lambda z: loss(z, target), logits)
    assert loss not in HEATMAP or gradgradcheck(lambda z: loss(z, target), logits)


def test_a_margin_asks_more_of_a_cell_the_further_off_it_is():
    logits, target = random_pair(2, 3, 4, 5)
    torch.testing.assert_close(heatmap_margin(logits, target, margin=0.0), heatmap_ce(logits, target))
    moved = heatmap_margin(logits.movedim((-2, -1), (0, 1)), target.movedim((-2, -1), (0, 1)), dim=(0, 1))
    torch.testing.assert_close(moved, heatmap_margin(logits, target))
    # The keypoint in the corner of 3 x 4 cells, at the best logits: each cell lies lower by 2 nats times its distance.
    corner = render_gaussians(torch.zeros(2, dtype=torch.float64), 0.01, (3, 5))
    y, x = torch.meshgrid(torch.arange(3.0), torch.arange(5.0), indexing="ij")
    wide = render_gaussians(torch.tensor([2.0, 1.0], dtype=torch.float64), 1.0, (3, 5))
    wide = wide / wide.sum()
    away = ((x - 2) ** 2 + (y - 1) ** 2).sqrt() / 20**0.5
    best = (wide.log() - 2 * away).requires_grad_()
    (gradient,) = torch.autograd.grad(heatmap_margin(best, wide, margin=2.0), best)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient))
    flat = torch.zeros(3, 5, dtype=torch.float64)
    expected = (2 * (x**2 + y**2).sqrt() / 20**0.5).exp().sum().log()
    torch.testing.assert_close(heatmap_margin(flat, corner, margin=2.0), expected.double(), rtol=1e-6, atol=1e-6)


def test_transport_is_the_way_between_two_cells_and_between_two_halves():
    place = lambda x, y: render_gaussians(torch.tensor([x, y], dtype=torch.float64), 0.01, (7, 9))  # noqa: E731
    logits = (place(1.0, 2.0).clamp_min(1e-30)).log()
    for x, y in ((1.0, 2.0), (8.0, 2.0), (4.0, 6.0)):
        assert heatmap_transport(logits, place(x, y)).item() == pytest.approx(abs(x - 1) + abs(y - 2), abs=1e-9)
    halves = (place(0.0, 0.0) + place(8.0, 4.0)) / 2
    assert heatmap_transport(logits, halves).item() == pytest.approx(1 / 2 + 7 / 2 + 2 / 2 + 2 / 2, abs=1e-9)
    logits, target = random_pair(2, 3, 4, 5)
    moved = heatmap_transport(logits.movedim((-2, -1), (0, 1)), target.movedim((-2, -1), (0, 1)), dim=(0, 1))
    torch.testing.assert_close(moved, heatmap_transport(logits, target))


def test_variance_is_the_distance_of_both_variances_from_std_squared():
    heatmap = render_gaussians(torch.tensor([10.0, 9.0], dtype=torch.float64), torch.tensor([1.0, 2.0]), (19, 21))
    assert variance(heatmap.log(), 1.0).item() == pytest.approx(9.0, rel=1e-3)
    # Two cells one apart have variance 1/4 along x and 0 along y.
    assert variance(torch.zeros(1, 2), 1.0).item() == pytest.approx((1 / 4 - 1) ** 2 + 1)
    z = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda z: variance(z, 0.7), z)
    torch.testing.assert_close(variance(z.movedim(0, -1), 0.7, dim=(0, 1)), variance(z, 0.7))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    "loss", [*HEATMAP, heatmap_awing, heatmap_margin, heatmap_transport, lambda z, t: variance(z, 1.0)]
)
def test_extreme_logits_in_half_precision_are_finite(loss, dtype: torch.dtype):
    logits = torch.tensor([[1e4, -1e4], [0.0, -1e4]], dtype=dtype, requires_grad=True)
    value = loss(logits, torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=dtype))
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite() and logits.grad.isfinite().all()


def scalar(name: str, d: float) -> float:
    """A coordinate loss of one difference along one axis."""
    d = abs(d)
    return {
        "coordinate_l1": d,
        "coordinate_huber": d**2 / 2 if d <= 1 else d - 0.5,
        "coordinate_wing": 10 * math.log(1 + d / 2) if d < 10 else d - (10 - 10 * math.log(6)),
    }[name]


@pytest.mark.parametrize("loss", [coordinate_l1, coordinate_huber, coordinate_wing])
def test_coordinate_losses_are_sums_over_x_and_y(loss):
    prediction, target = torch.randn(2, 4, 3, 2, dtype=torch.float64).mul(9).unbind(0)
    result = loss(prediction, target)
    for index in np.ndindex(4, 3):
        differences = (prediction[index] - target[index]).tolist()
        assert result[index].item() == pytest.approx(sum(scalar(loss.__name__, d) for d in differences))


def test_l2_is_the_distance_with_gradient_zero_at_zero():
    prediction = torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    distance = coordinate_l2(prediction, torch.zeros(2, 2))
    distance.sum().backward()
    assert distance.tolist() == [5.0, 0.0]
    torch.testing.assert_close(prediction.grad, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))


@pytest.mark.parametrize(("width", "curvature"), [(10.0, 2.0), (3.0, 0.5)])
def test_wing_is_continuous_where_the_logarithm_ends(width: float, curvature: float):
    d = torch.tensor([[width - 1e-9, 0], [width, 0], [width + 1e-9, 0]], dtype=torch.float64)
    inside, at, outside = coordinate_wing(d, torch.zeros_like(d), width, curvature).tolist()
    assert inside == pytest.approx(at, abs=1e-7) and outside == pytest.approx(at, abs=1e-7)


def test_huber_bends_at_delta():
    d = torch.tensor([[0.4, 0.0], [3.0, 0.0]])
    torch.testing.assert_close(coordinate_huber(d, torch.zeros(2, 2), 0.5), torch.tensor([0.08, 0.5 * (3 - 0.25)]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("loss", COORDINATE)
def test_coordinate_losses_of_half_precision_run_in_single(loss, dtype: torch.dtype):
    # In half precision, the sum or the square of these would overflow.
    prediction = torch.tensor([[4e4, -4e4], [0.0, 0.0]], dtype=dtype, requires_grad=True)
    value = loss(prediction, torch.zeros(2, 2, dtype=dtype))
    value.sum().backward()
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), loss(prediction.detach().double(), torch.zeros(2, 2).double()))
    assert prediction.grad.isfinite().all()


@pytest.mark.parametrize("loss", COORDINATE)
def test_coordinate_gradients_are_those_of_finite_differences(loss):
    prediction, target = torch.randn(2, 6, 2, dtype=torch.float64).mul(4).unbind(0)
    assert gradcheck(lambda p: loss(p, target), prediction.requires_grad_())


def test_masked_mean_ignores_what_is_masked_even_nan():
    losses = torch.tensor([[1.0, math.nan, 5.0], [math.inf, 3.0, math.nan]], requires_grad=True)
    mask = torch.tensor([[True, False, True], [False, True, False]])
    value = masked_mean(losses, mask)
    value.backward()
    assert value.item() == 3.0
    torch.testing.assert_close(losses.grad, mask / 3)


def test_masked_mean_divides_by_a_given_count():
    assert masked_mean(torch.tensor([1.0, 3.0]), torch.tensor([True, True]), torch.tensor(4.0)).item() == 1.0


def test_a_mean_of_halves_does_not_end_where_they_do():
    losses = torch.full((400, 17), 50.0, dtype=torch.float16)
    assert masked_mean(losses, losses > 0).item() == 50.0


@pytest.mark.parametrize("count", [None, torch.tensor(0.0)])
def test_a_mean_of_nothing_is_zero(count: torch.Tensor | None):
    losses = torch.full((2, 3), math.nan, requires_grad=True)
    value = masked_mean(losses, torch.zeros(2, 3, dtype=torch.bool), count)
    value.backward()
    assert value.item() == 0.0
    assert torch.equal(losses.grad, torch.zeros(2, 3))


def pixelwise(logits: torch.Tensor) -> np.ndarray:
    z = logits.detach().numpy()
    exponentials = np.exp(z - z.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


LABELS = torch.tensor([[[0, 2, -1], [1, -1, 0]], [[2, 2, 1], [-1, 0, 1]]])


@pytest.mark.parametrize(
    "weight", [None, torch.linspace(0, 2, 12, dtype=torch.float64).view(2, 2, 3), torch.tensor([0.5, 2.0, 0.0])]
)
def test_integer_labels_give_the_weighted_mean_and_its_closed_form_gradient(weight: torch.Tensor | None):
    logits = torch.randn(2, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    p, loss = spatial_softmax_with_loss(logits, LABELS, weight, scale=0.3)
    loss.backward()
    y, total, value = pixelwise(logits), 0.0, 0.0
    gradient = np.zeros(y.shape)
    for n, i, j in np.ndindex(2, 2, 3):
        label = LABELS[n, i, j].item()
        if label == -1:
            continue
        w = 1.0 if weight is None else weight[label].item() if weight.ndim == 1 else weight[n, i, j].item()
        total += w
        value -= w * math.log(y[n, label, i, j])
        gradient[n, :, i, j] = w * y[n, :, i, j]
        gradient[n, label, i, j] -= w
    np.testing.assert_allclose(p.detach(), y, rtol=1e-12)
    assert loss.item() == pytest.approx(0.3 * value / total)
    np.testing.assert_allclose(logits.grad, 0.3 * gradient / total, rtol=1e-10, atol=1e-14)


def test_a_distribution_is_summed_over_pixels_and_averaged_over_images():
    logits = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    target = torch.rand(2, 3, 2, 2, dtype=torch.float64)  # sums to no particular number
    _, loss = spatial_softmax_with_loss(logits, target)
    loss.backward()
    y, t = pixelwise(logits), target.numpy()
    assert loss.item() == pytest.approx(-(t * np.log(y)).sum() / 2)
    np.testing.assert_allclose(logits.grad, (y * t.sum(1, keepdims=True) - t) / 2, rtol=1e-10)


@pytest.mark.parametrize("per", ["pixel", "class"])
def test_a_weighted_distribution_weighs_its_terms(per: str):
    logits, target = torch.randn(2, 3, 2, 2, dtype=torch.float64), torch.rand(2, 3, 2, 2, dtype=torch.float64)
    weight = torch.rand(2, 2, 2) if per == "pixel" else torch.rand(3)
    expected = 0.0
    for n, c, i, j in np.ndindex(2, 3, 2, 2):
        w = weight[n, i, j] if per == "pixel" else weight[c]
        expected -= w.item() * target[n, c, i, j].item() * math.log(pixelwise(logits)[n, c, i, j]) / 2
    assert spatial_softmax_with_loss(logits, target, weight)[1].item() == pytest.approx(expected)


def test_visibility_ce_is_the_cross_entropy_of_what_is_known():
    logits, target = torch.randn(4, 5, 3, dtype=torch.float64), torch.randint(-1, 3, (4, 5))
    expected = torch.nn.functional.cross_entropy(logits.movedim(-1, 1), target, reduction="none", ignore_index=-1)
    torch.testing.assert_close(visibility_ce(logits, target), expected)
    assert (target < 0).any() and (target == 0).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_visibility_ce_has_no_gradient_where_nothing_is_known(dtype: torch.dtype):
    logits = torch.tensor([[6e4, -6e4, 0], [math.nan, 1, 2], [math.inf, 0, 0]], dtype=dtype, requires_grad=True)
    loss = visibility_ce(logits, torch.tensor([1, -1, -1]))
    loss.sum().backward()
    assert loss.dtype == torch.float32 and loss[0].item() == pytest.approx(1.2e5, rel=0.01)
    assert loss[1:].tolist() == [0, 0] and logits.grad[1:].tolist() == [[0, 0, 0]] * 2
    assert logits.grad[0].tolist() == [1, -1, 0]


def test_another_ignore_label_may_be_chosen():
    logits = torch.randn(1, 3, 1, 2)
    labels = torch.tensor([[[1, 255]]], dtype=torch.uint8)
    _, loss = spatial_softmax_with_loss(logits, labels, ignore_label=255)
    torch.testing.assert_close(loss, -logits.log_softmax(1)[0, 1, 0, 0])


@pytest.mark.parametrize("weight", [None, torch.ones(2, 2, 3), torch.zeros(3)])
def test_an_ignored_target_costs_nothing(weight: torch.Tensor | None):
    logits = torch.randn(2, 3, 2, 3, requires_grad=True)
    _, loss = spatial_softmax_with_loss(logits, torch.full((2, 2, 3), -1), weight)
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_pixels_are_finite_and_keep_their_dtype(dtype: torch.dtype):
    logits = torch.tensor([1e4, -1e4], dtype=dtype).view(1, 2, 1, 1).requires_grad_()
    p, loss = spatial_softmax_with_loss(logits, torch.tensor([[[1]]]))
    loss.backward()
    assert p.dtype == dtype and p.flatten().tolist() == [1.0, 0.0]
    assert loss.item() == pytest.approx(2e4, rel=0.01)
    assert logits.grad.flatten().tolist() == [1.0, -1.0]


@pytest.mark.parametrize("shape", [(3,), (4, 256, 256)])
def test_weights_in_half_precision_weigh_as_much(shape: tuple[int, ...]):
    logits, labels, weight = torch.randn(4, 3, 256, 256), torch.randint(0, 3, (4, 256, 256)), torch.ones(shape)
    half = spatial_softmax_with_loss(logits, labels, weight.half())[1]
    torch.testing.assert_close(half, spatial_softmax_with_loss(logits, labels, weight)[1])


@pytest.mark.parametrize("target", [torch.zeros(0, 4, 4, dtype=torch.int64), torch.zeros(0, 3, 4, 4)])
def test_no_samples_cost_nothing(target: torch.Tensor):
    assert spatial_softmax_with_loss(torch.zeros(0, 3, 4, 4), target)[1].item() == 0.0


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (torch.zeros(2, 4, 4), r"torch.float32 target of shape \(2, 4, 4\)"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.int64), r"torch.int64 target of shape \(2, 3, 4, 4\)"),
        (torch.zeros(2, 3, 4, dtype=torch.int64), r"torch.int64 target of shape \(2, 3, 4\)"),
    ],
)
def test_a_target_of_another_shape_or_kind_is_refused(target: torch.Tensor, message: str, unchecked):
    with pytest.raises(ValueError, match=rf"{message} does not fit logits of shape \(2, 3, 4, 4\)"):
        spatial_softmax_with_loss(torch.zeros(2, 3, 4, 4), target)


@pytest.mark.parametrize("shape", [(2, 1, 4, 4), (1, 4, 4), (4,)])
@pytest.mark.parametrize("target", [torch.zeros(2, 4, 4, dtype=torch.int64), torch.zeros(2, 3, 4, 4)])
def test_a_weight_of_another_shape_is_not_broadcast(shape: tuple[int, ...], target: torch.Tensor, unchecked):
    with pytest.raises(ValueError, match=r"weight of shape .* one per pixel \(2, 4, 4\) or one per class \(3,\)"):
        spatial_softmax_with_loss(torch.zeros(2, 3, 4, 4), target, torch.ones(shape))


@pytest.mark.parametrize("target", [LABELS, torch.linspace(0, 2, 36, dtype=torch.float64).view(2, 3, 2, 3)])
def test_pixelwise_gradients_are_those_of_finite_differences(target: torch.Tensor):
    logits = torch.randn(2, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda z: spatial_softmax_with_loss(z, target), logits)
    assert gradgradcheck(lambda z: spatial_softmax_with_loss(z, target)[1], logits)
