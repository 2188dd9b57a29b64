"""The loss of a finder: cross-entropy of the centers of subjects, and the error of their boxes."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from softpoint.functional import boxes_l1, center_targets, centers_ce, image_to_grid, in_boxes
from softpoint.types import CenterMaps, SceneBatch


class FinderLoss:
    """Trains the maps of a `Finder` on whole images.

    Args:
        weight: of the finder beside the loss of the keypoints.
        boxes: weight of the error of boxes beside the cross-entropy of the centers.
        sigma: width of the Gaussian about a center, in cells.

    Raises ValueError for numbers that are not positive.
    """

    def __init__(self, weight: float = 1.0, boxes: float = 1.0, sigma: float = 1.0) -> None:
        for name, value in {"weight": weight, "boxes": boxes, "sigma": sigma}.items():
            if not value > 0:
                raise ValueError(f"finder.{name}={value} must be positive")
        self.weight, self.boxes, self.sigma = weight, boxes, sigma

    def count(self, batch: SceneBatch) -> Tensor:
        """Return the divisor of the losses of a batch: its subjects, and one for each image."""
        return (~batch["anchors"].isnan().any(-1)).sum().float() + len(batch["image"])

    def __call__(self, maps: CenterMaps, batch: SceneBatch, stride: int, count: Tensor) -> dict[str, Tensor]:
        """Return `centers` and `boxes`, sums over a batch before their weights, divided by `count`."""
        size = maps.logits.shape[-2:]
        mass, owner = center_targets(image_to_grid(batch["anchors"], stride), self.sigma, (size[0], size[1]))
        counts = self.places(batch, (size[0], size[1]), stride)
        centers = centers_ce(maps.logits[:, 0], mass, counts).sum()
        boxes = boxes_l1(maps.boxes, batch["boxes"], mass, owner, stride).sum()
        return {"centers": centers / count, "boxes": boxes / count}

    def total(self, values: dict[str, Float[Tensor, ""]]) -> Float[Tensor, ""]:
        """Return the weighted sum of the losses."""
        return self.weight * (values["centers"] + self.boxes * values["boxes"])

    @staticmethod
    def places(batch: SceneBatch, size: tuple[int, int], stride: int) -> Tensor:
        """Return the cells (B, h, w) that teach where there is no center.

        Not those of ignored regions; of an image whose subjects are not all labeled, those within a box alone.
        """
        labeled = in_boxes(batch["boxes"], size, stride)
        ignored = in_boxes(batch["ignored"], size, stride)
        return torch.where(batch["complete"][:, None, None], ~ignored, labeled)
