"""The metrics to report: EPE in pixels, PCK and NME relative to each sample's scale."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from softpoint.metrics.batch import point_errors, point_hits, relative_errors
from softpoint.metrics.point_mean import PointMean, ScaledPointMean


class EPE(PointMean):
    """Mean Euclidean error over the labeled points, in original pixels.

    >>> import torch
    >>> metric = EPE(num_keypoints=2)
    >>> target = torch.tensor([[[3.0, 4.0], [float("nan"), float("nan")]]])
    >>> metric.update(torch.zeros(1, 2, 2), target, mask=torch.tensor([[True, False]]))
    >>> metric.compute().item(), metric.per_keypoint().tolist(), metric.count().tolist()
    (5.0, [5.0, nan], [1, 0])
    """

    higher_is_better = False

    def update(
        self, prediction: Float[Tensor, "B K 2"], target: Float[Tensor, "B K 2"], mask: Bool[Tensor, "B K"]
    ) -> None:
        """Add a batch of points in original pixels; those with a False mask are left out."""
        self._accumulate(point_errors(prediction, target, mask), mask)


class PCK(ScaledPointMean):
    """Fraction of the labeled points predicted within `alpha * scale` pixels, the limit included.

    Raises ValueError for an alpha that is not positive. A prediction that is NaN is a miss.
    (Yang and Ramanan, Articulated Human Detection with Flexible Mixtures of Parts, 2013.)

    >>> import torch
    >>> metric = PCK(num_keypoints=2, alpha=0.1)
    >>> target, mask = torch.tensor([[[3.0, 4.0], [30.0, 40.0]]]), torch.ones(1, 2, dtype=torch.bool)
    >>> metric.update(torch.zeros(1, 2, 2), target, mask, scale=torch.tensor([50.0]))
    >>> metric.compute().item(), metric.per_keypoint().tolist()
    (0.5, [1.0, 0.0])
    """

    higher_is_better = True

    def __init__(self, num_keypoints: int, alpha: float = 0.1) -> None:
        super().__init__(num_keypoints)
        if not alpha > 0:
            raise ValueError(f"alpha must be positive, got {alpha}")
        self.alpha = alpha

    def update(
        self,
        prediction: Float[Tensor, "B K 2"],
        target: Float[Tensor, "B K 2"],
        mask: Bool[Tensor, "B K"],
        scale: Float[Tensor, " B"],
    ) -> None:
        """Add a batch of points and scales in original pixels; points with a False mask are left out."""
        self._remember(scale, mask)
        self._accumulate(point_hits(prediction, target, mask, scale, self.alpha), mask)


class NME(ScaledPointMean):
    """Mean of error / scale over the labeled points, a fraction and not a percentage.

    (Sagonas et al., 300 Faces in-the-Wild Challenge, 2013.)

    >>> import torch
    >>> metric = NME(num_keypoints=1)
    >>> target, mask = torch.tensor([[[3.0, 4.0]]]), torch.ones(1, 1, dtype=torch.bool)
    >>> metric.update(torch.zeros(1, 1, 2), target, mask, scale=torch.tensor([10.0]))
    >>> metric.compute().item()
    0.5
    """

    higher_is_better = False

    def update(
        self,
        prediction: Float[Tensor, "B K 2"],
        target: Float[Tensor, "B K 2"],
        mask: Bool[Tensor, "B K"],
        scale: Float[Tensor, " B"],
    ) -> None:
        """Add a batch of points and scales in original pixels; points with a False mask are left out."""
        self._remember(scale, mask)
        self._accumulate(relative_errors(prediction, target, mask, scale), mask)
