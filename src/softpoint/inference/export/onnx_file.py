"""ONNX: one file that onnxruntime runs anywhere, in float32, float16 or int8."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from softpoint.inference.export.graph import ExportModule, dynamic_dims, example_inputs
from softpoint.runtime import KEY

OPSET = 18


def write_onnx(module: ExportModule, path: Path, metadata: dict[str, Any], size: tuple[int, int] | None = None) -> None:
    """Write the file, for images of any size unless `size` (H, W) is given.

    Raises ImportError with the command that installs what is missing.
    """
    onnx = _require("onnx")
    _require("onnxscript")
    inputs = example_inputs(module, size or module.size)
    names = ["images", "boxes"][: len(inputs)]
    dynamic = dict(zip(names, dynamic_dims(inputs, size is None), strict=True))
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module.eval(), inputs, dynamo=True, opset_version=OPSET, verbose=False,
            input_names=names, output_names=module.outputs, dynamic_shapes=dynamic,
        )  # fmt: skip
    assert program is not None
    model = program.model_proto
    for name, text in {KEY: json.dumps(metadata), "producer": "softpoint"}.items():
        model.metadata_props.add(key=name, value=text)
    onnx.save_model(model, str(path))


def quantize(path: Path, into: Path, images: Iterable[dict[str, np.ndarray]]) -> None:
    """Write an int8 copy of a float32 file, with ranges measured on `images`, the inputs of the file.

    Convolutions are quantized, weights per channel, except the first, whose input is the image, and the last,
    whose output is decoded: 256 levels are too coarse there, and both take little time.
    """
    onnx = _require("onnx")
    _require("onnxruntime")
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.rest, None)

    prepared = into.with_name(f".{into.name}.prepared")
    try:
        with _quiet():
            quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared), str(into), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                op_types_to_quantize=["Conv"], nodes_to_exclude=_first_and_last(onnx.load(str(prepared))),
            )  # fmt: skip
    finally:
        prepared.unlink(missing_ok=True)


def _first_and_last(model: Any) -> list[str]:
    """Return the names of the convolutions without another before them, and of those without another after."""
    makers = {output: node for node in model.graph.node for output in node.output}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    before = {node.name: _before(node, makers) for node in convolutions}
    followed = set().union(*before.values())
    return [name for name, earlier in before.items() if not earlier or name not in followed]


def _before(node: Any, makers: dict[str, Any]) -> set[str]:
    """Return the convolutions whose output reaches this one without passing another."""
    result, seen, todo = set(), set(), [node.input[0]]
    while todo:
        maker = makers.get(todo.pop())
        if maker is None or maker.name in seen:
            continue
        seen.add(maker.name)
        if maker.op_type == "Conv":
            result.add(maker.name)
        else:
            todo += maker.input
    return result


@contextmanager
def _quiet() -> Iterator[None]:
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


def _require(name: str) -> Any:
    """Return the library; ImportError with the command that installs it."""
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f'exporting needs {name}: pip install "softpoint[export]"') from error
