"""Formats of exported files, each a writer and a reader.

ONNX, which onnxruntime runs anywhere and OpenVINO reads as it is; a program of `torch.export`; machine code that
torch's AOTInductor compiled for this kind of machine and runs in Python or C++, for which it needs a C++ compiler.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from softpoint.export_formats import KINDS, OPSETS
from softpoint.extras import require
from softpoint.inference.export.graph import ExportModule, example_inputs
from softpoint.runtime import KEY

# A prediction for an image (H, W, 3) and a box (4,) in it, or the whole image.
Predict = Callable[[np.ndarray, np.ndarray | None], Mapping[str, np.ndarray]]


class Layout(NamedTuple):
    """Size (H, W) of every image and their number, None for any, and the version of ONNX's operators."""

    size: tuple[int, int] | None = None
    batch: int | None = None
    opset: int = OPSETS.start


class Format(NamedTuple):
    """The suffix of a format's files, and the functions that write one and read it.

    `write(module, path, metadata, layout)` stores the metadata in the file too, where the format has a place for it.
    `open(path, metadata)` returns a file's prediction in its own runtime, and the metadata in it, or those given.
    """

    suffix: str
    fixed: bool  # whether all dimensions must be
    write: Callable[[ExportModule, Path, dict[str, Any], Layout], None]
    open: Callable[[Path, dict[str, Any]], tuple[Predict, dict[str, Any]]]


def predicting(run: Callable[..., Sequence[Any]], metadata: Mapping[str, Any]) -> Predict:
    """Return a prediction by `run`, which takes a batch of images (and one of boxes) and returns outputs in order."""

    def predict(image: np.ndarray, box: np.ndarray | None) -> dict[str, np.ndarray]:
        parts = [image, *([np.asarray(box, dtype=np.float32)] if "boxes" in metadata["inputs"] else [])]
        outputs = run(*(np.stack([part] * (metadata["batch"] or 1)) for part in parts))
        return {name: np.asarray(value)[0] for name, value in zip(metadata["outputs"], outputs, strict=True)}

    return predict


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporters' messages to their own developers."""
    torch_names = "torch.onnx", "torch.utils._pytree", "torch.utils.cpp_extension"
    names = *torch_names, "onnxscript", "onnx_ir", "root", "executorch", "litert_torch"
    loggers = [logging.getLogger(name) for name in names]
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


def _write_onnx(module: ExportModule, path: Path, metadata: dict[str, Any], layout: Layout) -> None:
    onnx = require("onnx", "export", "exporting")
    require("onnxscript", "export", "exporting")
    inputs = example_inputs(module, layout.size or module.size, layout.batch or 2)
    names = ["images", "boxes"][: len(inputs)]
    dynamic = dict(zip(names, _dynamic_dims(len(inputs), layout), strict=True))
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            module.eval(), inputs, dynamo=True, opset_version=layout.opset, verbose=False,
            input_names=names, output_names=module.outputs, dynamic_shapes=dynamic,
        )  # fmt: skip
    assert program is not None
    model = program.model_proto
    if (written := next(item.version for item in model.opset_import if not item.domain)) != layout.opset:
        raise ValueError(f"opset={layout.opset}: this torch writes {written} for this model; leave opset out")
    for name, text in {KEY: json.dumps(metadata), "producer": "softpoint"}.items():
        model.metadata_props.add(key=name, value=text)
    onnx.save_model(model, str(path))


def _open_onnx(path: Path, _: dict[str, Any]) -> tuple[Predict, dict[str, Any]]:
    from softpoint.runtime import load

    model = load(path)
    return model, model.metadata


def _open_openvino(path: Path, metadata: dict[str, Any]) -> tuple[Predict, dict[str, Any]]:
    """Return the prediction of an ONNX file in OpenVINO, in float32 where the processor would prefer less."""
    openvino = require("openvino", "openvino", "format=openvino")
    program = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(*inputs: np.ndarray) -> list[Any]:
        outputs = program(dict(zip(["images", "boxes"], inputs, strict=False)))
        return [outputs[name] for name in metadata["outputs"]]

    return predicting(run, metadata), metadata


def _write_program(module: ExportModule, path: Path, metadata: dict[str, Any], layout: Layout) -> None:
    with quiet():
        torch.export.save(trace(module, layout), path, extra_files={KEY: json.dumps(metadata)})


def _open_program(path: Path, _: dict[str, Any]) -> tuple[Predict, dict[str, Any]]:
    extra = {KEY: ""}
    program: Any = torch.export.load(path, extra_files=extra).module()
    metadata = json.loads(extra[KEY])
    return _torch_predicting(program, metadata), metadata


def _write_compiled(module: ExportModule, path: Path, metadata: dict[str, Any], layout: Layout) -> None:
    settings = {"aot_inductor.metadata": {KEY: json.dumps(metadata)}}
    with quiet():
        torch._inductor.aoti_compile_and_package(
            trace(module, layout), package_path=str(path), inductor_configs=settings
        )


def _open_compiled(path: Path, _: dict[str, Any]) -> tuple[Predict, dict[str, Any]]:
    program: Any = torch._inductor.aoti_load_package(str(path))
    metadata = json.loads(program.get_metadata()[KEY])
    return _torch_predicting(program, metadata), metadata


def _torch_predicting(program: Callable[..., Any], metadata: dict[str, Any]) -> Predict:
    def run(*inputs: np.ndarray) -> Sequence[Any]:
        with torch.no_grad():
            outputs: Sequence[Any] = program(*map(torch.from_numpy, inputs))
        return outputs

    return predicting(run, metadata)


def trace(module: ExportModule, layout: Layout) -> torch.export.ExportedProgram:
    """Return a program of torch."""
    inputs = example_inputs(module, layout.size or module.size, layout.batch or 2)
    dynamic = tuple(_dynamic_dims(len(inputs), layout))
    with torch.no_grad():
        return torch.export.export(module.eval(), inputs, dynamic_shapes=dynamic)


def _dynamic_dims(inputs: int, layout: Layout) -> list[dict[int, Any]]:
    """Return the dimensions of each input that are dynamic: the batch, and height and width of images of any size."""
    free = torch.export.Dim.DYNAMIC
    batch = {0: free} if layout.batch is None else {}
    return [batch | ({1: free, 2: free} if layout.size is None and i == 0 else {}) for i in range(inputs)]


FORMATS = {
    "onnx": Format(*KINDS["onnx"], _write_onnx, _open_onnx),
    "openvino": Format(*KINDS["openvino"], _write_onnx, _open_openvino),
    "torch_export": Format(*KINDS["torch_export"], _write_program, _open_program),
    "aoti": Format(*KINDS["aoti"], _write_compiled, _open_compiled),
}
