"""The loops of spatial attention give what its definition gives in float64, in both memory layouts."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.autograd.functional import hessian, jacobian
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from helpers.loops import HERE, compiled
from softpoint.functional import channel_statistics
from softpoint.functional.attention import convolution_to_one, statistics_and_product
from softpoint.kernels.attention import reads_channels
from softpoint.layers import DynamicSpatialAttention, SpatialAttention
from softpoint.layers.spatial_attention import ConvolutionToOne

SHAPES = [(1, 1, 1, 1), (2, 3, 1, 5), (2, 5, 3, 2), (1, 9, 7, 7), (3, 17, 16, 12), (2, 64, 33, 35)]
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def features(shape: tuple[int, ...], layout: torch.memory_format = torch.contiguous_format) -> Tensor:
    """Features after a ReLU, with many ties."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).relu()
    return x.contiguous(memory_format=layout).requires_grad_()


def assert_near(value: Tensor, true: Tensor) -> None:
    """Both are equal to rounding in single precision, relative to the largest number."""
    assert (value.double() - true).abs().max() <= 1e-6 * true.abs().max().clamp_min(1e-3)


@compiled
@pytest.mark.parametrize("layout", LAYOUTS, ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "make", [SpatialAttention, lambda: DynamicSpatialAttention((3, 5), learnable_temperature=True)]
)
def test_the_loops_give_what_the_definition_gives_in_float64(make, shape: tuple[int, ...], layout: torch.memory_format):
    block, x = make(), features(shape, layout)
    exact, exact_x = copy.deepcopy(block).double(), x.detach().double().requires_grad_()
    y, mask = block(x)
    true_y, true_mask = exact(exact_x)
    assert y.is_contiguous(memory_format=layout) and y.grad_fn.name() == "_ProductBackward"
    assert_near(y, true_y)
    assert_near(mask, true_mask)
    weight = torch.randn(shape)
    slopes = torch.autograd.grad((y * weight).sum() + (mask**2).sum(), (x, *block.parameters()))
    true_loss = (true_y * weight.double()).sum() + (true_mask**2).sum()
    true_slopes = torch.autograd.grad(true_loss, (exact_x, *exact.parameters()))
    for slope, true in zip(slopes, true_slopes, strict=True):
        assert_near(slope, true)


