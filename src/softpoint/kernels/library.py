"""The C++ loops of this package, compiled by the machine's own compiler where they are first used, and kept."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from softpoint.paths import atomic_write, user_cache_dir

_log = logging.getLogger(__name__)

# False keeps to plain PyTorch, on GPUs too.
WANTED = os.environ.get("SOFTPOINT_KERNELS", "").lower() not in ("off", "0", "false")
_FLAGS = ("-std=c++17", "-O3", "-fPIC", "-shared", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math")
# Tried in turn: not every compiler knows OpenMP, or the processor it runs on.
_OPTIONAL_FLAGS = (("-march=native", "-fopenmp"), ("-mcpu=native",), ())


@cache
def library() -> ctypes.CDLL | None:
    """Return the loops, or None where `SOFTPOINT_KERNELS=off` or nothing can compile or load them.

    The first call on a machine takes a few seconds; the result is in the folder `kernels` of softpoint's cache, under
    a name that follows from the source, the compiler and the processor.
    """
    if not WANTED:
        return None
    try:
        return ctypes.CDLL(str(_compiled()))
    except (OSError, subprocess.SubprocessError) as error:
        _log.info("spatial softmax runs in PyTorch alone, which is several times slower: %s", error)
        return None


def runs_here(*tensors: Tensor) -> bool:
    """Whether the loops may read such tensors: plain ones in single precision on a CPU, and no graph is being made."""
    return (
        WANTED
        and all(type(tensor) in (Tensor, torch.nn.Parameter) for tensor in tensors)
        and all(tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in tensors)
        and not torch.compiler.is_compiling()
        and torch._C._get_tracing_state() is None
        and torch._C._functorch.peek_interpreter_stack() is None
        and torch._C._len_torch_dispatch_stack() == 0
        and library() is not None
    )


POINTER = ctypes.c_void_p
SIZES = (ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int)  # as of `sizes`
# Numbers from which the threads of torch share the work.
_SHARED_NUMBERS = 1 << 16


def loop(name: str, argument_types: Sequence[Any]) -> Callable[..., None]:
    """Return a function of the library; RuntimeError where there is none, as for a graph from another machine."""
    loops = library()
    if loops is None:
        raise RuntimeError("softpoint's loops are not compiled here, but a graph was compiled with them")
    function: Any = getattr(loops, name)
    if not function.argtypes:
        function.restype, function.argtypes = None, argument_types
    return function  # type: ignore[no-any-return]


def addresses(*tensors: Tensor | None) -> list[int | None]:
    """Return where the numbers of each tensor are; None or 0 where there are none."""
    return [None if tensor is None else tensor.data_ptr() for tensor in tensors]


def sizes(maps: Tensor) -> tuple[int, int, int, int]:
    """Return the count, height and width of maps (..., H, W), and the threads to share them."""
    height, width = maps.shape[-2:]
    count = maps.numel() // max(height * width, 1)
    return count, height, width, threads(maps)


def threads(tensor: Tensor) -> int:
    """Return how many threads share the numbers of a tensor."""
    return torch.get_num_threads() if tensor.numel() >= _SHARED_NUMBERS else 1


def _compiled() -> Path:
    """The compiled library, built where it is missing; OSError where there is no compiler that can."""
    sources = sorted(Path(__file__).parent.glob("*.cpp"))
    headers = sorted(Path(__file__).parent.glob("*.h"))
    compiler = _compiler()
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=60).stdout
    content = [path.read_bytes() for path in (*headers, *sources)]
    known = hashlib.sha256(b"\0".join((*content, version, _processor(), *map(str.encode, _FLAGS))))
    path = user_cache_dir() / "kernels" / f"{known.hexdigest()[:16]}.so"
    if not path.is_file():
        with atomic_write(path) as temporary:
            _compile(compiler, sources, temporary)
    return path


def _compiler() -> str:
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if name and (found := shutil.which(name)):
            return found
    raise OSError("there is no C++ compiler; install g++ or clang++, or name one by CXX")


def _compile(compiler: str, sources: list[Path], output: Path) -> None:
    message = ""
    for optional in _OPTIONAL_FLAGS:
        command = [compiler, *_FLAGS, *optional, *map(str, sources), "-o", str(output)]
        result = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=300)
        if result.returncode == 0:
            return
        message = result.stderr.strip()
    raise OSError(f"{compiler} could not compile softpoint's loops: {message[-500:]}")


def _processor() -> bytes:
    """What the processor can do, as code for one must not run on another."""
    listed = Path("/proc/cpuinfo")
    text = listed.read_text(encoding="utf-8", errors="replace") if listed.is_file() else ""
    features = re.search(r"^(?:flags|Features)\s*: (.+)", text, re.MULTILINE)
    return " ".join((platform.machine(), platform.processor(), features[1] if features else "")).encode()
