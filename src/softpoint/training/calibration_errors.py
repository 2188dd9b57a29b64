"""Errors of a network on samples that calibrate it, alone and averaged with mirror images, and evidence of absence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from softpoint.evaluation.bootstrap import ratio_interval
from softpoint.functional import image_to_grid, pixel_length, spatial_softmax, tail_mass_at
from softpoint.inference.flip_tta import FlipAverage
from softpoint.labels.schema import ABSENT
from softpoint.labels.skeleton import Skeleton
from softpoint.layers.calibration import Evidence, evidence
from softpoint.models import Network
from softpoint.training.calibration_fit import Measured
from softpoint.types import Batch


@torch.no_grad()
def measure(
    net: Network, batches: Iterator[Batch], fraction: float, heatmap_sets: bool = False
) -> tuple[Measured, Tensor, Evidence] | None:
    """Return the errors of `net`, the radius that is `fraction` of the typical scale, and evidence of absent points.

    Absent points are those labeled so, and labeled points in images shifted so far that they are outside. All values
    are on the CPU. With `heatmap_sets` the errors have tails. None where no point is labeled.
    """
    stride, rows, absent = net.head.stride, [], []
    for batch in batches:
        prediction, mask = net(batch["image"]), batch["visibility"] > 0
        truth = batch["keypoints"]
        observed = evidence(prediction, stride)
        error, length = prediction["keypoints"].float() - truth, batch["scale"] / pixel_length(batch["matrix"])
        heatmap = spatial_softmax(prediction["logits"].float())
        tail = tail_mass_at(heatmap, image_to_grid(truth, stride)) if heatmap_sets else torch.zeros_like(error[..., 0])
        rows.append((*observed, tail, error, mask, length))
        absent.append([value[batch["visibility"] == ABSENT] for value in observed])
        for shifted, outside in shifts(batch["image"], truth, stride):
            absent.append([value[outside & mask] for value in evidence(net(shifted), stride)])
    *columns, tail, error, mask, length = (torch.cat(column).cpu() for column in zip(*rows, strict=True))
    if not mask.any():
        return None
    hit = error.norm(dim=-1) <= fraction * length[:, None]
    radius = fraction * length[mask.any(1)].median()
    joined = Evidence(*(torch.cat(column).cpu() for column in zip(*absent, strict=True)))
    return Measured(Evidence(*columns), error, mask, hit, tail if heatmap_sets else None), radius, joined


def shifts(image: Tensor, keypoints: Tensor, margin: float) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the images (B, 3, H, W) shifted by half of their size to each side, and the points (B, K) then outside.

    A point is outside if it is more than `margin` pixels beyond the border.

    >>> image, points = torch.ones(1, 3, 8, 8), torch.tensor([[[1.0, 4.0], [6.0, 4.0]]])
    >>> [outside[0].tolist() for _, outside in shifts(image, points, 1.0)]
    [[True, False], [False, True], [False, False], [False, False]]
    """
    height, width = image.shape[-2:]
    for dx, dy in ((-(width // 2), 0), (width // 2, 0), (0, -(height // 2)), (0, height // 2)):
        points = keypoints + keypoints.new_tensor([dx, dy])
        beyond = torch.maximum(-0.5 - points, points - points.new_tensor([width - 0.5, height - 0.5])).amax(-1)
        # Padding by a negative number cuts.
        yield F.pad(image, (dx, -dx, dy, -dy)), beyond > margin


@torch.no_grad()
def flip_change(
    net: Network, batches: Iterable[Batch], skeleton: Skeleton, unit: np.ndarray
) -> tuple[float, float] | None:
    """Return the 95 % interval of the change of the mean error, in original px, by averaging with the mirror image.

    `unit` (N,) is the independent unit of each sample; None for a single one, and where no point is labeled.
    """
    mirrored, changes, points = FlipAverage(net, skeleton.flip_index), [], []
    for batch in batches:
        labeled = batch["visibility"] > 0
        plain, mean = (
            (prediction["keypoints"].float() - batch["keypoints"]).norm(dim=-1)
            for prediction in mirrored.alone_and_averaged(batch["image"])
        )
        change = torch.where(labeled, mean - plain, 0).sum(1) * pixel_length(batch["matrix"])
        changes.append(change.double().cpu().numpy())
        points.append(labeled.sum(1).cpu().numpy())
    if unit.max() < 1 or not np.concatenate(points).any():
        return None
    return ratio_interval(np.concatenate(changes), np.concatenate(points), unit)
