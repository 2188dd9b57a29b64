"""One pass over logit maps gives what their definitions in float64 give, with their gradients, on every route."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from helpers.loops import compiled
from helpers.map_readings import assert_as_defined, everything, inputs, weighted
from softpoint.functional import (
    heatmap_ce,
    heatmap_js,
    heatmap_kl,
    map_statistics,
    render_gaussians,
    soft_argmax,
    spatial_softmax,
    window_expectation,
    window_mass,
)
from softpoint.functional.gaussian_fit import read_window

SHAPES = [(1, 1), (1, 3), (5, 1), (12, 12), (33, 17), (64, 48), (5, 129)]


@compiled
@pytest.mark.parametrize("size", SHAPES)
@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (8.0, 300.0), (40.0, -1000.0)])
@pytest.mark.parametrize("dense", [False, True], ids=["axes", "maps"])
def test_the_loops_give_what_the_definitions_give_in_float64(
    size: tuple[int, int], scale: float, offset: float, dense: bool
):
    assert_as_defined(size, scale, offset, dense)


@compiled
@pytest.mark.parametrize("loss", [heatmap_ce, heatmap_kl, heatmap_js])
def test_a_pair_of_distributions_is_their_product(loss):
    logits, (y, x), _ = inputs((20, 13), 4.0)
    torch.testing.assert_close(loss(logits, (y, x)), loss(logits, y[..., :, None] * x[..., None, :]))


@compiled
def test_a_map_without_a_gradient_gets_zeros_even_if_it_holds_no_numbers():
    logits, target, _ = inputs((16, 16), 3.0)
    logits[0, 1] = torch.nan
    logits[1, 2, 3] = torch.inf
    logits.requires_grad_()
    kept = torch.tensor([[True, False, True], [True, True, False]])
    read = map_statistics(logits, target, jensen_shannon=True)
    assert read.jensen_shannon is not None
    losses = read.mean.sum(-1) + read.jensen_shannon
    assert losses[~kept].isnan().all() and losses[kept].isfinite().all()
    (slope,) = torch.autograd.grad(torch.where(kept, losses, 0).sum(), logits)
    assert (slope[~kept] == 0).all() and (slope[kept] != 0).any()


@compiled
def test_an_infinitely_low_cell_has_no_share():
    logits, _, _ = inputs((9, 11), 2.0)
    logits[..., 4, 5] = -torch.inf
    logits.requires_grad_()
    position = soft_argmax(logits)
    heatmap = logits.flatten(-2).softmax(-1).view_as(logits)
    torch.testing.assert_close(position[..., 0], (heatmap.sum(-2) * torch.arange(11.0)).sum(-1))
    (slope,) = torch.autograd.grad(position.sum(), logits)
    assert slope.isfinite().all() and (slope[..., 4, 5] == 0).all()


@compiled
def test_of_equal_cells_the_window_is_about_the_first():
    logits = torch.zeros(2, 7, 19)
    logits[0, 4, 2] = logits[0, 4, 17] = logits[0, 5, 0] = 9.0
    position, _ = read_window(logits, 1, map_statistics(logits))
    assert position.tolist() == [[2.0, 4.0], [0.0, 0.0]]


@compiled
@pytest.mark.parametrize("cell", [(3, 3), (8, 17)])  # within the window of the largest number, and far from it
def test_a_map_that_holds_nan_has_no_position(cell: tuple[int, int]):
    logits = torch.zeros(3, 9, 19)
    logits[:, 3, 2] = 9.0
    logits[1, *cell] = torch.nan
    logits[2] = torch.nan
    for position, mass in (
        read_window(logits, 5, map_statistics(logits)),
        read_window(logits.softmax(-1), 5),
        (soft_argmax(logits, window=5), soft_argmax(logits).sum(-1)),
    ):
        assert position[0].isfinite().all() and mass[0].isfinite()
        assert position[1:].isnan().all() and mass[1:].isnan().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_in_single(dtype: torch.dtype):
    logits, target, _ = inputs((32, 24), 4.0)
    narrow = logits.to(dtype).requires_grad_()
    mean = map_statistics(narrow, target).mean
    assert mean.dtype == torch.float32
    torch.testing.assert_close(mean, map_statistics(narrow.float(), target).mean)
    assert torch.autograd.grad(mean.sum(), narrow)[0].dtype == dtype


@compiled
@pytest.mark.usefixtures("unchecked")
def test_a_compiled_graph_calls_the_operator():
    logits, target, temperature = inputs((12, 10), 2.0)
    logits.requires_grad_()
    compiled_once = torch.compile(
        lambda maps: weighted(everything(maps, target, temperature)), fullgraph=True, backend="aot_eager"
    )
    (slope,) = torch.autograd.grad(compiled_once(logits), logits)
    (plain,) = torch.autograd.grad(weighted(everything(logits, target, temperature)), logits)
    torch.testing.assert_close(slope, plain)


def test_transforms_and_exports_see_plain_operators():
    logits, _, _ = inputs((6, 5), 2.0)
    each = torch.vmap(soft_argmax)(logits)
    torch.testing.assert_close(each, soft_argmax(logits))
    jacobian = torch.func.jacrev(soft_argmax)(logits[0, 0])
    step = 1e-3
    for cell in ((0, 0), (3, 4)):
        moved = logits[0, 0].double()
        moved[cell] += step
        change = (soft_argmax(moved) - soft_argmax(logits[0, 0].double())) / step
        torch.testing.assert_close(jacobian[(slice(None), *cell)].double(), change, atol=1e-3, rtol=1e-2)
    program = torch.export.export(_Reader(), (logits,))
    assert "softpoint" not in str(program.graph)
    torch.testing.assert_close(program.module()(logits), soft_argmax(logits))


class _Reader(torch.nn.Module):
    def forward(self, logits: Tensor) -> Tensor:
        return soft_argmax(logits)


@compiled
def test_threads_share_maps_without_changing_a_bit():
    logits, target, _ = inputs((128, 128), 4.0)
    before = torch.get_num_threads()
    try:
        readings = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            maps = logits.clone().requires_grad_()
            read = everything(maps, target, torch.ones(1))
            readings.append((*read[:-1], torch.autograd.grad(weighted(read), maps)[0]))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(*readings, strict=True))


@compiled
def test_a_temperature_of_any_type_is_the_same_number():
    logits, _, _ = inputs((8, 9), 3.0)
    expected = soft_argmax(logits, 2.0)
    for temperature in (torch.tensor(2.0, dtype=torch.float64), torch.full((3, 1, 1), 2.0).double(), torch.tensor(2)):
        torch.testing.assert_close(soft_argmax(logits, temperature), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_target_of_another_size_is_refused(dtype: torch.dtype):
    logits, (y, x), _ = inputs((8, 9), 3.0)
    logits = logits.to(dtype)
    with pytest.raises(
        ValueError, match="9 cells along y and 8 along x, in this order, does not fit maps of 8 rows and 9"
    ):
        heatmap_ce(logits, (x, y))
    with pytest.raises(ValueError, match=r"target maps of shape \(1, 9\) do not fit logits of \(2, 3, 8, 9\)"):
        heatmap_ce(logits, torch.full((1, 9), 1 / 9))


@compiled
def test_logits_and_targets_are_broadcast_against_each_other():
    logits, (y, x), _ = inputs((8, 9), 3.0)
    exact = (y.double(), x.double())
    for some in (logits[0, 0], logits[:, :1]):
        found = heatmap_js(some, (y, x))
        torch.testing.assert_close(found, heatmap_js(some.double(), exact).float(), atol=1e-6, rtol=1e-5)
        assert found.shape == (2, 3)
    torch.testing.assert_close(heatmap_ce(logits, (y[0, 0], x[0, 0])), heatmap_ce(logits, y[0, 0, :, None] * x[0, 0]))


def penalty(logits: Tensor, target: tuple[Tensor, Tensor]) -> Tensor:
    """A number whose gradient is that of gradients."""
    read = map_statistics(logits, target, torch.full((3, 1, 1), 1.5).to(logits), jensen_shannon=True)
    assert read.jensen_shannon is not None
    value = (
        read.mean.sum(-1) + read.jensen_shannon + read.covariance.sum((-2, -1)) + soft_argmax(logits, window=5).sum()
    )
    (slope,) = torch.autograd.grad(value.sum(), logits, create_graph=True)
    return slope.square().sum()


@compiled
def test_second_derivatives_are_those_of_the_definition():
    logits, target, _ = inputs((8, 9), 3.0)
    slopes = []
    for dtype in (torch.float32, torch.float64):
        maps = logits.to(dtype).requires_grad_()
        slopes.append(torch.autograd.grad(penalty(maps, tuple(axis.to(dtype) for axis in target)), maps)[0])
    assert slopes[1].abs().max() > 0.1
    torch.testing.assert_close(slopes[0].double(), slopes[1], atol=2e-4 * slopes[1].abs().max().item(), rtol=1e-4)
    one = logits[0, 0]
    found, true = (torch.autograd.functional.hessian(lambda z: soft_argmax(z).sum(), z) for z in (one, one.double()))
    torch.testing.assert_close(found.double(), true, atol=1e-5, rtol=1e-4)


@compiled
def test_a_jacobian_of_one_pass_equals_that_of_many():
    logits = inputs((5, 4), 2.0)[0][0]
    whole = torch.autograd.functional.jacobian(soft_argmax, logits, vectorize=True)
    torch.testing.assert_close(whole, torch.autograd.functional.jacobian(soft_argmax, logits))


@compiled
def test_results_may_be_changed_in_place():
    logits = inputs((8, 9), 3.0)[0].requires_grad_()
    read = map_statistics(logits)
    (slope,) = torch.autograd.grad(read.mean.mul_(4.0).sum() + read.covariance.mul_(2.0).sum(), logits)
    again = map_statistics(logits)
    torch.testing.assert_close(slope, torch.autograd.grad(4 * again.mean.sum() + 2 * again.covariance.sum(), logits)[0])


@compiled
def test_infinitely_low_cells_are_the_lowest_of_a_map_and_have_no_distance_from_a_target_without_them():
    y, x = torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij")
    logits = 9 * torch.exp(-((x - 4.3) ** 2 + (y - 4) ** 2) / 4)
    logits[8] = -torch.inf
    for some in (logits, logits.double()):
        exact, _ = read_window(logits.double().flatten().softmax(0).view(9, 9), 5)
        torch.testing.assert_close(soft_argmax(some, window=5).double(), exact, atol=2e-4, rtol=0)
    target = torch.full((9, 9), 1 / 72)
    target[8] = 0
    for loss in (heatmap_ce, heatmap_kl, heatmap_js):
        value = loss(logits, target)
        assert value.isfinite()
        torch.testing.assert_close(value, loss(logits.double(), target.double()).float())


def test_statistics_of_other_maps_are_refused_and_of_a_temperature_not_used():
    logits, _, _ = inputs((8, 9), 3.0)
    with pytest.raises(ValueError, match=r"statistics of \(3,\) maps do not fit maps \(2, 3, 8, 9\)"):
        read_window(logits, 5, map_statistics(logits[0]))
    assert read_window(logits, 5, map_statistics(logits, temperature=4.0))[1].max() <= 1


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_maps_without_cells_are_read_as_they_are_defined(size: tuple[int, int]):
    logits = torch.empty(2, *size)
    assert (map_statistics(logits).log_total == -torch.inf).all()


@pytest.mark.parametrize("moments", [0, 1])
def test_fewer_moments_change_nothing_else(moments: int):
    logits, target, _ = inputs((6, 7), 3.0)
    exact = logits.double()
    some = map_statistics(exact, target, jensen_shannon=True, moments=moments)
    whole = map_statistics(exact, target, jensen_shannon=True)
    assert not some.covariance.numel() and some.mean.numel() == moments * whole.mean.numel()
    assert some.jensen_shannon is not None and whole.jensen_shannon is not None
    assert torch.equal(some.jensen_shannon, whole.jensen_shannon) and torch.equal(some.log_total, whole.log_total)


def test_no_maps_are_read_from_an_empty_batch():
    logits = torch.zeros(0, 3, 8, 8, requires_grad=True)
    mean = map_statistics(logits).mean
    assert mean.shape == (0, 3, 2)
    assert torch.autograd.grad(mean.sum(), logits)[0].shape == logits.shape


@compiled
@pytest.mark.parametrize("size", [(9, 9), (64, 48), (3, 40), (1, 1), (1, 20)])
@pytest.mark.parametrize("window", [1, 3, 9, 15])
def test_windows_read_from_logits_are_those_of_heatmaps_in_float64(size: tuple[int, int], window: int):
    generator = torch.Generator().manual_seed(window)
    center = torch.rand(40, 2, generator=generator) * torch.tensor([size[1], size[0]]) - 0.5
    logits = (render_gaussians(center, 1.5, size) + 1e-6).log() + 0.2 * torch.randn(40, *size, generator=generator)
    logits[:10] = torch.randn(10, *size, generator=generator)
    logits[10] = 0
    logits.requires_grad_()
    exact = logits.detach().double().requires_grad_()
    heatmap = spatial_softmax(exact)
    position, mass = read_window(logits, window, map_statistics(logits))
    torch.testing.assert_close(position.double(), window_expectation(heatmap, window), atol=5e-5, rtol=0)
    torch.testing.assert_close(mass.double(), window_mass(heatmap, window), atol=1e-6, rtol=0)
    torch.testing.assert_close(window_expectation(heatmap.detach().float(), window), position, atol=5e-5, rtol=0)
    (slope,) = torch.autograd.grad(position.sum() + mass.sum(), logits)
    (true,) = torch.autograd.grad(window_expectation(heatmap, window).sum() + window_mass(heatmap, window).sum(), exact)
    # Backward is a fit in float32, whose slopes are steep where noise decides.
    assert (slope.double() - true).abs().max() <= 1e-2 * true.abs().max().clamp_min(1e-2)
