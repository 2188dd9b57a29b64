"""An exported file run again, beside the checkpoint that it came from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from softpoint.inference.predictor import Predictor
from softpoint.runtime import KEY

# What answers as a Predictor does.
Answers = Callable[[np.ndarray, np.ndarray | None], Mapping[str, np.ndarray]]


class ComparisonImage(NamedTuple):
    """An image to compare answers on: uint8 RGB (H, W, 3), the box (4,) to look at, and its labels (K, 2).

    Without a box all of it is looked at; labels are NaN where there are none.
    """

    image: np.ndarray
    box: np.ndarray | None = None
    keypoints: np.ndarray | None = None


@dataclass(frozen=True)
class Difference:
    """How far an exported file's keypoints lie from the checkpoint's, in pixels of the images.

    `epe` is the mean distance of both from the labels, the checkpoint's first; None where there are none. `unlike` is
    another answer, such as the confidence, that differs by more than rounding explains; empty where none does.
    """

    images: int
    mean: float
    largest: float
    epe: tuple[float, float] | None = None
    unlike: str = ""

    def __str__(self) -> str:
        apart = f"{self.largest:.4f} px at most, {self.mean:.4f} px on average on {self.images} images"
        if self.epe is None:
            return apart
        return f"{apart}; EPE {self.epe[1]:.3f} px, the checkpoint's {self.epe[0]:.3f} px"


def measure_difference(predictor: Predictor, answers: Answers, views: Sequence[ComparisonImage]) -> Difference:
    """The distances between keypoints of both on `views`; ValueError where the file answers what is not finite."""
    apart, errors, unlike = [], [], ""
    for image, box, truth in views:
        wanted, given = predictor(image, box), answers(image, box)
        for name, value in wanted.items():
            if not np.isfinite(given[name]).all():
                raise ValueError(f"the exported file answers a {name} that is not finite on an image of {image.shape}")
            if name != "keypoints" and not np.allclose(given[name], value, rtol=0.02, atol=0.02):
                unlike = name
        expected, found = wanted["keypoints"], given["keypoints"]
        apart.append(np.linalg.norm(expected - found, axis=-1))
        if truth is not None:
            errors.append([np.linalg.norm(points - truth, axis=-1) for points in (expected, found)])
    known = np.array(errors)
    labeled = bool(np.isfinite(known).any())
    epe = tuple(np.nanmean(known, axis=(0, 2)).tolist()) if labeled else None
    return Difference(len(views), float(np.mean(apart)), float(np.max(apart)), epe, unlike)  # type: ignore[arg-type]


def random_images(size: tuple[int, int], count: int = 4, fixed: bool = False) -> list[ComparisonImage]:
    """Blurred noise of several shapes and sizes, odd ones too: what no tracing has seen."""
    rng = np.random.default_rng(0)
    factors = [(1.0, 1.0)] * count if fixed else rng.uniform(0.4, 3.3, (count, 2)).tolist()
    shapes = [tuple(max(8, round(side * f)) for side, f in zip(size, pair, strict=True)) for pair in factors]
    noise = [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
    blurred = [cv2.GaussianBlur(image, (0, 0), 3) for image in noise]
    return [ComparisonImage(cv2.normalize(image, np.empty_like(image), 0, 255, cv2.NORM_MINMAX)) for image in blurred]


def reopened(path: Path, format: str) -> tuple[Answers, dict[str, Any]]:
    """What runs the file in its own runtime, and the metadata that it carries."""
    if format == "onnx":
        from softpoint.runtime import load

        model = load(path)
        return model, model.metadata
    if format == "torch_export":
        extra = {KEY: ""}
        program = torch.export.load(path, extra_files=extra).module()
        return _calling(program, json.loads(extra[KEY])), json.loads(extra[KEY])
    package = torch._inductor.aoti_load_package(str(path))
    metadata = json.loads(package.get_metadata()[KEY])
    return _calling(package, metadata), metadata


def _calling(program: Any, metadata: Mapping[str, Any]) -> Answers:
    """A program of torch as a function of one image."""

    def answers(image: np.ndarray, box: np.ndarray | None) -> dict[str, np.ndarray]:
        given = [torch.from_numpy(np.ascontiguousarray(image))[None]]
        if "boxes" in metadata["inputs"]:
            assert box is not None
            given.append(torch.from_numpy(np.asarray(box, dtype=np.float32))[None])
        with torch.no_grad():
            values = program(*given)
        return {name: value[0].numpy() for name, value in zip(metadata["outputs"], values, strict=True)}

    return answers
