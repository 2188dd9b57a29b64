"""An attention of your own: this class, and `attention/rows.yaml`."""

from __future__ import annotations

from torch import Tensor, nn


class RowAttention(nn.Module):
    """Multiplies features by a sigmoid mask, convolved from their channel mean along rows and along columns.

    It returns (y, mask), the mask as (B, 1, h, w), which `explore` and TensorBoard show over the image.

    >>> import torch
    >>> y, mask = RowAttention(kernel=5)(torch.ones(1, 8, 6, 9))
    >>> tuple(y.shape), tuple(mask.shape)
    ((1, 8, 6, 9), (1, 1, 6, 9))
    """

    def __init__(self, kernel: int = 9) -> None:
        super().__init__()
        self.rows = nn.Conv2d(1, 1, (1, kernel), padding=(0, kernel // 2))
        self.columns = nn.Conv2d(1, 1, (kernel, 1), padding=(kernel // 2, 0))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the masked features (B, C, h, w), and the mask."""
        mean = x.mean(1, keepdim=True)
        mask = (self.rows(mean) + self.columns(mean)).sigmoid()
        return x * mask, mask
