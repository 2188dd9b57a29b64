"""Networks that torch compiles, part by part."""

from __future__ import annotations

import os
from typing import Any

import torch
from pytorch_lightning.accelerators import CUDAAccelerator

from softpoint.models import KeypointNet
from softpoint.paths import user_cache_dir
from softpoint.suggest import check_choice

# Modes of torch.compile, and whether they record CUDA graphs.
MODES = {"default": False, "reduce-overhead": True, "max-autotune": True, "max-autotune-no-cudagraphs": False}


def check_compile(mode: bool | str, trainer: Any, recompute: bool, teacher: bool) -> None:
    """Raise ValueError for a `compile` that is no mode, or that this training cannot use."""
    if not mode:
        return
    if mode is not True:
        check_choice("compile", mode, ["true", "false", *MODES])
    if recompute:
        raise ValueError(
            "recompute=true is of a network that is not compiled, whose compiler chooses what is computed again: leave"
            f" out one of recompute=true and compile={str(mode).lower()}"
        )
    if not MODES.get(str(mode)):
        return
    if not isinstance(trainer.accelerator, CUDAAccelerator):
        raise ValueError(
            f"compile={mode} records CUDA graphs, for which there is no CUDA device here; use compile=true"
        )
    if teacher:
        raise ValueError(
            f"compile={mode} records CUDA graphs, which hold one batch at a time, and semi= needs two; use compile=true"
        )


def prepare_compiler() -> None:
    """Keep what is compiled in the folder of caches, where later runs find it; ValueError without a C++ compiler."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(user_cache_dir().absolute() / "compiled"))
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        raise ValueError(
            "compile=true needs a C++ compiler, and none is found: install g++, name one by CXX=PATH, or leave it out"
        ) from None


def compile_regions(net: KeypointNet, mode: bool | str = True) -> None:
    """Let the backbone, the decoder and each block of attention be compiled at their first batch.

    Each is compiled for training and for validation, and once more for a batch of another number of images, which then
    fits all numbers. The head is not: inductor's gradient of the window that it reads, which no loss trains, is NaN on
    CPUs for three keypoints whose logits have their channels last. A `mode` of torch.compile is that of the backbone
    and the decoder: masks of attention are kept beyond the next batch, which would overwrite those of a CUDA graph.
    """
    settings: dict[str, Any] = {} if mode is True else {"mode": mode}
    backbone: Any = net.backbone
    backbone.compile(**settings)
    net.decoder.compile(**settings)
    for block in net.attention.values():
        block.compile()
    if MODES.get(str(mode)):
        net.normalize.register_forward_pre_hook(_next_batch)  # what comes first, and is not compiled


def _next_batch(*_: Any) -> None:
    torch.compiler.cudagraph_mark_step_begin()
