"""Pipelines from images to training samples: softpoint's own, and those of other libraries for the same work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from softpoint.data.augment import Augment, gamma_table
from softpoint.data.dataset import Draw, KeypointDataset
from softpoint.data.geometry import letterbox_matrix, transform
from softpoint.data.loaders import collate
from softpoint.data.sources import LabeledImages
from softpoint.images.decode import read_image
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton
from softpoint.studies.timing import Work

# Augmentations that the other pipelines have; `augment=light` draws these and nothing else.
_COMPARED = {"rotate", "scale", "translate", "brightness", "contrast", "blur", "noise", "probability"}


def decoders(paths: Sequence[Path]) -> dict[str, Work]:
    """Return functions by library that read image i as RGB pixels."""
    from PIL import Image
    from torchvision.transforms.v2.functional import pil_to_tensor

    def pillow(i: int) -> Any:
        with Image.open(paths[i % len(paths)]) as image:
            return pil_to_tensor(image.convert("RGB"))

    def plain(i: int) -> Any:
        return cv2.imread(str(paths[i % len(paths)]), cv2.IMREAD_COLOR_RGB)

    def two_steps(i: int) -> Any:
        bgr: Any = cv2.imread(str(paths[i % len(paths)]))
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)

    return {
        "softpoint": lambda i: read_image(paths[i % len(paths)], exif="error"),
        "torchvision": pillow,
        "albumentations": two_steps,
        "plain OpenCV": plain,
    }


def augmenters(images: Sequence[np.ndarray], points: np.ndarray, size: int, augment: Augment) -> dict[str, Work]:
    """Return functions by library that make image i and its `points` (K, 2) an augmented input of `size`.

    All images have one size. Raises ValueError for an augmentation that not all libraries have.
    """
    changed = {name for name, value in vars(augment).items() if value != vars(Augment())[name]}
    if changed - _COMPARED - {"recolor_probability"}:
        raise ValueError(f"no other pipeline here has augment.{min(changed - _COMPARED)}; benchmark augment=light")
    dataset = samples(images, points, size, augment)
    return {
        "softpoint": lambda i: dataset[Draw(i, i % len(images))],
        "torchvision": _torchvision(images, points, size, augment),
        "albumentations": _albumentations(images, points, size, augment),
        "plain OpenCV": _opencv(images, points, size, augment),
    }


def collators(samples: list[Any]) -> dict[str, Work]:
    """Return functions by library that make a batch of samples."""
    import torch
    from torch.utils.data import default_collate

    def stacked(i: int) -> tuple[Any, Any]:
        images = torch.stack([sample["image"] for sample in samples])
        return images.permute(0, 3, 1, 2), torch.stack([sample["keypoints"] for sample in samples])

    return {
        "softpoint": lambda i: collate(samples),
        "default_collate": lambda i: default_collate(samples),
        "image and points alone": stacked,
    }


def labels_of(images: Sequence[str], points: np.ndarray) -> Labels:
    """Return labels of N images with visible `points` (N, K, 2)."""
    visibility, skeleton = np.full(points.shape[1], 2), Skeleton(tuple(f"point_{k}" for k in range(points.shape[1])))
    subjects = [Subject(name, f"row {i}", points[i], visibility) for i, name in enumerate(images)]
    return Labels("benchmark", "", skeleton, tuple(subjects))


class _Decoded:
    """A reader of images that are decoded already."""

    channel_count = 3

    def __init__(self, images: Sequence[np.ndarray]) -> None:
        self.images = images

    def read(self, image: str) -> np.ndarray:
        return self.images[int(image)]


def samples(images: Sequence[np.ndarray], points: np.ndarray, size: int, augment: Augment) -> KeypointDataset:
    """Return softpoint's data set of decoded images."""
    labels = labels_of([str(i) for i in range(len(images))], np.tile(points.astype(float), (len(images), 1, 1)))
    source = LabeledImages(labels, np.array([image.shape[:2] for image in images]), _Decoded(images))
    return KeypointDataset(source, (size, size), (0, 0), augment)


