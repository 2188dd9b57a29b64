"""Formats of exported files and what fits them: checked before torch is imported."""

from __future__ import annotations

from typing import NamedTuple

from softpoint.suggest import check_choice, did_you_mean

OPSETS = range(18, 24)  # of ONNX that are written; 18 is the default, which the oldest runtimes read
PRECISIONS = ("float32", "float16", "int8")
MAX_SUBJECTS = 200  # that a file may find in an image
# Formats of other tools, and the way there.
ELSEWHERE = {
    "coreml": "coremltools 9.0 cannot read programs of torch 2.14; format=onnx and format=executorch run on iOS too",
    "tensorrt": "TensorRT builds its engines where they run, by trtexec --onnx=model.onnx; write format=onnx",
}


class Kind(NamedTuple):
    """The suffix of a format's files, and whether all dimensions of their input are fixed."""

    suffix: str
    fixed: bool = False


KINDS = {
    "onnx": Kind(".onnx"),
    "openvino": Kind(".onnx"),
    "torch_export": Kind(".pt2"),
    "aoti": Kind(".pt2"),
    "litert": Kind(".tflite", fixed=True),
    "executorch": Kind(".pte", fixed=True),
}


def check_options(
    format: str,
    precision: str,
    size: tuple[int, int] | None,
    batch: int | None,
    opset: int,
    finds: bool = False,
) -> None:
    """Raise ValueError for impossible options of an export; `size` and `batch` are None for any.

    `finds` states that the file finds the subjects in an image itself.

    >>> check_options("onx", "float32", None, None, 18)
    Traceback (most recent call last):
    ValueError: format='onx': did you mean 'onnx'?
    """
    if format in ELSEWHERE:
        raise ValueError(f"format={format} is not written: {ELSEWHERE[format]}")
    if format not in KINDS:
        raise ValueError(f"format={format!r}: {did_you_mean(format, [*KINDS, 'safetensors'])}")
    check_choice("precision", precision, PRECISIONS)
    suffix, fixed = KINDS[format]
    if precision == "int8" and suffix != ".onnx":
        raise ValueError("precision=int8 is for format=onnx; choose float32 or float16 here")
    if precision != "float32" and fixed:
        raise ValueError(f"precision={precision} is not for format={format}; choose float32 here")
    if fixed and size is None:
        raise ValueError(f"format={format} takes images of one size: add image_size=[HEIGHT,WIDTH]")
    if batch is not None and batch < 1:
        raise ValueError(f"batch={batch} must be a number of images, or null for any")
    if opset not in OPSETS:
        raise ValueError(f"opset={opset} must be from {OPSETS.start} to {OPSETS.stop - 1}")
    if size is not None and min(size) < 1:
        raise ValueError(f"image_size={list(size)} must be a height and a width in pixels")
    if finds:
        check_finding(format, precision, batch)


def check_subjects(most: int, threshold: float) -> None:
    """Raise ValueError for an impossible number of subjects or smallest score.

    >>> check_subjects(0, 0.5)
    Traceback (most recent call last):
    ValueError: max_subjects=0 must be a whole number from 1 to 200
    """
    if type(most) is not int or not 1 <= most <= MAX_SUBJECTS:
        raise ValueError(f"max_subjects={most} must be a whole number from 1 to {MAX_SUBJECTS}")
    if not 0 <= threshold <= 1:
        raise ValueError(f"subject_threshold={threshold:g} must be a probability, 0 to 1")


def check_finding(format: str, precision: str, batch: int | None) -> None:
    """Raise ValueError where a file cannot find subjects, whose number is known only when it runs."""
    way_out = "finder=false writes one that reads the boxes that it is given"
    if format != "onnx":
        raise ValueError(f"format={format} cannot hold a model that finds subjects, which format=onnx can; {way_out}")
    if precision != "float32":
        raise ValueError(f"precision={precision} is not for a file that finds subjects; choose float32, or {way_out}")
    if batch not in (None, 1):
        raise ValueError(f"batch={batch}: a file that finds subjects takes one image at a time; {way_out}")
