"""Augmentation of whole batches on their device, from the draws that `augment` and `geometry` apply to single images.

Pixel-level transforms of albumentations (`augment.pixel`) run on the CPU, and are not available here.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from softpoint.data.augment import PATCHES, Augment, Color, blur_radius, color_matrix

# Length of the table that noise is read from, for each image from another offset: faster than drawing noise.
NOISE = 1 << 22


def warp_batch(canvases: UInt8[Tensor, "B h w C"], inverse: Float[Tensor, "B 3 3"], size: tuple[int, int]) -> Tensor:
    """Warp canvases to float images (B, C, H, W) of whole values from 0 to 255, by `inverse` from image to canvas.

    Bilinear, and black outside, as `geometry.warp`.
    """
    height, width = size
    y, x = torch.meshgrid(
        torch.arange(height, device=inverse.device, dtype=torch.float32),
        torch.arange(width, device=inverse.device, dtype=torch.float32),
        indexing="ij",
    )
    points = torch.stack([x, y, torch.ones_like(x)], dim=-1).view(1, -1, 3) @ inverse.transpose(1, 2)
    positions = points[..., :2] / points[..., 2:]
    last = positions.new_tensor([canvases.shape[2] - 1, canvases.shape[1] - 1]).clamp_min(1)
    grid = (2 * positions / last - 1).view(-1, height, width, 2)
    pixels = canvases.permute(0, 3, 1, 2).float()
    return F.grid_sample(pixels, grid, padding_mode="zeros", align_corners=True).round()


def color_numbers(color: Color, size: tuple[int, int]) -> np.ndarray:
    """Return a drawn color as one row of numbers for `recolor_batch`, for images of `size` (H, W)."""
    matrix = color_matrix(color, 0.0)[:, :3]
    patches = np.zeros((PATCHES, 7))
    for row, patch in zip(patches, color.patches, strict=False):
        row[:] = (*patch.box(size), *patch.color)
    offset = color.seed % NOISE
    shift = color.brightness * (1 - color.contrast)
    return np.concatenate(
        [matrix.ravel(), [shift, color.gamma, color.blur, color.noise, offset], patches.ravel()]
    ).astype(np.float32)


def recolor_batch(
    image: Float[Tensor, "B C H W"], numbers: Float[Tensor, "B N"], augment: Augment, noise: Tensor
) -> Float[Tensor, "B C H W"]:
    """Return the images after the colors in `numbers`, as whole values from 0 to 255; see `apply_color`."""
    matrix, (shift, gamma, blur, sigma, offset) = numbers[:, :9].view(-1, 3, 3), numbers[:, 9:14].unbind(1)
    if augment.brightness or augment.contrast or augment.saturation or augment.hue:
        image = _relight(image, matrix, shift).round().clamp(0, 255)
    if augment.gamma:
        image = (255 * (image / 255) ** gamma.view(-1, 1, 1, 1)).round()
    if augment.dropout:
        image = _hide(image, numbers[:, 14:].view(-1, PATCHES, 7))
    if augment.blur:
        image = _blur(image, blur, augment.blur).round()
    if augment.noise:
        count = image[0].numel()
        indices = (offset.long()[:, None] + torch.arange(count, device=image.device)) % len(noise)
        grain = (noise[indices].view_as(image) * (255 * sigma).view(-1, 1, 1, 1)).round()
        image = (image + grain).clamp(0, 255)
    return image


def _relight(
    image: Float[Tensor, "B C H W"], matrix: Float[Tensor, "B 3 3"], shift: Shaped[Tensor, " B"]
) -> Float[Tensor, "B C H W"]:
    """Return images after the matrices of their colors, and with `shift` times their mean gray added."""
    if image.shape[1] == 3:
        mean = image.mean((2, 3)) @ image.new_tensor([0.299, 0.587, 0.114])
        image = torch.einsum("bij,bjhw->bihw", matrix, image)
    else:  # a matrix multiplies grays by the sum of each of its rows
        mean = image.mean((1, 2, 3))
        image = image * matrix[:, 0].sum(-1).view(-1, 1, 1, 1)
    return image + (shift * mean).view(-1, 1, 1, 1)


def _hide(image: Float[Tensor, "B C H W"], patches: Float[Tensor, "B P 7"]) -> Float[Tensor, "B C H W"]:
    """Fill each patch's box (left, top, right, bottom) with its color."""
    y = torch.arange(image.shape[2], device=image.device).view(1, 1, -1, 1)
    x = torch.arange(image.shape[3], device=image.device).view(1, 1, 1, -1)
    order = torch.arange(image.shape[1], device=image.device) % 3
    for patch in patches.unbind(1):
        left, top, right, bottom = patch[:, :4].view(-1, 4, 1, 1).split(1, dim=1)
        inside = (x >= left) & (x < right) & (y >= top) & (y < bottom)
        image = torch.where(inside, patch[:, 4 + order].view(-1, len(order), 1, 1), image)
    return image


def _blur(image: Float[Tensor, "B C H W"], sigma: Shaped[Tensor, " B"], largest: float) -> Float[Tensor, "B C H W"]:
    """Blur each image with its own Gaussian sigma, at most `largest`; 0 leaves an image as it is."""
    radius = blur_radius(largest)
    if not radius:
        return image
    x = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
    weights = torch.exp(-(x**2) / (2 * sigma[:, None].clamp_min(1e-3) ** 2))
    weights = weights * (x.abs() <= (3.5 * sigma).floor()[:, None])
    weights = (weights / weights.sum(1, keepdim=True)).repeat_interleave(image.shape[1], dim=0)
    B, C, H, W = image.shape
    rows = F.pad(image.reshape(1, B * C, H, W), (radius,) * 4, mode="reflect")
    across = F.conv2d(rows, weights[:, None, None, :], groups=B * C)
    return F.conv2d(across, weights[:, None, :, None], groups=B * C).view(B, C, H, W)