@compiled
@pytest.mark.parametrize("layout", LAYOUTS, ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("channels", [1, 2, 7, 8, 9, 40])
def test_numbers_and_gradients_of_ties_and_of_nan_are_those_of_max(channels: int, layout: torch.memory_format):
    values = torch.tensor([0.0, 0.0, 1.0, 1.0, -torch.inf, torch.inf, torch.nan, torch.nan])
    choice = torch.randint(8, (6, channels, 4, 5), generator=torch.Generator().manual_seed(channels))
    choice[:3] %= 4
    choice[0] = 0
    x = values[choice].contiguous(memory_format=layout).requires_grad_()
    plain = torch.stack((x.mean(1), x.max(1).values), 1)
    statistics = channel_statistics(x)
    torch.testing.assert_close(statistics, plain, equal_nan=True)
    weight = torch.rand(statistics.shape)
    (slope,) = torch.autograd.grad((statistics * weight)[:, 1].sum(), x)
    (true,) = torch.autograd.grad((plain * weight)[:, 1].sum(), x)
    assert torch.equal(slope, true)


@compiled
@pytest.mark.parametrize(("side", "dilation"), [(1, 1), (3, 1), (5, 2), (7, 1), (7, 2), (11, 3)])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (13, 19), (56, 40)])
def test_a_convolution_to_one_map_is_that_of_pytorch(side: int, dilation: int, size: tuple[int, int]):
    x, weight = torch.randn(3, 2, *size, requires_grad=True), torch.randn(1, 2, side, side, requires_grad=True)
    exact = [value.detach().double().requires_grad_() for value in (x, weight)]
    y = convolution_to_one(x, weight, dilation)
    true = F.conv2d(*exact, padding=dilation * (side // 2), dilation=dilation)
    assert_near(y, true)
    slope = torch.randn(y.shape)
    found = torch.autograd.grad(y, (x, weight), slope)
    for value, expected in zip(found, torch.autograd.grad(true, exact, slope.double()), strict=True):
        assert_near(value, expected)


@compiled
def test_each_part_of_the_graph_has_its_own_gradient():
    block, x = SpatialAttention(3), features((2, 6, 5, 4))
    exact, exact_x = copy.deepcopy(block).double(), x.detach().double().requires_grad_()
    y, mask = block(x)
    true_y, true_mask = exact(exact_x)
    for value, true in ((y, true_y), (mask, true_mask), (y, true_y)):
        found = torch.autograd.grad(value.sum(), (x, block.conv.weight), retain_graph=True)
        expected = torch.autograd.grad(true.sum(), (exact_x, exact.conv.weight), retain_graph=True)
        for slope, true_slope in zip(found, expected, strict=True):
            assert_near(slope, true_slope)
    (alone,) = torch.autograd.grad(block(x.detach())[0].sum(), block.conv.weight)
    assert_near(alone, torch.autograd.grad(true_y.sum(), exact.conv.weight)[0])
    with torch.no_grad():
        statistics, product = statistics_and_product(x)
        mask = torch.rand(2, 1, 5, 4)
        assert not statistics.requires_grad and torch.equal(product(mask), x * mask)


@compiled
@pytest.mark.parametrize("reentrant", [False, True])
def test_a_graph_may_be_computed_again_for_the_way_back(reentrant: bool):
    block, x = DynamicSpatialAttention(), features((2, 6, 12, 10))
    (slope,) = torch.autograd.grad(block(x)[0].square().sum(), x)
    checkpoint(block, x, use_reentrant=reentrant)[0].square().sum().backward()
    torch.testing.assert_close(x.grad, slope)


@compiled
def test_threads_share_features_without_changing_a_bit():
    weight = torch.randn(1, 2, 5, 5, requires_grad=True)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            for layout in LAYOUTS:
                x = features((12, 16, 56, 56), layout)
                statistics, product = statistics_and_product(x)
                mask = convolution_to_one(statistics, weight)
                y = product(mask)
                results.append((statistics, mask, y, *torch.autograd.grad(y, (x, weight), torch.ones_like(y))))
    finally:
        torch.set_num_threads(before)
    for one, other in zip(results[:2], results[2:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@compiled
@pytest.mark.parametrize("layout", LAYOUTS, ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("make", [lambda: SpatialAttention(3), lambda: DynamicSpatialAttention((3,))])
def test_gradients_have_gradients(make, layout: torch.memory_format):
    block = make()
    exact, slopes = copy.deepcopy(block).double(), []
    for network, dtype in ((block, torch.float32), (exact, torch.float64)):
        x = features((2, 3, 4, 3), layout).detach().to(dtype).requires_grad_()
        inputs = (x, *network.parameters())
        y, mask = network(x)
        loss = y.square().sum() + mask.sin().sum()
        first = torch.autograd.grad(loss, inputs, create_graph=True)
        second = torch.autograd.grad(sum(slope.square().sum() for slope in first), inputs, create_graph=True)
        third = torch.autograd.grad(sum(slope.square().sum() for slope in second), inputs)
        slopes.append((*first, *second, *third))
    for slope, true in zip(*slopes, strict=True):
        assert (slope.double() - true).abs().max() <= 1e-5 * true.abs().max()


@compiled
@pytest.mark.parametrize("vectorize", [False, True])
def test_a_jacobian_and_a_hessian_are_those_of_float64(vectorize: bool):
    block = DynamicSpatialAttention((3,))
    exact, x = copy.deepcopy(block).double(), features((1, 2, 3, 4)).detach()
    for of, output in ((jacobian, lambda pair: pair[0]), (hessian, lambda pair: pair[0].square().sum())):
        true = of(lambda x, output=output: output(exact(x)), x.double())
        assert true.abs().max() > 0.1
        assert_near(of(lambda x, output=output: output(block(x)), x, vectorize=vectorize), true)


@compiled
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:FutureWarning")  # which torch calls for such derivatives
def test_a_derivative_along_a_direction_is_that_of_float64():
    block, x = SpatialAttention(3), features((2, 3, 4, 5)).detach()
    direction = torch.randn(x.shape)
    found, true = [], []
    for network, dtype, slopes in ((block, torch.float32, found), (copy.deepcopy(block).double(), torch.float64, true)):
        with forward_ad.dual_level():
            y = network(forward_ad.make_dual(x.to(dtype), direction.to(dtype)))[0]
            slopes.append(forward_ad.unpack_dual(y).tangent)
    assert_near(found[0], true[0])


@compiled
def test_gradients_of_any_layout_and_default_types_change_nothing():
    block, x = SpatialAttention(3), features((2, 6, 5, 4))
    y, mask = block(x)
    slope = torch.randn(y.shape)
    true = torch.autograd.grad((y, mask), (x, block.conv.weight), (slope, mask), retain_graph=True)
    strange = slope.contiguous(memory_format=torch.channels_last), mask.transpose(2, 3).contiguous().transpose(2, 3)
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        with torch.device("meta"):
            found = torch.autograd.grad((y, mask), (x, block.conv.weight), strange)
    finally:
        torch.set_default_dtype(before)
    for value, expected in zip(found, true, strict=True):
        assert torch.equal(value, expected)


@compiled
@pytest.mark.usefixtures("unchecked")
def test_other_shapes_are_those_of_plain_operators():
    x = features((2, 6, 5, 4))
    for mask in (torch.rand(5, 4), torch.rand(2, 6, 5, 4), torch.rand(1, 1, 1, 4), torch.rand(2, 1, 5, 4).double()):
        y = statistics_and_product(x)[1](mask)
        assert torch.equal(y, x * mask) and y.dtype == mask.dtype
        assert torch.equal(torch.autograd.grad(y.sum(), x)[0], torch.autograd.grad((x * mask).sum(), x)[0])
    _, product = statistics_and_product(x)
    assert torch.equal(product(mask.float()), product(mask.float()))
    with pytest.raises(RuntimeError, match="size of tensor"):
        product(torch.rand(2, 1, 5, 3))
    convolution = ConvolutionToOne(3)
    one = torch.ones(2, 6, 6)
    assert torch.equal(convolution(one), convolution(one[None])[0])
    with pytest.raises(RuntimeError, match="channels"):
        convolution(torch.ones(1, 3, 6, 6))
    for weight in (torch.ones(2, 2, 3, 3), torch.ones(1, 2, 3, 5)):
        true = F.conv2d(one[None], weight, padding=weight.shape[-1] // 2)
        assert torch.equal(convolution_to_one(one[None], weight), true)
    with pytest.raises(RuntimeError, match="negative padding"):
        convolution_to_one(one[None], torch.ones(1, 2, 3, 3), -1)
    far = convolution_to_one(one[None], torch.ones(1, 2, 3, 3), 1 << 20)
    assert torch.equal(far, one.sum(0)[None, None])


def test_mixed_precision_keeps_the_types_of_plain_operators():
    block, x = DynamicSpatialAttention(), features((2, 8, 12, 12))
    with torch.autocast("cpu", torch.bfloat16):
        y, mask = block(x)
    assert y.dtype == torch.float32 and torch.equal(y, x * mask)
    assert torch.autograd.grad(y.sum(), x)[0].isfinite().all()


@pytest.mark.usefixtures("unchecked")
def test_compilers_transforms_and_exports_see_plain_operators():
    block, x = DynamicSpatialAttention(), features((2, 8, 6, 5))
    y, mask = block(x)
    assert reads_channels(x) == HERE
    whole = torch.compile(block, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(whole, (y, mask))
    torch.testing.assert_close(torch.autograd.grad(whole[0].sum(), x), torch.autograd.grad(y.sum(), x))
    each = torch.vmap(lambda image: block(image[None])[0][0])(x)
    torch.testing.assert_close(each, y)
    slope = torch.func.grad(lambda image: block(image)[0].sum())(x.detach())
    torch.testing.assert_close(slope, torch.autograd.grad(block(x)[0].sum(), x)[0])
    program = torch.export.export(block, (x.detach(),))
    torch.testing.assert_close(program.module()(x.detach()), (y, mask))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # tracing is deprecated
        traced = torch.jit.trace(nn.Sequential(block), x.detach())
    assert "aten::max" in str(traced.inlined_graph) and "PythonOp" not in str(traced.inlined_graph)


def test_features_with_gaps_in_memory_are_taken_by_plain_operators():
    x = features((2, 6, 8, 10))
    block = SpatialAttention(3)
    torch.testing.assert_close(block(x[:, ::2])[0], block(x[:, ::2].contiguous())[0])
    assert not reads_channels(x[:, ::2])
    assert block(x[:0])[0].shape == (0, 6, 8, 10)
