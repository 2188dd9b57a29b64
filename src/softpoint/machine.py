"""What a measurement or a training ran on, as far as the system tells."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from softpoint import __version__


def cores() -> int:
    """How many CPU cores this process may use.

    >>> cores() > 0
    True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """What the processor calls itself."""
    listed = Path("/proc/cpuinfo")
    text = listed.read_text(encoding="utf-8", errors="replace") if listed.is_file() else ""
    named = re.search(r"model name\s*: (.+)", text)
    return named[1].strip() if named else platform.processor() or platform.machine()


# What messages of torch, and of the oneDNN in it, contain where a memory is full.
GPU_IS_FULL = "(CUDA|HIP|XPU|MPS).*out of memory"
MEMORY_IS_FULL = "can't allocate memory|not enough memory|bad_alloc|could not create a (primitive|memory object)"


def memory_is_full(error: BaseException) -> bool:
    """Return whether an error says that the memory of the machine or its GPU is full.

    >>> memory_is_full(RuntimeError("could not create a primitive")), memory_is_full(RuntimeError("shapes differ"))
    (True, False)
    """
    kinds = isinstance(error, RuntimeError | MemoryError)
    said = re.search(f"{GPU_IS_FULL}|{MEMORY_IS_FULL}", str(error), re.DOTALL)
    return kinds and (isinstance(error, MemoryError) or said is not None)


# What decides samples and networks, beside softpoint itself.
_LIBRARIES = ("torch", "torchvision", "pytorch-lightning", "timm", "numpy", "opencv-python-headless", "pillow",
              "albumentations")  # fmt: skip


def library_versions() -> dict[str, str]:
    """Return the versions of softpoint, from its source, of Python, and of the libraries that decide a training."""
    installed = {}
    for name in _LIBRARIES:
        with suppress(PackageNotFoundError):  # OpenCV under another name
            installed[name] = version(name)
    return {"softpoint": __version__, "python": platform.python_version(), **installed}


def git_state(folder: Path, tracked: Path | None = None) -> dict[str, Any] | None:
    """Return the commit of the repository at a folder and the number of changed files in it.

    None without a repository, and where it does not hold the file `tracked`.
    """

    def git(*words: str) -> str:
        command = ["git", "-C", str(folder), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        if tracked is not None:
            git("ls-files", "--error-unmatch", str(tracked))
        changed = git("status", "--porcelain", "--untracked-files=no")
        return {"commit": git("rev-parse", "HEAD"), "changed_files": len(changed.splitlines())}
    except (OSError, subprocess.SubprocessError):
        return None


def slurm_job() -> str | None:
    """Return the number of this job of SLURM, which it keeps when it is started again; None without one."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID')}" if array else os.environ.get("SLURM_JOB_ID")
