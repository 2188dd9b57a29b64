"""All images of a split in the memory of the training device, warped and recolored there in batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from softpoint.data.augment import Augment, blur_radius
from softpoint.data.crops import input_matrix
from softpoint.data.device_augment import NOISE, recolor_batch, warp_batch
from softpoint.data.geometry import transform, warp
from softpoint.data.sources import Source
from softpoint.images.memory import free_memory
from softpoint.images.thread_map import thread_map


class DeviceCache:
    """All images of a source as uint8 canvases, from which `render` makes the images of a batch.

    A canvas shows as much of its image, and as finely, as any augmentation needs; without augmentation it
    is the input itself, byte for byte as a worker would make it. Images of augmented samples differ from
    a worker's by a second resampling and by a noise table of their own.
    Raises ValueError for an augmentation that runs on the CPU alone, and where the images do not fit into memory.
    """

    def __init__(self, source: Source, size: tuple[int, int], augment: Augment | None, padding: float) -> None:
        if augment is not None:
            _check_augmentation(augment, size)
        self.size, self.augment = size, augment
        finer, wider = (1.0, 1.0) if augment is None else (max(1.0, augment.scale[1]), reach(augment, size))
        records = [source.describe(i) for i in range(len(source))]
        wider = wider if any(record.box is not None for record in records) else 1.0  # outside an image all is black
        self.canvas = (round(size[0] * finer * wider), round(size[1] * finer * wider))
        channels = source.load(0, 0).image.shape[2]
        bytes_needed = len(records) * self.canvas[0] * self.canvas[1] * channels
        _check_memory(bytes_needed, free_memory(), "of memory", "data.cache=disk, or augment less")
        self.matrices = np.stack([input_matrix(r.size, r.box, self.canvas, padding * wider) for r in records])
        self.images = torch.empty(len(records), *self.canvas, channels, dtype=torch.uint8)
        self.noise = torch.empty(0)

        def draw(index: int) -> None:
            canvas = warp(source.load(0, index).image, self.matrices[index], self.canvas)
            self.images[index] = torch.from_numpy(canvas)

        for _ in thread_map(draw, range(len(self.images)), "decoding images"):
            pass

    def to(self, device: torch.device) -> None:
        """Move the images to a device; ValueError where it has no room for them."""
        if self.images.device == device:
            return
        if device.type == "cuda":
            free = torch.cuda.mem_get_info(device)[0]
            _check_memory(self.images.numel(), free, f"of {device}", "data.cache=ram")
        self.images = self.images.to(device)

    def render(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the batch with `image` uint8 (B, C, H, W) in place of `warp` and `color`."""
        batch = dict(batch)
        inverse, color = batch.pop("warp"), batch.pop("color", None)
        self.to(inverse.device)
        image = warp_batch(self.images[batch["index"]], inverse, self.size)
        if color is not None and self.augment is not None:
            image = recolor_batch(image, color, self.augment, self._noise(image.device))
        batch["image"] = image.to(torch.uint8).contiguous(memory_format=torch.channels_last)
        return batch

    def _noise(self, device: torch.device) -> torch.Tensor:
        """Return the table of noise, the same on every machine; empty where none is added."""
        if self.noise.device != device or not len(self.noise):
            count = NOISE if self.augment is not None and self.augment.noise else 0
            self.noise = torch.randn(count, generator=torch.Generator().manual_seed(0)).to(device)
        return self.noise


def reach(augment: Augment, size: tuple[int, int]) -> float:
    """Return the factor by which the part of the image that augmentation can show is larger than the input (H, W).

    >>> reach(Augment(scale=(0.5, 1.0)), (64, 64)) <= 2.0
    True
    """
    height, width = size
    corners = np.array([[-0.5, -0.5], [width - 0.5, -0.5], [width - 0.5, height - 0.5], [-0.5, height - 0.5]])
    center = (np.array([width, height]) - 1) / 2
    rng = np.random.default_rng(0)
    furthest = 0.5
    for _ in range(512):
        back = np.linalg.inv(augment.matrix(rng, size, can_flip=False)[0])
        furthest = max(furthest, float((np.abs(transform(corners, back) - center) / [width, height]).max()))
    return 2 * furthest


def _check_augmentation(augment: Augment, size: tuple[int, int]) -> None:
    """Raise ValueError for an augmentation that a device cannot do."""
    if augment.pixel:
        raise ValueError(
            "data.device_cache=true augments images on the device, and the transforms of augment.pixel run on the CPU;"
            " set augment.pixel=[], or data.device_cache=false data.cache=ram"
        )
    if blur_radius(augment.blur) >= min(size):
        raise ValueError(
            f"data.device_cache=true cannot blur a size of {min(size)} by augment.blur={augment.blur:g}; lower it"
        )


def _check_memory(needed: int, free: int | None, where: str, instead: str) -> None:
    """Raise ValueError where images take more than 80 % of the free bytes."""
    if free is not None and needed > 0.8 * free:
        raise ValueError(
            f"data.device_cache=true needs {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB {where} are free; set"
            f" data.device_cache=false {instead}"
        )
