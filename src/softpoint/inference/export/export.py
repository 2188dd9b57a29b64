"""Export of a checkpoint to one file, which is kept only if it predicts what the checkpoint does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from softpoint import __version__
from softpoint.export_formats import OPSETS, check_options, check_subjects
from softpoint.images.channels import count_channels
from softpoint.inference.checkpoint import Checkpoint
from softpoint.inference.export import formats
from softpoint.inference.export.formats import Format, Layout, Predict
from softpoint.inference.export.graph import ExportModule
from softpoint.inference.export.mobile import MOBILE_FORMATS
from softpoint.inference.export.parity import (
    ComparisonImage,
    Difference,
    measure_difference,
    measure_subject_difference,
    random_images,
)
from softpoint.inference.export.quantize import quantize
from softpoint.inference.export.subject_file import write_subjects
from softpoint.inference.faults import find_faults
from softpoint.inference.predictor import Predictor
from softpoint.inference.regions import Regions
from softpoint.inference.subjects import SubjectPredictor, subject_finder
from softpoint.paths import atomic_write, sha256, write_json
from softpoint.runtime import FORMAT, Model

FORMATS: dict[str, Format] = formats.FORMATS | MOBILE_FORMATS
# Pixels by which a keypoint of a float32 file may differ from the checkpoint's.
MAX_DIFFERENCE = 0.05


class Subjects(NamedTuple):
    """The largest number of subjects that a file finds in an image, and the smallest score of one without another."""

    most: int = 20
    threshold: float = 0.5


@dataclass(frozen=True)
class ExportOptions:
    """Options of an export. Raises ValueError for impossible ones.

    Args:
        format: a name in `FORMATS`.
        precision: a name in `export_formats.PRECISIONS`.
        heatmaps: also return the heatmaps.
        size: (H, W) of every image; None for any size.
        batch: number of images in every call; None for any, and 1 in formats of phones.
        opset: of ONNX.
        calibration: images on which int8 measures its ranges.
        subjects: that the file finds itself, in one image at a time; None for a file that takes their boxes.
    """

    format: str = "onnx"
    precision: str = "float32"
    heatmaps: bool = False
    size: tuple[int, int] | None = None
    batch: int | None = None
    opset: int = OPSETS.start
    calibration: Sequence[ComparisonImage] = ()
    subjects: Subjects | None = None

    def __post_init__(self) -> None:
        check_options(self.format, self.precision, self.size, self.batch, self.opset, self.subjects is not None)
        if self.subjects is not None:
            check_subjects(*self.subjects)
        if self.precision == "int8" and not self.accepted(self.calibration):
            size = "" if self.size is None else f" of {list(self.size)}"
            raise ValueError(f"precision=int8 measures ranges on images{size}; give some by images=FOLDER")

    @property
    def layout(self) -> Layout:
        """What is fixed in the file."""
        one = FORMATS[self.format].fixed or self.subjects is not None
        return Layout(self.size, 1 if self.batch is None and one else self.batch, self.opset)

    def accepted(self, images: Sequence[ComparisonImage]) -> list[ComparisonImage]:
        """Return the images that the file takes: those of its size, if that is fixed."""
        return [image for image in images if self.size is None or image.image.shape[:2] == tuple(self.size)]


def export(
    checkpoint: Checkpoint,
    predictor: Predictor,
    path: Path,
    options: ExportOptions,
    images: Sequence[ComparisonImage] = (),
    say: Callable[[str], None] = lambda text: None,
) -> tuple[Difference, dict[str, Any]]:
    """Write `path` and its sidecar; return the difference from `predictor`, on `images` if there are any, and metadata.

    `say` is told what begins. A float32 file that differs by more than `MAX_DIFFERENCE` px on these or on random images
    is deleted, with a ValueError. An export that fails leaves nothing, and an earlier file at `path` as it was.
    """
    suffix = FORMATS[options.format].suffix
    if path.suffix != suffix or not path.stem:
        raise ValueError(f"output={path} must be a name that ends in {suffix}, for format={options.format}")
    module = ExportModule(checkpoint, options.heatmaps, options.precision == "float16", options.size)
    metadata = describe(checkpoint, module.outputs, options.precision, options.layout, options.subjects)
    with atomic_write(path) as temporary, _converting(options.format):
        say(f"writing {path.name}")
        if options.subjects is None:
            _write(module, temporary, metadata, options)
        else:
            write_subjects(checkpoint, module, temporary, metadata, options.layout)
        say(f"opening {path.name} in its runtime")
        exported, metadata = FORMATS[options.format].open(temporary, metadata)
        size, channels = options.size or checkpoint.size, count_channels(checkpoint.channels)
        noise = random_images(size, fixed=options.size is not None, channels=channels)
        parts = [part for part in (options.accepted(images), noise) if part]
        say(f"comparing {path.name} with the checkpoint on {sum(map(len, parts))} images")
        if options.subjects is not None:
            differences = _compare_subjects(checkpoint, predictor, exported, parts, options.subjects)
        else:
            if checkpoint.crops:
                parts = [[image._replace(box=image.box_or_whole()) for image in part] for part in parts]
            differences = [measure_difference(predictor, exported, part) for part in parts]
        if options.precision == "float32":
            _check_exact(differences, checkpoint.path)
    write_json(path.with_name(f"{path.name}.json"), metadata)
    return differences[0], metadata


def describe(
    checkpoint: Checkpoint, outputs: list[str], precision: str, layout: Layout, subjects: Subjects | None = None
) -> dict[str, Any]:
    """Return all that a reader of the file needs, as plain values."""
    skeleton, channels, plane = checkpoint.skeleton, checkpoint.channels, checkpoint.plane
    regions = Regions.of(checkpoint.net.calibration, skeleton.names)
    inputs = {"images": f"uint8 ({layout.batch or 'B'}, H, W, {count_channels(channels)})"}
    if subjects is not None:
        inputs["threshold"] = f"float32 (), {subjects.threshold:g} where it is not given"
        outputs = [*outputs, "scores", "boxes"]
    elif checkpoint.crops:
        inputs["boxes"] = "float32 (B, 4)"
    return {
        "format": FORMAT,
        "version": __version__,
        "keypoints": list(skeleton.names),
        "edges": [list(edge) for edge in skeleton.edges],
        "flip_pairs": [list(pair) for pair in skeleton.flip_pairs],
        "size": list(checkpoint.size),
        "image_size": None if layout.size is None else list(layout.size),
        "batch": layout.batch,
        "color": {3: "RGB", 1: "gray"}.get(channels, "bands") if isinstance(channels, int) else "bands",
        "channels": channels if isinstance(channels, int) else list(channels),  # or the bands of a file that are read
        "homography": None if plane is None else plane.matrix.tolist(),  # from pixels of the image to millimeters
        "bits": checkpoint.bits,  # that the values of 16-bit images use, of which the upper 8 are the input; None: all
        "crops": checkpoint.crops,
        "finder": None if subjects is None else _describe_finder(checkpoint, subjects),
        "inputs": inputs,
        "outputs": outputs,  # of a finder with one row for each subject
        "coordinates": "(x, y) in pixels of the image; integers are pixel centers",
        "confidence_radius": float(checkpoint.net.calibration.radius) or None,  # in pixels of the network's input
        # Mahalanobis radii, by the covariance, of ellipses that hold a point with the probability `level`.
        "regions": regions.to_dict() if regions is not None else [],
        "faults": find_faults(checkpoint, "softpoint calibrate, before it is exported again"),
        "precision": precision,
        "metrics": checkpoint.record.get("metrics", {}),
        "weights_license": checkpoint.record.get("weights_license"),
        "checkpoint": checkpoint.path.name,
        "checkpoint_sha256": sha256(checkpoint.weights_file),
    }


def _describe_finder(checkpoint: Checkpoint, subjects: Subjects) -> dict[str, Any]:
    if checkpoint.finder is None:
        raise ValueError(f"{checkpoint.path} finds no subjects; one of a training with data.mode=multi does")
    size = list(checkpoint.finder["size"])  # of the input in which subjects are found
    return {"size": size, "max_subjects": subjects.most, "threshold": subjects.threshold}


def _compare_subjects(
    checkpoint: Checkpoint,
    predictor: Predictor,
    exported: Predict,
    parts: Sequence[Sequence[ComparisonImage]],
    subjects: Subjects,
) -> list[Difference]:
    """Return the difference for each part; the last, of random images, with the finds of any score."""
    differences = []
    for part in parts:
        threshold = 0.0 if part is parts[-1] else subjects.threshold
        finder = subject_finder(checkpoint, threshold, subjects.most)
        assert finder is not None and isinstance(exported, Model)
        found = partial(exported, threshold=threshold)
        differences.append(measure_subject_difference(SubjectPredictor(predictor, finder), found, part))
    return differences


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
        write(module, path, metadata, options.layout)
        return
    full = path.with_name(f".{path.stem}.float32{path.suffix}")
    try:
        write(module, full, metadata, options.layout)
        inputs = []
        for image in options.accepted(options.calibration):
            boxes = {} if module.padding is None else {"boxes": image.box_or_whole()[None].astype(np.float32)}
            single = {"images": image.image[None], **boxes}
            inputs.append({name: value.repeat(options.batch or 1, 0) for name, value in single.items()})
        quantize(full, path, inputs)
    finally:
        full.unlink(missing_ok=True)


@contextmanager
def _converting(format: str) -> Iterator[None]:
    """Raise ValueError for a model that a converter or its runtime cannot take, with the first of its errors."""
    try:
        yield
    except (ImportError, ValueError, OSError, MemoryError):
        raise
    except Exception as error:  # every converter has exceptions of its own
        reason: BaseException = error
        while reason.__cause__ is not None:
            reason = reason.__cause__
        line = str(reason).strip().partition("\n")[0][:300]
        raise ValueError(f"format={format} fails for this model ({line}); choose another format") from error