def _torchvision(images: Sequence[np.ndarray], points: np.ndarray, size: int, augment: Augment) -> Work:
    import torch
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    p, shift = augment.recolor_probability, augment.translate
    height, width = images[0].shape[:2]
    shrink = size / max(height, width)
    inner = (round(height * shrink), round(width * shrink))
    left, top = (size - inner[1]) // 2, (size - inner[0]) // 2
    steps = v2.Compose(
        [
            v2.Resize(inner, antialias=True),
            v2.Pad([left, top, size - inner[1] - left, size - inner[0] - top]),
            v2.RandomAffine(augment.rotate, (shift, shift), augment.scale, interpolation=v2.InterpolationMode.BILINEAR),
            v2.RandomApply([v2.ColorJitter(augment.brightness, augment.contrast)], p),
            v2.RandomApply([v2.GaussianBlur(7, (augment.blur / 10, augment.blur))], p),
            v2.ToDtype(torch.float32, scale=True),
            v2.RandomApply([v2.GaussianNoise(sigma=augment.noise / 2)], p),
            v2.ToDtype(torch.uint8, scale=True),
        ]
    )
    tensors = [tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1).contiguous()) for image in images]
    keypoints: Any = tv_tensors.KeyPoints(torch.from_numpy(points).float(), canvas_size=(height, width))
    return lambda i: steps(tensors[i % len(images)], keypoints)


def _albumentations(images: Sequence[np.ndarray], points: np.ndarray, size: int, augment: Augment) -> Work:
    import os

    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    import albumentations as A

    p, shift, turn = augment.recolor_probability, augment.translate, augment.rotate
    steps = A.Compose(
        [
            A.LongestMaxSize(size, interpolation=cv2.INTER_AREA),
            A.PadIfNeeded(size, size),
            A.Affine(augment.scale, (-shift, shift), rotate=(-turn, turn), p=1),
            A.RandomBrightnessContrast(augment.brightness, augment.contrast, p=p),
            A.GaussianBlur(blur_limit=0, sigma_limit=(augment.blur / 10, augment.blur), p=p),
            A.GaussNoise(std_range=(0, augment.noise), p=p),
        ],
        keypoint_params=A.KeypointParams("xy", remove_invisible=False),
    )
    return lambda i: steps(image=images[i % len(images)], keypoints=points)


def _opencv(images: Sequence[np.ndarray], points: np.ndarray, size: int, augment: Augment) -> Work:
    """The same draws, carried out by as few calls of OpenCV as possible."""
    letterbox = letterbox_matrix((images[0].shape[0], images[0].shape[1]), (size, size))

    def make(i: int) -> tuple[np.ndarray, np.ndarray]:
        rng, image = np.random.default_rng([0, 0, i, i % len(images)]), images[i % len(images)]
        matrix = augment.matrix(rng, (size, size), False)[0] @ letterbox
        color, reduced = augment.draw_color(rng), np.eye(3)
        blocks = int(1 / np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
        if blocks > 1:  # without it every other pixel would be skipped
            inner = (image.shape[1] // blocks, image.shape[0] // blocks)
            image = image[: inner[1] * blocks, : inner[0] * blocks]  # a whole ratio is several times faster
            image = cv2.resize(image, inner, interpolation=cv2.INTER_AREA)
            reduced = np.diag([blocks, blocks, 1.0])
            reduced[:2, 2] = (blocks - 1) / 2
        image = cv2.warpAffine(image, (matrix @ reduced)[:2], (size, size), flags=cv2.INTER_LINEAR)
        if color.brightness != 1 or color.contrast != 1:
            scale, mean = color.brightness * color.contrast, np.mean(cv2.mean(image)[:3])
            levels = scale * np.arange(256) + color.brightness * (1 - color.contrast) * mean
            image = cv2.LUT(image, np.clip(np.rint(levels), 0, 255).astype(np.uint8))
        if color.gamma != 1:
            image = cv2.LUT(image, gamma_table(color.gamma))
        if color.blur:
            image = cv2.GaussianBlur(image, (0, 0), color.blur)
        if color.noise:
            noise: Any = np.empty(image.shape, np.int16)
            cv2.randn(noise, 0, 255 * color.noise)  # type: ignore[call-overload]
            image = cv2.add(image, noise, dtype=cv2.CV_8U)
        return image, transform(points, matrix)

    return make
