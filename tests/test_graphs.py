"""Everything public compiles into one graph, exports with a free batch size, and runs on shapes alone.

What the default compiler makes of whole networks is in tests/training/test_compile.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import Dim

from softpoint import functional as S
from softpoint.layers import DynamicSpatialAttention, Normalize, SpatialAttention, SpatialSoftArgmax
from softpoint.models import FusionDecoder, KeypointNet, Small, SoftArgmaxHead

pytestmark = pytest.mark.usefixtures("unchecked")


def maps() -> Tensor:
    return torch.randn(3, 4, 6, 7)


def heatmaps() -> Tensor:
    return maps().flatten(2).softmax(-1).unflatten(-1, (6, 7))


def points() -> Tensor:
    return torch.rand(3, 4, 2) * 5


def matrices() -> Tensor:
    return torch.eye(3) + 0.01 * torch.rand(3, 3, 3)


def covariances() -> Tensor:
    return torch.rand(3, 4, 2, 2)


def labels() -> Tensor:
    return torch.randint(-1, 4, (3, 6, 7))


def anything() -> Tensor:
    return torch.rand(3, 4)


def anything_on_cells() -> Tensor:
    return torch.rand(3, 6, 7)


def boxes() -> Tensor:
    corner = torch.rand(3, 2, 2) * 10
    return torch.cat([corner, corner + 5], -1)


@wraps(S.map_statistics)
def statistics(logits: Tensor, target: Tensor) -> tuple[Tensor | None, ...]:
    """Everything but what the loops alone keep for themselves."""
    return S.map_statistics(logits, target, divergence=True, jensen_shannon=True)[:-1]


# A name, what it calls, and what makes its inputs; the first axis of every input is the batch.
FUNCTIONS: list[tuple[Callable, tuple[Callable, ...]]] = [
    (S.axis_softmax, (maps, lambda: -1)),
    (S.axis_ce, (lambda: maps()[..., 0, :], lambda: heatmaps().sum(-2))),
    (S.bilinear_axis, (lambda: points()[..., 0], lambda: 1.0, lambda: 7)),
    (S.boxes_l1, (maps, boxes, anything_on_cells, lambda: torch.zeros(3, 6, 7, dtype=torch.long), lambda: 4)),
    (S.center_targets, (lambda: points()[:, :2], lambda: 1.0, lambda: (6, 7))),
    (S.centers_ce, (lambda: maps()[:, 0], anything_on_cells, lambda: anything_on_cells() > 0.3)),
    (S.channel_statistics, (maps,)),
    (S.coordinate_huber, (points, points)),
    (S.coordinate_l1, (points, points)),
    (S.coordinate_l2, (points, points)),
    (S.coordinate_nll, (points, points, lambda: points()[..., 0])),
    (S.coordinate_wing, (points, points)),
    (S.decode_heatmap, (heatmaps, lambda: "expectation")),  # the network below decodes a window
    (S.decode_heatmap, (heatmaps, lambda: "dark")),
    (S.decode_heatmap, (heatmaps, lambda: "debiased")),
    (S.disc_classes, (points, lambda: anything() > 0.3, lambda: (6, 7), lambda: 1.5, lambda: 1.0)),
    (S.entropy, (heatmaps,)),
    (S.find_centers, (lambda: maps()[:, :1], maps, lambda: 4, lambda: 3)),
    (S.gate, (maps, lambda: 0.5, lambda: "hardsigmoid")),
    (S.gaussian_axis, (lambda: points()[..., 0], lambda: 1.5, lambda: 7)),
    (S.grid_to_image, (points, lambda: 4)),
    (S.hard_keypoints, (anything, lambda: anything() > 0.3, lambda: 2)),
    (S.heatmap_awing, (maps, heatmaps)),
    (S.heatmap_ce, (maps, heatmaps)),
    (S.heatmap_js, (maps, heatmaps)),
    (S.heatmap_kl, (maps, heatmaps)),
    (S.heatmap_margin, (maps, heatmaps)),
    (S.heatmap_mse, (maps, heatmaps)),
    (S.heatmap_set, (heatmaps, lambda: torch.full((4,), 0.3))),
    (S.heatmap_transport, (maps, heatmaps)),
    (S.image_to_grid, (points, lambda: 4)),
    (S.in_boxes, (boxes, lambda: (6, 7), lambda: 4)),
    (S.information_content, (heatmaps,)),
    (statistics, (maps, heatmaps)),
    (S.masked_mean, (anything, lambda: anything() > 0.3)),
    (S.pixel_length, (matrices,)),
    (S.render_gaussians, (points, lambda: 1.5, lambda: (6, 7))),
    (S.render_gaussians, (points, lambda: points() + 1, lambda: (6, 7), lambda: True)),
    (S.nearest_axis, (lambda: points()[..., 0], lambda: 1.0, lambda: 7)),
    (S.render_target, (points, lambda: 1.5, lambda: (6, 7))),
    (S.render_target, (points, lambda: 1.5, lambda: (6, 7), lambda: S.bilinear_axis)),
    (S.soft_argmax, (maps,)),  # and a window in a layer below
    (S.spatial_covariance, (heatmaps,)),
    (S.spatial_expectation, (heatmaps,)),
    (S.spatial_expectation, (heatmaps, lambda: torch.rand(6, 7, 2))),
    (S.spatial_softmax, (maps, lambda: 0.5)),
    (S.spatial_softmax, (maps, lambda: torch.rand(4, 1, 1) + 0.5)),
    (S.spatial_softmax_with_loss, (maps, labels, lambda: torch.rand(4))),
    (S.spatial_softmax_with_loss, (maps, labels, lambda: torch.rand(3, 6, 7))),
    (S.spatial_softmax_with_loss, (maps, heatmaps)),
    (S.tail_mass, (heatmaps,)),
    (S.tail_mass_at, (heatmaps, points)),
    (S.transform_covariance, (covariances, points, matrices)),
    (S.transform_points, (points, matrices)),
    (S.variance, (maps, lambda: 1.5)),
    (S.visibility_ce, (lambda: torch.randn(3, 4, 3), lambda: torch.randint(-1, 3, (3, 4)))),
    (S.window_expectation, (heatmaps, lambda: 5)),
    (S.window_mass, (heatmaps, lambda: 5)),
]
each_function = pytest.mark.parametrize(
    ("function", "makers"),
    FUNCTIONS,
    ids=[f"{function.__name__}-{i}" for i, (function, _) in enumerate(FUNCTIONS)],
)


def network() -> KeypointNet:
    return KeypointNet(
        4,
        Small(width=8, stages=(2, 3)),
        partial(FusionDecoder, channels=8, stride=4),
        partial(SoftArgmaxHead, window=5, visibility=True),
        DynamicSpatialAttention,
        attention_stages=(3,),
    ).eval()


def image() -> Tensor:
    return torch.rand(3, 3, 32, 40)


MODULES = {
    "dynamic": (partial(DynamicSpatialAttention, return_router_weights=True), maps),
    "learnable": (partial(DynamicSpatialAttention, gate="hardsigmoid", learnable_temperature=True), maps),
    "cbam": (SpatialAttention, maps),
    "soft_argmax": (
        partial(SpatialSoftArgmax, 0.7, 5, normalized=True, learnable_temperature=True, num_keypoints=4),
        maps,
    ),
    "normalize": (partial(Normalize, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2)), image),
    "bytes": (partial(Normalize, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2)), lambda: image().mul(255).to(torch.uint8)),
    "network": (network, image),
}
each_module = pytest.mark.parametrize("name", MODULES)


def close(found: object, expected: object) -> None:
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=2e-5)


def compiled(function: Callable, backend: str) -> Callable:
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend=backend)


def test_every_public_function_is_tried_here():
    assert {function.__name__ for function, _ in FUNCTIONS} == set(S.__all__)


@each_function
def test_a_function_compiles_into_one_graph(function: Callable, makers: tuple):
    inputs = [make() for make in makers]
    close(compiled(function, "eager")(*inputs), function(*inputs))


@each_module
def test_a_module_compiles_into_one_graph(name: str):
    make, example = MODULES[name]
    module, x = make(), example()
    with torch.no_grad():
        close(compiled(module, "aot_eager")(x), module(x))


# That of a window is in tests/training/test_compile.py.
def test_a_compiled_loss_has_the_same_gradient():
    target, logits = heatmaps(), maps().requires_grad_()

    def loss(z: Tensor) -> Tensor:
        return S.heatmap_kl(z, target).sum() + S.soft_argmax(z).sum() + S.heatmap_js(z, target).sum()

    (expected,) = torch.autograd.grad(loss(logits), logits)
    (found,) = torch.autograd.grad(compiled(loss, "aot_eager")(logits), logits)
    close(found, expected)


class Call(nn.Module):
    """A function as a module, with everything but its tensors fixed."""

    def __init__(self, function: Callable, rest: list) -> None:
        super().__init__()
        self.function, self.rest = function, rest

    def forward(self, *tensors: Tensor) -> object:
        given = iter(tensors)
        return self.function(*(next(given) if isinstance(x, Tensor) else x for x in self.rest))


def batched(x: Tensor) -> dict[int, Dim] | None:
    return {0: Dim("batch", min=2, max=64)} if len(x) == 3 else None


def twice(x: Tensor) -> Tensor:
    return torch.cat((x, x)) if len(x) == 3 else x


@each_function
def test_a_function_exports_with_a_free_batch_size(function: Callable, makers: tuple):
    inputs = [make() for make in makers]
    tensors = tuple(x for x in inputs if isinstance(x, Tensor))
    call = Call(function, inputs)
    program = torch.export.export(call, tensors, dynamic_shapes=(tuple(map(batched, tensors)),)).module()
    tensors = tuple(map(twice, tensors))
    close(program(*tensors), call(*tensors))


@each_module
def test_a_module_exports_with_a_free_batch_size(name: str):
    make, example = MODULES[name]
    module, x = make(), example()
    with torch.no_grad():
        program = torch.export.export(module, (x,), dynamic_shapes=(batched(x),)).module()
        close(program(twice(x)), module(twice(x)))


def shapes(result: object) -> object:
    return torch.utils._pytree.tree_map(lambda x: (x.shape, x.dtype), result)


@each_function
def test_a_function_runs_on_shapes_alone(function: Callable, makers: tuple):
    expected = shapes(function(*(make() for make in makers)))
    with FakeTensorMode():
        assert shapes(function(*(make() for make in makers))) == expected


@each_module
def test_a_module_runs_on_shapes_alone(name: str):
    make, example = MODULES[name]
    expected = shapes(make()(example()))
    with FakeTensorMode():
        assert shapes(make()(example())) == expected
