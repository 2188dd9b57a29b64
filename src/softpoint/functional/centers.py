"""Centers of any number of subjects on a map: their cross-entropy, and the peaks that are read as subjects."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from softpoint.functional.coordinates import grid_to_image
from softpoint.functional.gaussian import gaussian_axis
from softpoint.functional.spatial import widen

# Odd number of cells about a peak whose expected numbers are one subject's.
WINDOW = 5

# Deviations about a center in which its Gaussian has mass.
REACH = 3.0

# Points whose distances from all cells are in memory at once.
_AT_ONCE = 16

# A logit of a cell that does not take part.
_OUT = -1e4


def center_targets(
    anchors: Float[Tensor, "B N 2"], std: float, size: tuple[int, int]
) -> tuple[Float[Tensor, "B h w"], Int[Tensor, "B h w"]]:
    """Return the sum of a Gaussian about each anchor, each of sum 1, and in each cell the number of the nearest anchor.

    A Gaussian ends at `REACH` deviations: where it has no mass, other reasons decide whether a cell counts.
    Anchors and `std` are in cells of a map of `size` (h, w); anchors that are NaN or outside the map are left out. The
    number is -1 in an image without any.

    >>> mass, owner = center_targets(torch.tensor([[[0.0, 0.0], [3.0, 0.0], [9.0, 0.0]]]), 0.5, (1, 4))
    >>> mass.sum().item(), owner.tolist()
    (2.0, [[[0, 0, 1, 1]]])
    """
    inside = _inside(anchors, size)
    points = torch.where(inside[..., None], widen(anchors), 0)
    rows = _near(points[..., 1], std, size[0]) * inside[..., None]
    columns = _near(points[..., 0], std, size[1])
    mass = rows.transpose(1, 2) @ columns
    return mass, _nearest(points, inside, size)


def centers_ce(
    logits: Float[Tensor, "B h w"], target: Float[Tensor, "B h w"], counts: Bool[Tensor, "B h w"]
) -> Float[Tensor, " B"]:
    """Cross-entropy of a spatial softmax with one more place, of logit 0, against N subjects and that place, in nats.

    The target is a distribution of N + 1 equal parts: each subject's, whose sum over the cells is 1, and the further
    place's, "no other subject". The cross-entropy is summed over the parts, so that every subject weighs alike however
    many there are, and an image without any teaches too: its minimum is at logits that are all low. At the minimum the
    exponential of a logit is the expected number of centers in its cell. Cells that do not count take no part.

    >>> centers_ce(torch.zeros(1, 1, 3), torch.zeros(1, 1, 3), torch.ones(1, 1, 3).bool()).item()  # log 4
    1.386...
    """
    z = widen(logits).masked_fill(~(counts | (target > 0)), _OUT).flatten(1)
    mass = widen(target).flatten(1)
    everywhere = F.pad(z, (0, 1)).logsumexp(1)
    return (mass.sum(1) + 1) * everywhere - (mass * z).sum(1)


def boxes_l1(
    maps: Float[Tensor, "B 4 h w"], boxes: Float[Tensor, "B N 4"], mass: Tensor, owner: Tensor, stride: int
) -> Float[Tensor, " B"]:
    """Absolute error of the boxes that cells predict, summed over the subjects, each weighing its cells by `mass`.

    A cell predicts the way to the box's center as fractions of its sides, and the logarithms of these in cells. `boxes`
    are in pixels of the image; `mass` and `owner` those of `center_targets`.

    >>> maps, mass = torch.zeros(1, 4, 1, 1), torch.ones(1, 1, 1)
    >>> boxes_l1(maps, torch.tensor([[[-0.5, -0.5, 7.5, 3.5]]]), mass, mass.long() - 1, 4).item()  # 2 / 8 + log 2
    0.943...
    """
    B, _, height, width = maps.shape
    if not boxes.shape[1]:
        return maps.sum((1, 2, 3)) * 0
    known = torch.where(boxes.isnan(), torch.tensor([0.0, 0, 1, 1], device=boxes.device), widen(boxes))
    target = known.gather(1, owner.clamp_min(0).view(B, -1, 1).expand(-1, -1, 4)).view(B, height, width, 4)
    center, sides = (target[..., :2] + target[..., 2:]) / 2, (target[..., 2:] - target[..., :2]).clamp_min(1e-3)
    way = (center - _cell_positions(height, width, stride, center)) / sides
    wanted = torch.cat([way, (sides / stride).log()], -1).permute(0, 3, 1, 2)
    return ((widen(maps) - wanted).abs().sum(1) * mass).sum((1, 2))


def find_centers(
    logits: Float[Tensor, "B 1 h w"], maps: Float[Tensor, "B 4 h w"], stride: int, count: int
) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N 4"]]:
    """Return the expected number of subjects about each of the `count` highest peaks, and their boxes in pixels.

    A peak is the highest of the `WINDOW` x `WINDOW` cells about it, and has the sum over these; a map with fewer peaks
    has others of 0. Boxes are (left, top, right, bottom).

    >>> logits, maps = torch.full((1, 1, 3, 5), -9.0), torch.zeros(1, 4, 3, 5)
    >>> logits[0, 0, 1, 3] = 0.0
    >>> expected, boxes = find_centers(logits, maps, stride=4, count=1)
    >>> expected[0].round(decimals=2).tolist(), boxes[0].tolist()
    ([1.0], [[11.5, 3.5, 15.5, 7.5]])
    """
    height, width = logits.shape[-2:]
    number = widen(logits).exp()
    summed = WINDOW**2 * F.avg_pool2d(number, WINDOW, 1, WINDOW // 2)  # exports ignore another divisor
    peak = logits >= F.max_pool2d(logits, WINDOW, 1, WINDOW // 2)
    expected, place = torch.where(peak, summed, 0).flatten(1).topk(count, 1)
    positions = _cell_positions(height, width, stride, summed).view(-1, 2)[place]
    read = widen(maps).flatten(2).transpose(1, 2).gather(1, place[..., None].expand(-1, -1, 4))
    sides = read[..., 2:].clamp(-6, 12).exp() * stride
    center = positions + read[..., :2] * sides
    return expected, torch.cat([center - sides / 2, center + sides / 2], -1)


def in_boxes(boxes: Float[Tensor, "B N 4"], size: tuple[int, int], stride: int) -> Bool[Tensor, "B h w"]:
    """Return which cells have their center within one of the boxes, in pixels; none of those that are NaN.

    >>> in_boxes(torch.tensor([[[0.0, 0.0, 6.0, 3.0]]]), (1, 3), 4).tolist()
    [[[True, True, False]]]
    """
    y, x = (grid_to_image(torch.arange(n, device=boxes.device, dtype=torch.float32), stride) for n in size)
    rows = (y >= boxes[..., 1:2]) & (y <= boxes[..., 3:])
    columns = (x >= boxes[..., :1]) & (x <= boxes[..., 2:3])
    return (rows.float().transpose(1, 2) @ columns.float()) > 0


def _near(mean: Tensor, std: float, length: int) -> Tensor:
    """A Gaussian on an axis of `length` cells about each mean, of sum 1, without the cells beyond its reach."""
    cells = torch.arange(length, device=mean.device, dtype=mean.dtype)
    near = (cells - mean[..., None]).abs() <= max(REACH * std, 0.5)
    axis = gaussian_axis(mean, std, length) * near
    return axis / axis.sum(-1, keepdim=True).clamp_min(1e-12)


def _nearest(points: Float[Tensor, "B N 2"], inside: Bool[Tensor, "B N"], size: tuple[int, int]) -> Tensor:
    """The number of the nearest of the points that are inside, in each cell; -1 in an image without any."""
    y, x = (torch.arange(length, device=points.device, dtype=points.dtype) for length in size)
    rows = (y - points[..., 1:]).square().where(inside[..., None], torch.inf)
    columns = (x - points[..., :1]).square()
    least = torch.full((points.shape[0], *size), torch.inf, device=points.device, dtype=points.dtype)
    owner = torch.full_like(least, -1, dtype=torch.long)
    for start in range(0, points.shape[1], _AT_ONCE):
        own = slice(start, start + _AT_ONCE)
        distance, place = (rows[:, own, :, None] + columns[:, own, None, :]).min(1)
        owner = torch.where(distance < least, place + start, owner)
        least = torch.minimum(distance, least)
    return owner


def _inside(points: Tensor, size: tuple[int, int]) -> Tensor:
    x, y = points.unbind(-1)
    return (x >= -0.5) & (y >= -0.5) & (x <= size[1] - 0.5) & (y <= size[0] - 0.5)


def _cell_positions(height: int, width: int, stride: int, like: Tensor) -> Float[Tensor, "h w 2"]:
    y, x = (torch.arange(n, device=like.device, dtype=like.dtype) for n in (height, width))
    x, y = grid_to_image(x, stride), grid_to_image(y, stride)
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)], -1)
