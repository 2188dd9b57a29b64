"""Formats of exported files, each a writer and a reader.

ONNX, which onnxruntime runs anywhere; a program of `torch.export`; machine code that torch's AOTInductor compiled for
this kind of machine and runs in Python or C++, for which it needs a C++ compiler.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from softpoint.extras import require
from softpoint.inference.export.graph import ExportModule, example_inputs
from softpoint.runtime import KEY

OPSET = 18

# A prediction for an image (H, W, 3) and a box (4,) in it, or the whole image.
Predict = Callable[[np.ndarray, np.ndarray | None], Mapping[str, np.ndarray]]


class Format(NamedTuple):
    """The suffix of a format's files, and the function that writes one.

    `write(module, path, metadata, size)` stores the metadata in the file too, and fixes the size (H, W) of every image
    unless it is None.
    """

    suffix: str
    write: Callable[[ExportModule, Path, dict[str, Any], tuple[int, int] | None], None]


def open_file(path: Path, format: str) -> tuple[Predict, dict[str, Any]]:
    """Return a file's prediction in its own runtime, and the metadata in it."""
    if format == "onnx":
        from softpoint.runtime import load

        model = load(path)
        return model, model.metadata
    if format == "torch_export":
        extra = {KEY: ""}
        program: Any = torch.export.load(path, extra_files=extra).module()
        metadata = json.loads(extra[KEY])
    else:
        program = torch._inductor.aoti_load_package(str(path))
        metadata = json.loads(program.get_metadata()[KEY])

    def predict(image: np.ndarray, box: np.ndarray | None) -> dict[str, np.ndarray]:
        inputs = [torch.from_numpy(np.ascontiguousarray(image))[None]]
        if "boxes" in metadata["inputs"]:
            assert box is not None
            inputs.append(torch.from_numpy(np.asarray(box, dtype=np.float32))[None])
        with torch.no_grad():
            outputs = program(*inputs)
        return {name: value[0].numpy() for name, value in zip(metadata["outputs"], outputs, strict=True)}

    return predict, metadata


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporters' messages to their own developers."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "root")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _write_onnx(module: ExportModule, path: Path, metadata: dict[str, Any], size: tuple[int, int] | None) -> None:
    onnx = require("onnx", "export", "exporting")
    require("onnxscript", "export", "exporting")
    inputs = example_inputs(module, size or module.size)
    names = ["images", "boxes"][: len(inputs)]
    dynamic = dict(zip(names, _dynamic_dims(len(inputs), size), strict=True))
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            module.eval(), inputs, dynamo=True, opset_version=OPSET, verbose=False,
            input_names=names, output_names=module.outputs, dynamic_shapes=dynamic,
        )  # fmt: skip
    assert program is not None
    model = program.model_proto
    for name, text in {KEY: json.dumps(metadata), "producer": "softpoint"}.items():
        model.metadata_props.add(key=name, value=text)
    onnx.save_model(model, str(path))


def _write_program(module: ExportModule, path: Path, metadata: dict[str, Any], size: tuple[int, int] | None) -> None:
    with quiet():
        torch.export.save(_trace(module, size), path, extra_files={KEY: json.dumps(metadata)})


def _write_compiled(module: ExportModule, path: Path, metadata: dict[str, Any], size: tuple[int, int] | None) -> None:
    settings = {"aot_inductor.metadata": {KEY: json.dumps(metadata)}}
    with quiet():
        torch._inductor.aoti_compile_and_package(
            _trace(module, size), package_path=str(path), inductor_configs=settings
        )


def _trace(module: ExportModule, size: tuple[int, int] | None) -> torch.export.ExportedProgram:
    inputs = example_inputs(module, size or module.size)
    with torch.no_grad():
        return torch.export.export(module.eval(), inputs, dynamic_shapes=tuple(_dynamic_dims(len(inputs), size)))


def _dynamic_dims(inputs: int, size: tuple[int, int] | None) -> list[dict[int, Any]]:
    """Return the dimensions of each input that are dynamic: the batch, and height and width of images of any size."""
    free = torch.export.Dim.DYNAMIC
    return [{0: free} | ({1: free, 2: free} if size is None and i == 0 else {}) for i in range(inputs)]


FORMATS = {
    "onnx": Format(".onnx", _write_onnx),
    "torch_export": Format(".pt2", _write_program),
    "aoti": Format(".pt2", _write_compiled),
}
