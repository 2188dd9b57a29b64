"""Formats of torch itself: torch.export's program, and one compiled ahead of time for this kind of machine."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch

from softpoint.inference.export.graph import ExportModule, example, varying
from softpoint.runtime import KEY


def write_program(
    module: ExportModule, path: Path, metadata: dict[str, Any], size: tuple[int, int] | None = None
) -> None:
    """Writes a .pt2 that `torch.export.load` reads; the metadata is its extra file "softpoint"."""
    program = traced(module, size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about tensors that share memory on devices other than the CPU
        torch.export.save(program, path, extra_files={KEY: json.dumps(metadata)})


def write_compiled(
    module: ExportModule, path: Path, metadata: dict[str, Any], size: tuple[int, int] | None = None
) -> None:
    """Writes a .pt2 of machine code, which torch's AOTInductor runs from Python or C++; needs a C++ compiler."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler, about itself
        torch._inductor.aoti_compile_and_package(
            traced(module, size),
            package_path=str(path),
            inductor_configs={"aot_inductor.metadata": {KEY: json.dumps(metadata)}},
        )


def traced(module: ExportModule, size: tuple[int, int] | None = None) -> torch.export.ExportedProgram:
    """The program, for any batch, and for images of any size unless `size` (H, W) is given."""
    given = example(module, size or module.size)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(module.eval(), given, dynamic_shapes=tuple(varying(given, size is None)))
