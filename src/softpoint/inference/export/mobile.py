"""Formats of phones and small devices, whose images all have one size: LiteRT and ExecuTorch.

Neither has a place for metadata, which are in the JSON beside the file alone.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from softpoint.export_formats import KINDS
from softpoint.extras import require
from softpoint.inference.export.formats import Format, Layout, Predict, predicting, quiet, trace
from softpoint.inference.export.graph import ExportModule, example_inputs


def _write_litert(module: ExportModule, path: Path, _: dict[str, Any], layout: Layout) -> None:
    if module.padding is not None:
        raise ValueError(
            "format=litert has no float64 for the boxes of a model trained on crops; use format=executorch"
        )
    with quiet():
        litert = require("litert_torch", "litert", "format=litert")
    assert layout.size is not None and layout.batch is not None
    inputs = example_inputs(module, layout.size, layout.batch)
    progress = litert.progress.console
    before, progress.quiet = progress.quiet, True
    try:
        with quiet():
            litert.convert(_contiguous(module), inputs).export(str(path))
    finally:
        progress.quiet = before


def _open_litert(path: Path, metadata: dict[str, Any]) -> tuple[Predict, dict[str, Any]]:
    interpreter = require("ai_edge_litert.interpreter", "litert", "format=litert")
    runner = interpreter.Interpreter(str(path)).get_signature_runner()
    names = sorted(runner.get_input_details())  # args_0, args_1

    def run(*inputs: np.ndarray) -> list[Any]:
        outputs = runner(**dict(zip(names, inputs, strict=True)))
        return [outputs[f"output_{i}"] for i in range(len(outputs))]

    return predicting(run, metadata), metadata


def _write_executorch(module: ExportModule, path: Path, _: dict[str, Any], layout: Layout) -> None:
    """Write a program whose convolutions XNNPACK runs, which every processor has."""
    with quiet():
        exir = require("executorch.exir", "executorch", "format=executorch")
        partition = "executorch.backends.xnnpack.partition"
        xnnpack = require(f"{partition}.xnnpack_partitioner", "executorch", "format=executorch")
        configs = require(f"{partition}.config", "executorch", "format=executorch")
    # Its maximum without the dimension that it is over is refused only after it has been chosen.
    chosen = [config for config in configs.ALL_PARTITIONER_CONFIGS if config is not configs.MaxDimConfig]
    with quiet():
        program = trace(_contiguous(module), layout)
        edge = exir.to_edge_transform_and_lower(program, partitioner=[xnnpack.XnnpackPartitioner(configs=chosen)])
        edge.to_executorch().save(str(path))


def _open_executorch(path: Path, metadata: dict[str, Any]) -> tuple[Predict, dict[str, Any]]:
    runtime = require("executorch.runtime", "executorch", "format=executorch")
    program = runtime.Runtime.get().load_program(str(path))
    method = program.load_method("forward")

    def run(*inputs: np.ndarray) -> Sequence[Any]:
        outputs: Sequence[Any] = method.execute([torch.from_numpy(value) for value in inputs])
        return outputs

    return predicting(run, metadata), metadata


def _contiguous(module: ExportModule) -> ExportModule:
    """Return a copy with weights in the order of their axes: both converters misread those of channels_last."""
    return copy.deepcopy(module).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload, no-any-return]


MOBILE_FORMATS = {
    "litert": Format(*KINDS["litert"], _write_litert, _open_litert),
    "executorch": Format(*KINDS["executorch"], _write_executorch, _open_executorch),
}
