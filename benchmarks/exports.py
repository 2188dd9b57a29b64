"""Whole images, from bytes to keypoints, of an untrained network in torch and of its exported files."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate

from measure import Call, Options, Row, counted, measure
from report import composed
from softpoint.data.crops import check_size
from softpoint.inference import Checkpoint, load_predictor
from softpoint.inference.export import ComparisonImage, ExportOptions, export
from softpoint.labels.skeleton import Skeleton
from softpoint.runtime import load

NUM_KEYPOINTS = 10
IMAGE, PRECISIONS = (480, 640), ("float32", "float16", "int8")
SIDES = {"quick": ("[192,256]", "[288,384]"), "full": ("[96,128]", "[192,256]", "[288,384]", "[480,640]")}


def rows(options: Options, image: tuple[int, int] = IMAGE, precisions: Sequence[str] = PRECISIONS) -> list[Row]:
    """Return the rows of torch and of each exported file, for inputs of each size."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*image, 3), dtype=np.uint8) for _ in range(4)]
    own = any(word.startswith("data.size=") for word in options.overrides)
    found: list[Row] = []
    for side in ("",) if own else SIDES[options.sizes]:
        words = [*options.overrides, *([f"data.size={side}"] if side else [])]
        with tempfile.TemporaryDirectory() as folder:
            size, work = exported(Path(folder), images, precisions, words)
            text = f"{size[1]}x{size[0]}"
            found += measure(f"predict {image[1]}x{image[0]}", text, size[0] * size[1], work, options, 1)
    return found


def exported(
    folder: Path, images: list[np.ndarray], precisions: Sequence[str], overrides: Sequence[str]
) -> tuple[tuple[int, int], dict[str, Call]]:
    """Return the input size of a network, and predictions by torch and by its exported files."""
    checkpoint = untrained(folder, *overrides)
    predictor = load_predictor(checkpoint)
    work = {"torch": counted(partial(predict, predictor, images))}
    for precision in precisions:
        path = folder / f"{precision}.onnx"
        calibration = [ComparisonImage(image) for image in images]
        export(checkpoint, predictor, path, ExportOptions(precision=precision, calibration=calibration))
        model = load(path, threads=torch.get_num_threads())
        work[f"onnxruntime, {precision}"] = counted(partial(predict, model, images))
    return checkpoint.size, work


def untrained(folder: Path, *overrides: str) -> Checkpoint:
    """Return a network of a composed config without training, as a checkpoint whose weights are kept in `folder`."""
    cfg = composed(*overrides)
    size = check_size(cfg.data.size if isinstance(cfg.data.size, int) else list(cfg.data.size))
    net = instantiate(cfg.model)(num_keypoints=NUM_KEYPOINTS).eval()
    skeleton = Skeleton(tuple(f"keypoint{k}" for k in range(NUM_KEYPOINTS)))
    torch.save(net.state_dict(), stored := folder / "weights.pt")
    return Checkpoint(net, skeleton, size, None, {}, stored)


def predict(model: Any, images: list[np.ndarray], i: int) -> None:
    """Predict on one image."""
    model(images[i % len(images)])
