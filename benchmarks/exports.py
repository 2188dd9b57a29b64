"""Images per second, from bytes to keypoints, of an untrained network in torch and of its exported files.

python benchmarks/exports.py backbone=resnet18 data.size=[288,384] --image 480 640 --precisions float32 int8
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate

from report import RatesTable, composed, parser, print_machine
from softpoint.data.datamodule import check_size
from softpoint.inference import Checkpoint, load_predictor
from softpoint.inference.export import ComparisonImage, ExportOptions, export
from softpoint.labels.skeleton import Skeleton
from softpoint.runtime import load
from softpoint.studies.timing import Work

NUM_KEYPOINTS = 10


def main(arguments: Sequence[str]) -> None:
    """Print a table of torch and of each exported file."""
    arguments_of = parser(__doc__)
    arguments_of.add_argument("--image", type=int, nargs=2, default=[480, 640], metavar=("HEIGHT", "WIDTH"))
    arguments_of.add_argument("--precisions", nargs="+", default=["float32", "float16", "int8"])
    options = arguments_of.parse_intermixed_args(arguments)
    print_machine()
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*options.image, 3), dtype=np.uint8) for _ in range(4)]
    table = RatesTable(options.rounds, options.calls)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = untrained(Path(folder), "data.size=[288,384]", *options.overrides)
        size = checkpoint.size
        predictor = load_predictor(checkpoint)
        work: dict[str, Work] = {"torch": partial(predict, predictor, images)}
        for precision in options.precisions:
            path = Path(folder, f"{precision}.onnx")
            calibration = [ComparisonImage(image) for image in images]
            export(checkpoint, predictor, path, ExportOptions(precision=precision, calibration=calibration))
            model = load(path, threads=torch.get_num_threads())
            work[f"onnxruntime, {precision}"] = partial(predict, model, images)
        height, width = options.image
        table.measure(f"{width}x{height} to {size[1]}x{size[0]}", work)
    table.print()


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


if __name__ == "__main__":
    main(sys.argv[1:])
