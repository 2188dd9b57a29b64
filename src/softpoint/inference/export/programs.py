"""Formats of torch itself: a program of torch.export, and one compiled ahead of time for this kind of machine."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch

from softpoint.inference.export.graph import ExportModule, dynamic_dims, example_inputs
from softpoint.runtime import KEY


def write_program(
    module: ExportModule, path: Path, metadata: dict[str, Any], size: tuple[int, int] | None = None
) -> None:
    """Write a .pt2 file for `torch.export.load`; the metadata is its extra file "softpoint"."""
    program = trace(module, size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about tensors that share memory on devices other than the CPU
        torch.export.save(program, path, extra_files={KEY: json.dumps(metadata)})


def write_compiled(
    module: ExportModule, path: Path, metadata: dict[str, Any], size: tuple[int, int] | None = None
) -> None:
    """Write a .pt2 file of machine code, which torch's AOTInductor runs in Python or C++; needs a C++ compiler."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler, about itself
        torch._inductor.aoti_compile_and_package(
            trace(module, size),
            package_path=str(path),
            inductor_configs={"aot_inductor.metadata": {KEY: json.dumps(metadata)}},
        )


def trace(module: ExportModule, size: tuple[int, int] | None = None) -> torch.export.ExportedProgram:
    """Return the program for any batch size, and for images of any size unless `size` (H, W) is given."""
    inputs = example_inputs(module, size or module.size)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(module.eval(), inputs, dynamic_shapes=tuple(dynamic_dims(inputs, size is None)))
