"""Networks that torch compiles, part by part."""

from __future__ import annotations

import os

from softpoint.models import KeypointNet
from softpoint.paths import user_cache_dir


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


def compile_regions(net: KeypointNet) -> None:
    """Let the backbone, the decoder and each block of attention be compiled at their first batch.

    Each is compiled for training and for validation, and once more for a batch of another number of images, which then
    fits all numbers. The head is not: inductor's gradient of the window that it reads, which no loss trains, is NaN on
    CPUs for three keypoints whose logits have their channels last.
    """
    for part in (net.backbone, net.decoder, *net.attention.values()):
        part.compile()
