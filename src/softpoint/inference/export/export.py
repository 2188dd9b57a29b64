"""Export of a checkpoint to one file, which is kept only if it predicts what the checkpoint does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from softpoint.inference.checkpoint import Checkpoint
from softpoint.inference.export.graph import ExportModule
from softpoint.inference.export.metadata import describe, write_sidecar
from softpoint.inference.export.onnx_file import quantize, write_onnx
from softpoint.inference.export.parity import ComparisonImage, Difference, measure_difference, open_file, random_images
from softpoint.inference.export.programs import write_compiled, write_program
from softpoint.inference.predictor import Predictor
from softpoint.paths import atomic_write
from softpoint.suggest import did_you_mean


class Format(NamedTuple):
    """The suffix of a format's files, and the function that writes one."""

    suffix: str
    write: Callable[[ExportModule, Path, dict[str, Any], tuple[int, int] | None], None]


FORMATS = {
    "onnx": Format(".onnx", write_onnx),
    "torch_export": Format(".pt2", write_program),
    "aoti": Format(".pt2", write_compiled),
}
PRECISIONS = ("float32", "float16", "int8")

# Pixels by which a keypoint of a float32 file may differ from the checkpoint's.
MAX_DIFFERENCE = 0.05


@dataclass(frozen=True)
class ExportOptions:
    """Options of an export. Raises ValueError for impossible ones.

    Args:
        format: a name in `FORMATS`.
        precision: a name in `PRECISIONS`.
        heatmaps: also return the heatmaps.
        size: (H, W) of every image; None for any size.
        calibration: images on which int8 measures its ranges.
    """

    format: str = "onnx"
    precision: str = "float32"
    heatmaps: bool = False
    size: tuple[int, int] | None = None
    calibration: Sequence[ComparisonImage] = ()

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"format={self.format!r}: {did_you_mean(self.format, [*FORMATS, 'safetensors'])}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision={self.precision!r}: {did_you_mean(self.precision, PRECISIONS)}")
        if self.precision == "int8" and self.format != "onnx":
            raise ValueError("precision=int8 is for format=onnx; choose float32 or float16 here")
        if self.size is not None and min(self.size) < 1:
            raise ValueError(f"image_size={list(self.size)} must be a height and a width in pixels")
        if self.precision == "int8" and not self.accepted(self.calibration):
            size = "" if self.size is None else f" of {list(self.size)}"
            raise ValueError(f"precision=int8 measures ranges on images{size}; give some by images=FOLDER")

    def accepted(self, images: Sequence[ComparisonImage]) -> list[ComparisonImage]:
        """Return the images that the file takes: those of its size, if that is fixed."""
        return [image for image in images if self.size is None or image.image.shape[:2] == tuple(self.size)]


def export(
    checkpoint: Checkpoint,
    predictor: Predictor,
    path: Path,
    options: ExportOptions,
    images: Sequence[ComparisonImage] = (),
) -> tuple[Difference, dict[str, Any]]:
    """Write `path` and its sidecar; return the difference from `predictor`, on `images` if there are any, and metadata.

    A float32 file that differs by more than `MAX_DIFFERENCE` px on these or on random images is deleted, with a
    ValueError. An export that fails leaves nothing, and an earlier file at `path` as it was.
    """
    suffix = FORMATS[options.format].suffix
    if path.suffix != suffix or not path.stem:
        raise ValueError(f"output={path} must be a name that ends in {suffix}, for format={options.format}")
    module = ExportModule(checkpoint, options.heatmaps, half=options.precision == "float16")
    metadata = describe(checkpoint, module.outputs, options.precision, options.size)
    with atomic_write(path) as temporary:
        _write(module, temporary, metadata, options)
        exported, metadata = open_file(temporary, options.format)
        noise = random_images(options.size or checkpoint.size, fixed=options.size is not None)
        differences = [
            measure_difference(predictor, exported, [_with_box(image, checkpoint.crops) for image in part])
            for part in (options.accepted(images), noise)
            if part
        ]
        if options.precision == "float32":
            _check_exact(differences, checkpoint.path)
    write_sidecar(path, metadata)
    return differences[0], metadata


def _check_exact(differences: Sequence[Difference], path: Path) -> None:
    """Raise ValueError for differences that rounding does not explain."""
    if names := [difference.other for difference in differences if difference.other]:
        raise ValueError(f"the exported file predicts another {names[0]} than {path}; it was deleted")
    worst = max(differences, key=lambda difference: difference.largest)
    if worst.largest > MAX_DIFFERENCE:
        raise ValueError(
            f"the exported file differs from {path} by {worst}, more than {MAX_DIFFERENCE} px; it was deleted"
        )


def _write(module: ExportModule, path: Path, metadata: dict[str, Any], options: ExportOptions) -> None:
    write = FORMATS[options.format].write
    if options.precision != "int8":
        write(module, path, metadata, options.size)
        return
    full = path.with_name(f".{path.stem}.float32{path.suffix}")
    try:
        write(module, full, metadata, options.size)
        quantize(full, path, (_inputs(image, module) for image in options.accepted(options.calibration)))
    finally:
        full.unlink(missing_ok=True)


def _inputs(image: ComparisonImage, module: ExportModule) -> dict[str, np.ndarray]:
    """Return an image as the file's inputs."""
    inputs = {"images": image.image[None]}
    if module.padding is not None:
        inputs["boxes"] = image.box_or_whole()[None].astype(np.float32)
    return inputs


def _with_box(image: ComparisonImage, crops: dict[str, Any] | None) -> ComparisonImage:
    """Return an image with a box if the network was trained on crops."""
    return image._replace(box=image.box_or_whole()) if crops else image
