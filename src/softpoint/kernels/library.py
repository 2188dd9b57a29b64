"""The C++ loops of this package, compiled by the machine's own compiler where they are first used, and kept."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from softpoint.paths import LOCK, atomic_write, exclusive_lock, sha256, user_cache_dir

_log = logging.getLogger(__name__)

# False keeps to plain PyTorch.
WANTED = os.environ.get("SOFTPOINT_KERNELS", "").lower() not in ("off", "0", "false")
_SOURCES = Path(__file__).parent
_FLAGS = ("-std=c++17", "-O3", "-fPIC", "-shared", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math")
# Tried in turn: not every compiler knows OpenMP, or the processor it runs on.
_OPTIONAL_FLAGS = (("-march=native", "-fopenmp"), ("-march=native",), ("-mcpu=native",), ())


@cache
def library() -> ctypes.CDLL | None:
    """Return the loops, or None where `SOFTPOINT_KERNELS=off` or, with a warning, nothing can compile or load them.

    The first call on a machine takes a few seconds; the result is in the folder `kernels` of softpoint's cache, under
    a name that follows from the source, the flags and the processor.
    """
    if not WANTED:
        return None
    try:
        return _kept() or _built_once()
    except OSError as error:
        _log.warning(
            "softpoint's C++ loops for CPUs could not be compiled (%s); "
            "PyTorch alone computes the same, several times slower",
            error,
        )
        return None


def _dispatch_keys(device: str, inference: bool) -> int:
    with torch.inference_mode(inference):
        return torch._C._dispatch_keys(torch.empty(0, device=device)).raw_repr()


@cache
def _plain_keys(device: str) -> set[int]:
    """Keys of tensors whose numbers are in memory as they are: not sparse, negated, batched or wrapped."""
    return {_dispatch_keys(device, inference=False), _dispatch_keys(device, inference=True)}


def are_plain(tensors: Sequence[Tensor], device: str) -> bool:
    """Return whether code that reads numbers by their address may read these: in single precision on such a device.

    Nor is more than numbers wanted of an operation on them: a graph, a transform, a derivative on the way.
    """
    if (
        torch.compiler.is_compiling()
        or forward_ad._current_level >= 0
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._len_torch_dispatch_stack()
        or torch._C._get_tracing_state() is not None
    ):
        return False
    keys = _plain_keys(device)
    for tensor in tensors:
        if type(tensor) is not Tensor and type(tensor) is not torch.nn.Parameter:
            return False
        if tensor.dtype is not torch.float32 or torch._C._dispatch_keys(tensor).raw_repr() not in keys:
            return False
    return True


def runs_here(*tensors: Tensor) -> bool:
    """Whether the loops may read such tensors: plain ones in single precision on a CPU, and no graph is being made."""
    return WANTED and are_plain(tensors, "cpu") and library() is not None


POINTER = ctypes.c_void_p
SIZES = (ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int)  # as of `sizes`
# Numbers from which the threads of torch share the work.
_SHARED_NUMBERS = 1 << 16


def loop(name: str, argument_types: Sequence[Any]) -> Callable[..., None]:
    """Return a function of the library, of which `runs_here` has said that it is there."""
    loops = library()
    assert loops is not None
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


def compilers() -> list[list[str]]:
    """Return the commands of C++ compilers that exist here, the one that $CXX names first."""
    named: list[str] = []
    with suppress(ValueError):  # quotes without an end
        named = shlex.split(os.environ.get("CXX", ""), posix=os.name == "posix")
    commands = [named, ["c++"], ["g++"], ["clang++"]]
    found = [command for command in commands if command and shutil.which(command[0])]
    files = [(*command[1:], Path(shutil.which(command[0]) or "").resolve()) for command in found]
    return [command for i, command in enumerate(found) if files[i] not in files[:i]]


def _kept() -> ctypes.CDLL | None:
    """The library that an earlier process compiled, or None; one that is not whole, or does not load, is removed."""
    with suppress(*_NO_FOLDER):
        for path in sorted(_folder().glob(f"{_key()}-*.so")):
            try:
                if _is_safe(path) and path.stem.endswith(_digest(path)):
                    return ctypes.CDLL(str(path))
            except OSError as error:
                _log.info("%s does not load: %s", path, error)
            path.unlink(missing_ok=True)
    return None


def _built_once() -> ctypes.CDLL:
    """The library, compiled by the first of the processes that want it at once; OSError where nothing here can."""
    with ExitStack() as lock:
        with suppress(*_NO_FOLDER):
            lock.enter_context(exclusive_lock(_folder() / LOCK))
        return _kept() or _built()


def _built() -> ctypes.CDLL:
    """The library, compiled now; OSError where nothing here can."""
    why = "there is no C++ compiler; install g++ or clang++, or name one by CXX"
    with TemporaryDirectory(prefix="softpoint-", ignore_cleanup_errors=True) as private:
        output = Path(private, "loops.so")
        for command in _commands(output):
            try:
                subprocess.run(command, capture_output=True, check=True, timeout=300)
                return _keep(output)
            except subprocess.CalledProcessError as error:
                why = f"{command[0]}: {_first_error(error.stderr.decode(errors='replace'))}"
            except (OSError, subprocess.SubprocessError) as error:
                why = f"{command[0]}: {error}"
    raise OSError(why)


def _commands(output: Path) -> Iterator[list[str]]:
    sources = map(str, sorted(_SOURCES.glob("*.cpp")))
    ends = [*sources, "-o", str(output)]
    for compiler in compilers():
        for optional in _OPTIONAL_FLAGS:
            yield [*compiler, *_FLAGS, *optional, *ends]


def _first_error(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line), (lines or ["it failed"])[0])[:300]


def _keep(output: Path) -> ctypes.CDLL:
    """The library, loaded from the cache, for later processes too; from `output` where that cannot be."""
    try:
        path = _folder() / f"{_key()}{_digest(output)}.so"
        with atomic_write(path) as temporary:
            shutil.copyfile(output, temporary)
            temporary.chmod(0o700)
        return ctypes.CDLL(str(path))
    except _NO_FOLDER as error:
        _log.info("softpoint's C++ loops were compiled for this process alone: %s", error)
        return ctypes.CDLL(str(output))


def _digest(library: Path) -> str:
    """What the name of a library ends with, by which a damaged one is found."""
    return f"-{sha256(library)[:16]}"


_NO_FOLDER = (OSError, RuntimeError)  # not readable or writable; no home


def _folder() -> Path:
    """The folder of libraries; OSError where others than this user and root can write there."""
    folder = user_cache_dir() / "kernels"
    folder.mkdir(0o700, parents=True, exist_ok=True)
    folder = folder.resolve()
    if not _is_safe(folder):
        folder.chmod(0o700)
        if not _is_safe(folder):
            raise PermissionError(f"{folder} belongs to another user")
    return folder


def _is_safe(path: Path) -> bool:
    """Whether no user but this one and root can have written there."""
    if os.name != "posix":
        return True
    status = path.lstat()
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _key() -> str:
    """A name of the source, what is asked of the compiler, and the machine, as code for one must not run on another."""
    content = [path.read_bytes() for path in sorted([*_SOURCES.glob("*.h"), *_SOURCES.glob("*.cpp")])]
    asked = (os.environ.get("CXX", ""), *_FLAGS, *map(str, _OPTIONAL_FLAGS))
    machine = (sys.platform, platform.machine(), *platform.libc_ver(), _processor())
    return hashlib.sha256(b"\0".join((*content, *map(str.encode, (*asked, *machine))))).hexdigest()[:16]


def _processor() -> str:
    """The features of the processor, or its name."""
    listed = Path("/proc/cpuinfo")
    text = listed.read_text(encoding="utf-8", errors="replace") if listed.is_file() else ""
    features = re.search(r"^(?:flags|Features)\s*: (.+)", text, re.MULTILINE)
    return features[1] if features else platform.processor()
