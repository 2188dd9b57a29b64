"""Forward and backward of Dynamic Spatial Attention, beside a plain module of the same mathematics."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from measure import Call, Options, Row, extra_bytes, measure
from softpoint.layers import DynamicSpatialAttention

Shape = tuple[int, int, int, int]
SHAPES: tuple[Shape, ...] = ((16, 64, 56, 56), (32, 256, 16, 12), (8, 512, 32, 32))
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


class PlainAttention(nn.Module):
    """The default Dynamic Spatial Attention, written plainly with the weights of one."""

    def __init__(self, of: DynamicSpatialAttention) -> None:
        super().__init__()
        self.branches, self.router = copy.deepcopy(of.branches), copy.deepcopy(of.router)

    def forward(self, x: Tensor) -> Tensor:
        statistics = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True).values], 1)
        maps = torch.cat([branch(statistics) for branch in self.branches], 1)
        return x * torch.sigmoid((maps * self.router(statistics)).sum(1, keepdim=True))


def rows(options: Options, shapes: tuple[Shape, ...] = SHAPES) -> list[Row]:
    """Return the rows of each shape and layout; the plain module is also compiled with sizes=full."""
    found: list[Row] = []
    for layout, memory_format in LAYOUTS.items():
        trained, read = [], []
        for shape in shapes:
            features = torch.randn(shape).relu().to(options.device, memory_format=memory_format).requires_grad_()
            blocks = implementations(options)
            steps: Mapping[str, Call] = {by: partial(gradient, block, features) for by, block in blocks.items()}
            made = measure(f"attention, {layout}", str(shape), features.numel(), steps, options)
            for row in made:
                row.more["memory (features)"] = extra_bytes(steps[row.by], options.device) / (4 * features.numel())
                row.more |= differences(blocks[row.by], blocks["plain PyTorch"], features)
            trained += made
            reads: Mapping[str, Call] = {by: partial(forward, block, features) for by, block in blocks.items()}
            read += measure(f"attention, {layout}, forward", str(shape), features.numel(), reads, options)
        found += [*trained, *read]
    return found


def implementations(options: Options) -> dict[str, nn.Module]:
    """Return the blocks, all with the same weights."""
    torch.manual_seed(0)
    ours = DynamicSpatialAttention().to(options.device)
    plain = PlainAttention(ours)
    blocks: dict[str, nn.Module] = {"softpoint": ours, "plain PyTorch": plain}
    if options.sizes == "full":
        compiled = torch.compile(copy.deepcopy(plain), dynamic=False)
        assert isinstance(compiled, nn.Module)
        blocks["plain PyTorch, compiled"] = compiled
    return blocks


def gradient(block: nn.Module, features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the output, and the gradient of its sum by the features; those of the weights are computed too."""
    output = block(features)
    output = output[0] if isinstance(output, tuple) else output
    weights = [features, *block.parameters()]
    return output.detach(), torch.autograd.grad(output, weights, torch.ones_like(output))[0]


@torch.no_grad()
def forward(block: nn.Module, features: Tensor) -> object:
    """Return the output."""
    return block(features)


def differences(block: nn.Module, plain: nn.Module, features: Tensor) -> dict[str, float]:
    """Return the largest differences to the plain module in float64, relative to its largest value and gradient."""
    pairs = zip(
        gradient(block, features),
        gradient(copy.deepcopy(plain).double(), features.detach().double().requires_grad_()),
        strict=True,
    )
    values, slope = (float((a.double() - b).abs().max() / b.abs().max()) for a, b in pairs)
    return {"error of values": values, "error of gradients": slope}
