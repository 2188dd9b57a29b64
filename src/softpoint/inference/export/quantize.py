"""Quantization of ONNX files to int8."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.extras import require
from softpoint.inference.export.formats import quiet


def quantize(path: Path, into: Path, images: Iterable[dict[str, np.ndarray]]) -> None:
    """Write an int8 copy of a float32 file, with ranges measured on `images`, the inputs of the file.

    Convolutions are quantized, weights per channel, except the first, whose input is the image, and the last,
    whose output is decoded: 256 levels are too coarse there, and both take little time.
    """
    onnx = require("onnx", "export", "precision=int8")
    require("onnxruntime", "export", "precision=int8")
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.rest, None)

    prepared = into.with_name(f".{into.name}.prepared")
    try:
        with quiet():
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
