"""Environments of other trainers, which share one torch, installed by pip into a folder and used again."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from softpoint.paths import write_text


@dataclass(frozen=True)
class Requirements:
    """A package with its version, other packages that it needs here, and a prefix of requirements to leave out.

    Those of one that needs no `torch` have none.
    """

    package: str
    version: str
    more: tuple[str, ...] = ()
    without: str = ""
    torch: bool = True


def environment(folder: Path, wanted: Requirements) -> Path:
    """Return the Python of an environment with a package, which is made first unless it is there.

    CalledProcessError, with the output of pip as its `stdout`, where it cannot be installed.
    """
    own, torch = folder / wanted.package, folder / "torch"
    python, pinned = own / "bin" / "python", f"{wanted.package}=={wanted.version}"
    if _ready(own, str(wanted)):
        return python
    shared = " ".join(f"{name}=={version(name)}" for name in ("torch", "torchvision"))
    if wanted.torch and not _ready(torch, shared):
        _create(torch)
        _pip(torch / "bin" / "python", *shared.split())
        _mark(torch, shared)
    _create(own)
    if wanted.torch:
        write_text(_packages(own) / "torch.pth", f"{_packages(torch)}\n")
    if wanted.without:
        _pip(python, "--no-deps", pinned)
        others = requirements(_run([str(python), "-c", REQUIRES, wanted.package]).splitlines(), wanted.without)
        _pip(python, *others, *wanted.more)
    else:
        _pip(python, pinned, *wanted.more)
    _mark(own, str(wanted))
    return python


REQUIRES = "import sys; from importlib.metadata import requires; print(*requires(sys.argv[1]), sep='\\n')"


def requirements(lines: list[str], without: str) -> list[str]:
    """Return the requirements of a package as pip takes them, without those of its extras and those of a prefix.

    >>> requirements(["numpy (>=2.0.0)", "nvidia-dali ; sys_platform == 'linux'", "ruff ; extra == 'dev'"], "nvidia")
    ['numpy >=2.0.0']
    """
    kept = [line for line in lines if "extra ==" not in line and not line.startswith(without)]
    return [line.replace("(", "").replace(")", "") for line in kept]


def _ready(folder: Path, content: str) -> bool:
    mark = folder / "ready.txt"
    return mark.exists() and mark.read_text(encoding="utf-8") == content


def _mark(folder: Path, content: str) -> None:
    write_text(folder / "ready.txt", content)


def _create(folder: Path) -> None:
    if folder.exists() and not (folder / "pyvenv.cfg").exists():
        raise ValueError(f"{folder} is no environment of Python, and nothing is installed there; name another folder")
    shutil.rmtree(folder, ignore_errors=True)  # one that was not finished, or has another version
    _run([sys.executable, "-m", "venv", str(folder)])


def _packages(folder: Path) -> Path:
    (packages,) = (folder / "lib").glob("python3*/site-packages")
    return packages


def _pip(python: Path, *words: str) -> None:
    _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *words])


def _run(words: list[str]) -> str:
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
