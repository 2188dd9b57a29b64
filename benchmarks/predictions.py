"""Prediction of a video beside its decoding and its network alone; what is left is preparing and reading."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from exports import untrained
from measure import Call, Options, Row, measure
from softpoint.extras import require
from softpoint.images.costs import MAX_PIXELS
from softpoint.images.video import Video
from softpoint.inference import load_predictor
from softpoint.inference.batch.stream import predict_video

BATCH = 8
SIZES = {"quick": ((360, 640),), "full": ((360, 640), (720, 1280), (1080, 1920))}


def rows(options: Options, sizes: tuple[tuple[int, int], ...] | None = None, frames: int = 32) -> list[Row]:
    """Return the rows of videos of each size (height, width), with the share outside decoder and network."""
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        checkpoint = untrained(Path(name), *options.overrides)
        predictor = load_predictor(checkpoint, options.device)
        image, _ = predictor.preprocess(np.zeros((*checkpoint.size, 3), np.uint8))
        ready = torch.from_numpy(np.stack([image] * BATCH)).permute(0, 3, 1, 2)
        for height, width in sizes or SIZES[options.sizes]:
            path = write_video(Path(name, f"{width}.mp4"), (height, width), frames)
            calls: dict[str, Call] = {
                "predict_video": partial(predicted, predictor, path),
                "decoding alone": partial(decode, path),
                "network alone": lambda: [run(predictor, ready) for _ in range(frames // BATCH)],
            }
            made = measure("predict a video", f"{width}x{height}", height * width, calls, options, frames)
            made[0].more["share outside decoding and network"] = outside(*(row.seconds(options.clock) for row in made))
            found += made
    return found


def write_video(path: Path, size: tuple[int, int], frames: int) -> Path:
    """Write a video of a pattern that moves, and return its path."""
    av: Any = require("av", "video", "a video")
    height, width = size
    coarse = np.random.default_rng(0).integers(0, 256, (height // 40 + 2, width // 40 + 2, 3), dtype=np.uint8)
    pattern = coarse.repeat(40, 0).repeat(40, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = width, height, "yuv420p", 4_000_000
        for i in range(frames):
            image = np.ascontiguousarray(pattern[i % 40 : i % 40 + height, i % 40 : i % 40 + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def predicted(predictor: Any, path: Path) -> list[Any]:
    """Return the predictions for all frames."""
    return [*predict_video(predictor, path, BATCH)]


def decode(path: Path) -> None:
    """Decode all frames."""
    for _ in Video(path, MAX_PIXELS).play():
        pass


@torch.inference_mode()
def run(predictor: Any, images: torch.Tensor) -> object:
    """Return what the network gives for a batch."""
    return predictor.forward(images, BATCH)


def outside(whole: list[float], decoding: list[float], network: list[float]) -> float:
    """Return the median over the rounds of the share of the time that neither decoding nor the network takes.

    >>> outside([2.0], [0.5], [1.25])
    0.125
    """
    return median(1 - (b + c) / a for a, b, c in zip(whole, decoding, network, strict=True))
