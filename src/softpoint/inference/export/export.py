"""A checkpoint as one file that runs elsewhere, written only if it answers as the checkpoint does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from softpoint.inference.checkpoint import Checkpoint
from softpoint.inference.export.graph import ExportModule
from softpoint.inference.export.metadata import describe, write_sidecar
from softpoint.inference.export.onnx_file import quantize, write_onnx
from softpoint.inference.export.parity import ComparisonImage, Difference, measure_difference, random_images, reopened
from softpoint.inference.export.programs import write_compiled, write_program
from softpoint.inference.predictor import Predictor
from softpoint.paths import atomic_write
from softpoint.suggest import did_you_mean


class Format(NamedTuple):
    """The ending of its files, and what writes them."""

    suffix: str
    write: Callable[[ExportModule, Path, dict[str, Any], tuple[int, int] | None], None]


FORMATS = {
    "onnx": Format(".onnx", write_onnx),
    "torch_export": Format(".pt2", write_program),
    "aoti": Format(".pt2", write_compiled),
}
PRECISIONS = ("float32", "float16", "int8")

# Pixels by which a float32 file may differ from its checkpoint anywhere.
LIMIT = 0.05


@dataclass(frozen=True)
class ExportOptions:
    """What is wanted of an export; ValueError for what there is not.

    `size` (H, W) fixes the size of the images, None takes any.
    """

    format: str = "onnx"
    precision: str = "float32"
    heatmaps: bool = False
    size: tuple[int, int] | None = None
    calibration: Sequence[ComparisonImage] = field(default=())

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"format={self.format!r}: {did_you_mean(self.format, FORMATS)}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision={self.precision!r}: {did_you_mean(self.precision, PRECISIONS)}")
        if self.precision == "int8" and self.format != "onnx":
            raise ValueError("precision=int8 is for format=onnx; choose float32 or float16 here")
        if self.size is not None and min(self.size) < 1:
            raise ValueError(f"image_size={list(self.size)} must be a height and a width in pixels")
        if self.precision == "int8" and not self.taken(self.calibration):
            of = "" if self.size is None else f" of {list(self.size)}"
            raise ValueError(f"precision=int8 measures ranges on images{of}; give some by images=FOLDER")

    def taken(self, views: Sequence[ComparisonImage]) -> list[ComparisonImage]:
        """Those that the file takes: of one size, where it is fixed."""
        return [view for view in views if self.size is None or view.image.shape[:2] == tuple(self.size)]


def export(
    checkpoint: Checkpoint, predictor: Predictor, path: Path, plan: ExportOptions, views: Sequence[ComparisonImage] = ()
) -> tuple[Difference, dict[str, Any]]:
    """Writes `path` and its sidecar; how far it is from `predictor`, on `views` if there are any, and its metadata.

    A float32 file that differs by more than `LIMIT` px, on these or on random images, is deleted, with a
    ValueError. Nothing else is left of an export that fails either, nor is an earlier file at `path` harmed.
    """
    suffix = FORMATS[plan.format].suffix
    if path.suffix != suffix or not path.stem:
        raise ValueError(f"output={path} must be a name that ends in {suffix}, for format={plan.format}")
    module = ExportModule(checkpoint, plan.heatmaps, half=plan.precision == "float16")
    metadata = describe(checkpoint, module.answers, plan.precision, plan.size)
    with atomic_write(path) as unfinished:
        _write(module, unfinished, metadata, plan)
        answers, metadata = reopened(unfinished, plan.format)
        differences = [
            measure_difference(predictor, answers, _boxed(shown, checkpoint))
            for shown in (plan.taken(views), random_images(plan.size or checkpoint.size, fixed=plan.size is not None))
            if shown
        ]
        if plan.precision == "float32":
            _check_exact(differences, checkpoint)
    write_sidecar(path, metadata)
    return differences[0], metadata


def _check_exact(differences: Sequence[Difference], checkpoint: Checkpoint) -> None:
    """ValueError for answers that rounding does not explain."""
    if unlike := [difference.unlike for difference in differences if difference.unlike]:
        raise ValueError(f"the exported file answers another {unlike[0]} than {checkpoint.path}; it was deleted")
    worst = max(differences, key=lambda difference: difference.largest)
    if worst.largest > LIMIT:
        raise ValueError(
            f"the exported file differs from {checkpoint.path} by {worst}; more than {LIMIT} px is no export,"
            " and it was deleted"
        )


def _write(module: ExportModule, path: Path, metadata: dict[str, Any], plan: ExportOptions) -> None:
    write = FORMATS[plan.format].write
    if plan.precision != "int8":
        write(module, path, metadata, plan.size)
        return
    whole = path.with_name(f".{path.stem}.float32{path.suffix}")
    try:
        write(module, whole, metadata, plan.size)
        quantize(whole, path, (_given(view, module) for view in plan.taken(plan.calibration)))
    finally:
        whole.unlink(missing_ok=True)


def _given(view: ComparisonImage, module: ExportModule) -> dict[str, np.ndarray]:
    """An image as the file's inputs."""
    given = {"images": view.image[None]}
    if module.padding is not None:
        given["boxes"] = _box(view)[None].astype(np.float32)
    return given


def _boxed(views: Sequence[ComparisonImage], checkpoint: Checkpoint) -> list[ComparisonImage]:
    """The views, with a box each for a network that was trained on crops."""
    return [view._replace(box=_box(view)) for view in views] if checkpoint.crops else list(views)


def _box(view: ComparisonImage) -> np.ndarray:
    """Its box, or that of the whole image."""
    height, width = view.image.shape[:2]
    return np.array([-0.5, -0.5, width - 0.5, height - 0.5]) if view.box is None else np.asarray(view.box)
