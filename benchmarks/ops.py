"""Forward and backward of what reads and trains heatmaps: softpoint, kornia, dsntnn, and plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from hydra.utils import instantiate
from torch import Tensor

from measure import Call, Options, Row, extra_bytes, measure
from ops_peers import STD, Operation, peers, plain_ce, plain_dsnt, plain_js, plain_kl, plain_soft_argmax, reverse_kl
from report import composed
from softpoint.functional import (
    coordinate_l2,
    decode_heatmap,
    gaussian_axis,
    heatmap_ce,
    heatmap_js,
    heatmap_kl,
    map_statistics,
    render_target,
    soft_argmax,
    spatial_softmax,
)
from softpoint.models import SoftArgmaxHead
from softpoint.training import keypoint_loss
from softpoint.training.step_time import random_batch, training_step
from softpoint.training.target import Target

Shape = tuple[int, int, int, int]
SHAPES: tuple[Shape, ...] = ((32, 17, 64, 48), (16, 68, 64, 64), (8, 17, 128, 128), (64, 4, 32, 32), (64, 32, 12, 12))
SIDES = {"quick": (16, 32, 64, 128), "full": (12, 16, 24, 32, 48, 64, 96, 128, 192, 256)}  # of 8 x 17 maps


def rows(options: Options, shapes: tuple[Shape, ...] = SHAPES, sides: tuple[int, ...] | None = None) -> list[Row]:
    """Return the rows of each operation at each shape, then those of decoding, and of a step of ResNet-18."""
    plotted = [(8, 17, side, side) for side in sides or SIDES[options.sizes]]
    found: list[Row] = []
    for work, (reference, operations) in {**trained(), "window decode, forward": (None, decoders())}.items():
        for shape, swept in [*((one, False) for one in shapes), *((one, True) for one in plotted)]:
            inputs = drawn(shape, options.device)
            if reference is None:
                calls: dict[str, Call] = {by: partial(forward, one, inputs[0]) for by, one in operations.items()}
            else:
                calls = {by: partial(gradient, one, *inputs) for by, one in operations.items()}
            made = measure(work, str(shape), shape[-1], calls, options, swept=swept)
            for row in [] if swept else made:
                row.more["memory (logits)"] = extra_bytes(calls[row.by], options.device) / bytes_of(inputs[0])
                if reference is not None:
                    own = reverse_kl if "reverse" in row.by else plain_kl if row.by.endswith("KL") else reference
                    row.more |= differences(operations[row.by], own, *inputs)
            found += made
    return found + step_rows(options)


def trained() -> dict[str, tuple[Operation, dict[str, Operation]]]:
    """Return by work the reference of its values, and the implementations: ours first, then those of others."""
    other = peers()
    return {
        "soft_argmax": (plain_soft_argmax, {"softpoint": lambda logits, points: soft_argmax(logits), **other["mean"]}),
        "heatmap_ce": (plain_ce, {**ours(heatmap_ce), "plain PyTorch": plain_ce, **other["kl"]}),
        "heatmap_kl": (plain_kl, {**ours(heatmap_kl), "plain PyTorch": plain_kl, **other["kl"]}),
        "heatmap_js": (plain_js, {**ours(heatmap_js), **other["js"]}),
        "coordinate_l2 + heatmap_js": (plain_dsnt, {**ours(dsnt), **other["dsnt"]}),
    }


def ours(loss: Callable[[Tensor, Any], Tensor] | Any) -> dict[str, Operation]:
    """Return the loss with its target as two distributions along the axes, and as maps."""
    return {"softpoint": partial(with_axes, loss), "softpoint, dense target": partial(with_maps, loss)}


def with_axes(loss: Any, logits: Tensor, points: Tensor) -> Tensor:
    """Return the loss against Gaussians about the points, as distributions along y and x."""
    height, width = logits.shape[-2:]
    target = gaussian_axis(points[..., 1], STD, height), gaussian_axis(points[..., 0], STD, width)
    value: Tensor = loss(logits, target, points) if loss is dsnt else loss(logits, target)
    return value


def with_maps(loss: Any, logits: Tensor, points: Tensor) -> Tensor:
    """Return the loss against maps of Gaussians about the points."""
    target = render_target(points, STD, (logits.shape[-2], logits.shape[-1]))
    value: Tensor = loss(logits, target, points) if loss is dsnt else loss(logits, target)
    return value


def dsnt(logits: Tensor, target: Any, points: Tensor) -> Tensor:
    """Return the distance of the soft-argmax to each point, plus the divergence of the map."""
    read = map_statistics(logits, target, jensen_shannon=True)
    assert read.jensen_shannon is not None
    return coordinate_l2(read.mean, points) + read.jensen_shannon


def decoders() -> dict[str, Any]:
    """Return the ways to read positions, the mean of the whole map first."""
    head = SoftArgmaxHead(1, 1, 4)
    return {
        "softpoint, mean": soft_argmax,
        "softpoint, window": lambda logits: decode_heatmap(spatial_softmax(logits)),
        "softpoint, SoftArgmaxHead.read": head.read,
    }


def drawn(shape: Shape, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits of noise with a peak, points (x, y) in cells, and the gradient of each value."""
    batch, keypoints, height, width = shape
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(batch, keypoints, 2, generator=generator) * torch.tensor([width - 1, height - 1])
    peak = render_target(points, STD, (height, width))
    logits = torch.randn(shape, generator=generator) + 8 * peak / peak.amax((-2, -1), keepdim=True)
    weight = torch.rand(batch, keypoints, generator=generator)
    return logits.to(device).requires_grad_(), points.to(device), weight.to(device)


