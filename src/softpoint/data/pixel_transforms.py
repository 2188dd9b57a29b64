"""albumentations' pixel-level transforms as a step of the augmentation. Only this file imports albumentations."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

# Before the first import, which Hydra makes for a `_target_`: it would ask the network for the newest version.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")


def check_pixel_transforms(transforms: Sequence[Any], channels: int = 3) -> list[Any]:
    """Return the transforms; ValueError for one that does not take an image to an image with its pixels in place.

    Allowed are albumentations' `ImageOnlyTransform`s, and its compositions (`OneOf`, `SomeOf`, ...) of such. Each is
    tried once, because some need more than an image, or return other sizes or types.
    """
    if not transforms:
        return []
    if not isinstance(transforms, Sequence) or isinstance(transforms, str):
        example = "[{_target_: albumentations.CLAHE, p: 0.2}]"
        raise ValueError(f"augment.pixel={transforms} is not a list of albumentations' transforms, such as {example}")
    from albumentations import ImageOnlyTransform

    probe = np.random.default_rng(0).integers(0, 256, (64, 64, channels), dtype=np.uint8)
    for transform in _leaves(transforms):
        name = type(transform).__name__
        if not isinstance(transform, ImageOnlyTransform):
            raise ValueError(
                f"augment.pixel: {name} is no pixel-level transform of albumentations (an ImageOnlyTransform), so it"
                " may move pixels and leave the keypoints behind; for geometry use augment.rotate, scale, translate,"
                " shear, perspective and flip"
            )
        try:
            result = transform(image=probe.copy(), force_apply=True)["image"]
        except Exception as error:  # whatever a transform raises that needs more than an image
            kind = "an image alone" if channels == 3 else f"images of data.channels={channels}"
            raise ValueError(f"augment.pixel: {name} cannot be applied to {kind}: {error}") from error
        if result.shape != probe.shape or result.dtype != probe.dtype:
            raise ValueError(
                f"augment.pixel: {name} makes {result.dtype} images of shape {result.shape} from uint8 images of shape"
                f" {probe.shape}; choose a transform that keeps both"
            )
    return list(transforms)


def apply_pixel_transforms(transforms: Sequence[Any], image: np.ndarray, seed: int) -> np.ndarray:
    """Return the uint8 image (H, W, 3) after each transform, a function of the image and `seed` alone."""
    for i, transform in enumerate(transforms):
        transform.set_random_seed(int(np.random.SeedSequence((seed, i)).generate_state(1)[0]))
        image = transform(image=image)["image"]
    return image


def _leaves(transforms: Sequence[Any]) -> Iterator[Any]:
    """The transforms, with compositions replaced by what they are composed of."""
    from albumentations import BaseCompose

    for transform in transforms:
        if isinstance(transform, BaseCompose):
            yield from _leaves(transform.transforms)
        else:
            yield transform
