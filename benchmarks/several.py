"""An image of several subjects, found and read, beside one subject read in a given box, in torch and as ONNX files."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from exports import untrained
from measure import Call, Options, Row, measure
from softpoint.inference import Checkpoint, load_predictor
from softpoint.inference.export import ExportOptions, Subjects, export
from softpoint.inference.export.export import describe
from softpoint.inference.export.graph import ExportModule
from softpoint.inference.export.subject_file import write_subjects
from softpoint.inference.subjects import SubjectPredictor, subject_finder
from softpoint.runtime import load

# Of glue_tubes: its photographs, and the inputs of finder and poser.
IMAGE, FIND, READ = (1080, 1920), (160, 288), (288, 352)
COUNTS = (0, 1, 2, 4, 8)
PARTS = (
    "model.finder={_target_:softpoint.models.Finder,_partial_:true,decoder:${decoder},backbone:${backbone}}",
    "model.mark={_target_:softpoint.layers.SubjectMark,_partial_:true}",
)


def rows(
    options: Options,
    image: tuple[int, int] = IMAGE,
    find: tuple[int, int] = FIND,
    read: tuple[int, int] = READ,
    counts: Sequence[int] = COUNTS,
) -> list[Row]:
    """Return the rows of the predictor and of onnxruntime: one subject in a given box, then found ones."""
    pixels = np.random.default_rng(0).integers(0, 256, (*image, 3), dtype=np.uint8)
    box = np.array([0.3 * image[1], 0.3 * image[0], 0.7 * image[1], 0.7 * image[0]])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = untrained(folder, f"data.size={list(read)}".replace(" ", ""), *PARTS, *options.overrides)
        checkpoint = replace(checkpoint, crops={"padding": 1.25, "boxes": None}, finder={"size": find, "anchor": "box"})
        sharpen(checkpoint.net)
        predictor = load_predictor(checkpoint)
        limits = thresholds(checkpoint, pixels, counts)
        export(checkpoint, predictor, folder / "read.onnx", ExportOptions())
        write_finder(checkpoint, folder / "find.onnx", max(counts))
        reader, finder = (load(folder / f"{part}.onnx", torch.get_num_threads()) for part in ("read", "find"))
        torch_calls: dict[str, Call] = {"one subject in a given box": partial(predictor, pixels, box)}
        file_calls: dict[str, Call] = {"one subject in a given box": partial(reader, pixels, box)}
        for count, limit in limits.items():
            subjects = subject_finder(checkpoint, limit, max(counts))
            assert subjects is not None
            torch_calls[label(count)] = partial(SubjectPredictor(predictor, subjects), pixels)
            file_calls[label(count)] = partial(finder, pixels, threshold=limit)
            assert (len(finder(pixels, threshold=limit)["scores"]) > 0) == (count > 0)
        size, x = f"{image[1]}x{image[0]}", image[0] * image[1]
        return [
            *measure("find and read, load_predictor", size, x, torch_calls, options),
            *measure("find and read, onnxruntime", size, x, file_calls, options),
        ]


def sharpen(net: Any) -> None:
    """Give a network that was not trained maps with clear maxima, and scores that are not all 0 in float32."""
    with torch.no_grad():
        net.finder.calibration.copy_(torch.tensor([1.0, 0.0]))
        for weight in net.head.parameters():
            if weight.ndim > 1:
                weight.add_(torch.randn_like(weight))


def write_finder(checkpoint: Checkpoint, path: Path, most: int) -> None:
    """Write the file of an untrained network, whose finds in noise are not compared: rounding decides them."""
    subjects = Subjects(most)
    options, module = ExportOptions(subjects=subjects), ExportModule(checkpoint)
    metadata = describe(checkpoint, module.outputs, options.precision, options.layout, subjects)
    write_subjects(checkpoint, module, path, metadata, options.layout)


def label(count: int) -> str:
    """Return what is found, with the goal as a multiple of one subject in a given box.

    >>> label(0), label(2)
    ('none found', '2 found (goal 1.5 + 0.6 x 1 = 2.1)')
    """
    return f"{count} found (goal 1.5 + 0.6 x {count - 1} = {1.5 + 0.6 * (count - 1):.1f})" if count else "none found"


def thresholds(checkpoint: Any, image: np.ndarray, counts: Sequence[int]) -> dict[int, float]:
    """Return the score above which a finder has each of these numbers of finds in an image."""
    finder = subject_finder(checkpoint, 0.0, max(counts) + 1)
    assert finder is not None
    (finds,) = finder([image], 1)
    scores = [1.0, *finds.score]
    assert len(scores) > max(counts) + 1, "the image has too few finds"
    return {count: (scores[count] + scores[count + 1]) / 2 for count in counts}
