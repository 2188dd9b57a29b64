"""The operations of heatmaps as kornia, dsntnn and a few lines of PyTorch compute them, with positions in cells."""

# mypy: disable-error-code=no-any-return
# The libraries have no types.
from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor

Operation = Callable[[Tensor, Tensor], Tensor]  # (logits (B, K, H, W), points (B, K, 2)) -> (B, K) or (B, K, 2)
STD = 1.5  # cells of the Gaussian about each point
LIBRARIES = ("kornia", "dsntnn")


def peers() -> dict[str, dict[str, Operation]]:
    """Return by kind of value the implementations of the libraries that are installed; names those that are not."""
    found: dict[str, dict[str, Operation]] = {
        "mean": {"plain PyTorch": plain_soft_argmax},
        "kl": {},
        "js": {"plain PyTorch": plain_js},
        "dsnt": {"plain PyTorch": plain_dsnt},
    }
    for name, operations in zip(LIBRARIES, (kornia_operations, dsntnn_operations), strict=True):
        if find_spec(name) is None:
            print(f'{name} is not installed, and not compared with: pip install -e ".[bench]"')
            continue
        for kind, (by, operation) in operations().items():
            found[kind][by] = operation
    return found


def kornia_operations() -> dict[str, tuple[str, Operation]]:
    """Return kornia's implementations, which divide by the temperature and count from the first cell's center."""
    from kornia.geometry.subpix import render_gaussian2d, spatial_expectation2d, spatial_softmax2d
    from kornia.losses import js_div_loss_2d, kl_div_loss_2d

    def target(logits: Tensor, points: Tensor) -> Tensor:
        height, width = logits.shape[-2:]
        return render_gaussian2d(points, points.new_tensor([STD, STD]), (height, width), normalized_coordinates=False)

    def mean(logits: Tensor, points: Tensor) -> Tensor:
        return spatial_expectation2d(spatial_softmax2d(logits), normalized_coordinates=False)

    def kl(logits: Tensor, points: Tensor) -> Tensor:
        return kl_div_loss_2d(spatial_softmax2d(logits), target(logits, points), reduction="none")

    def js(logits: Tensor, points: Tensor) -> Tensor:
        return js_div_loss_2d(spatial_softmax2d(logits), target(logits, points), reduction="none")

    def dsnt(logits: Tensor, points: Tensor) -> Tensor:
        p = spatial_softmax2d(logits)
        distance = torch.linalg.vector_norm(spatial_expectation2d(p, normalized_coordinates=False) - points, dim=-1)
        return distance + js_div_loss_2d(p, target(logits, points), reduction="none")

    return {"mean": ("kornia", mean), "kl": ("kornia, KL", kl), "js": ("kornia", js), "dsnt": ("kornia", dsnt)}


def dsntnn_operations() -> dict[str, tuple[str, Operation]]:
    """Return those of dsntnn, whose targets count in [-1, 1] from border to border, and whose KL is KL(p || target)."""
    import dsntnn

    def mu(logits: Tensor, points: Tensor) -> Tensor:
        return dsntnn.pixel_to_normalized_coordinates(points, logits.shape[-2:])

    def mean(logits: Tensor, points: Tensor) -> Tensor:
        return dsntnn.dsnt(dsntnn.flat_softmax(logits), normalized_coordinates=False)

    def kl(logits: Tensor, points: Tensor) -> Tensor:
        return dsntnn.kl_reg_losses(dsntnn.flat_softmax(logits), mu(logits, points), STD)

    def js(logits: Tensor, points: Tensor) -> Tensor:
        return dsntnn.js_reg_losses(dsntnn.flat_softmax(logits), mu(logits, points), STD)

    def dsnt(logits: Tensor, points: Tensor) -> Tensor:
        p = dsntnn.flat_softmax(logits)
        distance = dsntnn.euclidean_losses(dsntnn.dsnt(p, normalized_coordinates=False), points)
        return distance + dsntnn.js_reg_losses(p, mu(logits, points), STD)

    return {"mean": ("dsntnn", mean), "kl": ("dsntnn, reverse KL", kl), "js": ("dsntnn", js), "dsnt": ("dsntnn", dsnt)}


def plain_soft_argmax(logits: Tensor, points: Tensor) -> Tensor:
    """Return the mean position of the softmax: the softmax times the grid."""
    height, width = logits.shape[-2:]
    y, x = (torch.arange(n, dtype=logits.dtype, device=logits.device) for n in (height, width))
    return logits.flatten(-2).softmax(-1) @ torch.stack((x.repeat(height), y.repeat_interleave(width)), -1)


def plain_log_target(logits: Tensor, points: Tensor) -> Tensor:
    """Return the logarithm of the Gaussians about the points, normalized on the grid, cells flattened."""
    height, width = logits.shape[-2:]
    y, x = (torch.arange(n, dtype=logits.dtype, device=logits.device) for n in (height, width))
    squares = (y - points[..., 1:]).square()[..., :, None] + (x - points[..., :1]).square()[..., None, :]
    return (-squares / (2 * STD**2)).flatten(-2).log_softmax(-1)


def plain_ce(logits: Tensor, points: Tensor) -> Tensor:
    """Return the cross-entropy of the softmax against the Gaussians."""
    return -(plain_log_target(logits, points).exp() * logits.flatten(-2).log_softmax(-1)).sum(-1)


def plain_kl(logits: Tensor, points: Tensor) -> Tensor:
    """Return KL(target || softmax)."""
    log_q, log_p = plain_log_target(logits, points), logits.flatten(-2).log_softmax(-1)
    return (log_q.exp() * (log_q - log_p)).sum(-1)


def reverse_kl(logits: Tensor, points: Tensor) -> Tensor:
    """Return KL(softmax || target)."""
    log_q, log_p = plain_log_target(logits, points), logits.flatten(-2).log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def plain_js(logits: Tensor, points: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence of softmax and Gaussians."""
    log_q, log_p = plain_log_target(logits, points), logits.flatten(-2).log_softmax(-1)
    log_m = torch.logaddexp(log_q, log_p) - torch.log(torch.tensor(2.0, dtype=logits.dtype, device=logits.device))
    return (log_q.exp() * (log_q - log_m) + log_p.exp() * (log_p - log_m)).sum(-1) / 2


def plain_dsnt(logits: Tensor, points: Tensor) -> Tensor:
    """Return the distance of the mean position to each point, plus the divergence."""
    distance = torch.linalg.vector_norm(plain_soft_argmax(logits, points) - points, dim=-1)
    return distance + plain_js(logits, points)