def gradient(operation: Operation, logits: Tensor, points: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values, and the gradient of their weighted sum."""
    values = operation(logits, points)
    given = weight if values.ndim == weight.ndim else torch.stack((weight, 1 - weight), -1)
    (slope,) = torch.autograd.grad(values, logits, given.to(values))
    return values.detach(), slope


@torch.no_grad()
def forward(operation: Callable[[Tensor], Any], logits: Tensor) -> Any:
    """Return what is read from the logits."""
    return operation(logits)


def differences(operation: Operation, reference: Operation, *inputs: Tensor) -> dict[str, float]:
    """Return the largest difference of values and gradients to those of a reference in float64, each relative to the
    largest of the reference.
    """
    double = [one.detach().double() for one in inputs]
    double[0].requires_grad_()
    pairs = zip(gradient(operation, *inputs), gradient(reference, *double), strict=True)
    values, slope = (float((a.double() - b).abs().max() / b.abs().max()) for a, b in pairs)
    return {"error of values": values, "error of gradients": slope}


def bytes_of(logits: Tensor) -> int:
    """Return the bytes of a tensor."""
    return logits.numel() * logits.element_size()


def step_rows(options: Options) -> list[Row]:
    """Return rows of a training step of ResNet-18 and of the part of its head and its loss."""
    size, batch_size, found = (256, 256), 8, []
    for heads in {"quick": (17,), "full": (4, 17, 68)}[options.sizes]:
        cfg = composed("backbone=resnet18", "model=baseline", *options.overrides)
        net = instantiate(cfg.model)(num_keypoints=heads).to(options.device)
        loss = keypoint_loss(instantiate(cfg.loss)).to(options.device)
        batch = {key: value.to(options.device) for key, value in random_batch(size, batch_size, heads).items()}
        step = training_step(net, loss, instantiate(cfg.optimizer)(net.parameters()))
        calls: Mapping[str, Call] = {"whole step": partial(step, batch), "head and loss": head_step(net, loss, batch)}
        text = f"{batch_size} images, {heads} keypoints"
        found += measure("step of resnet18, 256 x 256", text, heads, calls, options)
    return found


def head_step(net: Any, loss: Any, batch: Mapping[str, Tensor]) -> Call:
    """Return the forward and backward of head, calibration and loss on features that are ready."""
    size, stride = (batch["image"].shape[-2], batch["image"].shape[-1]), net.decoder.stride
    shape = (len(batch["image"]), net.decoder.out_channels, size[0] // stride, size[1] // stride)
    features = torch.randn(shape, device=batch["image"].device).to(memory_format=torch.channels_last).requires_grad_()

    def step() -> None:
        target = Target.of(batch["keypoints"], batch["visibility"], size, stride)
        loss(net.calibration(net.head(features), stride), target)["loss"].backward()
        features.grad = None

    return step
