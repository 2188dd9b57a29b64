"""Inputs read in a process that may end: what becomes of each, and what its reader did beside reading it."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from memory import memory_mib
from mutation_target import SECRET, Target

SECONDS, MIB = 5, 1024
INPUT = "1/2/3/4/input"  # so deep that "../../../x" is a place that is looked at
RUNS = (
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "subprocess.Popen", "pty.spawn",
    "pickle.find_class", "socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo",
)  # fmt: skip
# Events of Python that change a file, and which of their details are its path.
CHANGES: dict[str, Sequence[int]] = {
    "os.mkdir": (0,), "os.rename": (0, 1), "os.link": (1,), "os.symlink": (1,), "os.remove": (0,), "os.rmdir": (0,),
    "os.truncate": (0,), "os.chmod": (0,), "os.chown": (0,), "os.utime": (0,), "sqlite3.connect": (0,),
}  # fmt: skip
IN_OPEN = 0x20  # of inotify


def work(at: Callable[[int], tuple[Target, bytes]], numbers: Sequence[int], folder: Path, pipe: int) -> NoReturn:
    """Read inputs and report what becomes of them, in a process of its own."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    logging.disable()
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (24 << 30, 24 << 30))
    place, found = folder / INPUT, list[str]()
    os.environ["TMPDIR"] = tempfile.tempdir = str(place / "out")
    watch(place / "out", found)
    looked_at = Opened(folder / SECRET)
    for number in numbers:
        outcome = {"name": "", "number": number}
        try:
            reader, data = at(number)
            outcome["name"] = reader.name
            laid_out(place, {**reader.beside, reader.name: data})
            before = entries(folder)
            found.clear()
            outcome |= attempt(reader.read, place / reader.name, place / "out")
            if outcome["kind"] == "too expensive" and reader.limited:
                seen = [*found]
                outcome |= attempt(reader.limited, place / reader.name, place / "out")
                found[:] = seen  # without the process that it starts
            found += [f"changed {name}" for name in sorted(before ^ entries(folder))]
            found += [f"opened {SECRET}"] * looked_at.again()
            if found:
                outcome |= {"kind": "ran code, or reached outside", "text": " ".join(found)}
        except BaseException:
            outcome |= {"kind": "harness", "text": traceback.format_exc()}
        os.write(pipe, json.dumps(outcome).encode() + b"\n")
    os._exit(0)


def laid_out(place: Path, files: dict[str, bytes]) -> None:
    """Write an input and the files beside it to an empty folder, and go there."""
    shutil.rmtree(place, ignore_errors=True)
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    (place / "out").mkdir()
    os.chdir(place)


def attempt(read: Callable[[Path, Path], Any], path: Path, out: Path) -> dict[str, Any]:
    """Return what becomes of one input, the time of all its processes, and the memory of this one."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)  # memory that is kept from inputs before would hide what this one takes
    Path("/proc/self/clear_refs").write_text("5")  # forgets the largest memory so far
    before, start = memory_mib("VmRSS"), seconds_taken()
    kind, text = "read", ""
    try:
        read(path, out)
    except Exception as error:
        kinds = type(error) in (ValueError, FileNotFoundError) or type(error).__module__.startswith("softpoint.")
        ours = kinds and isinstance(error, ValueError | FileNotFoundError) and str(error)
        kind, text = ("refused", str(error)) if ours else ("foreign error", traceback.format_exc())
    seconds, mib = seconds_taken() - start, memory_mib("VmHWM") - before
    if seconds > SECONDS or mib > MIB:
        kind, text = "too expensive", f"{seconds:.1f} s, {mib:.0f} MiB"
    return {"kind": kind, "text": text, "seconds": seconds, "mib": mib}


def seconds_taken() -> float:
    """Return the processor time of this process and of those that it started."""
    ended = os.times()
    return time.process_time() + ended.children_user + ended.children_system


def entries(folder: Path) -> set[tuple[str, int, int]]:
    """Return each file, folder and link below a folder with its kind, size and time, all but those of the output.

    Writers in C, which an audit hook does not see, change them too.
    """
    found = set()
    for name, folders, files in os.walk(folder):
        root = Path(name)
        if root == folder / INPUT:
            folders.remove("out")
        for path in (root / entry for entry in (*folders, *files)):
            state = path.lstat()
            found.add((str(path), state.st_mode, 0 if path.is_dir() else state.st_mtime_ns ^ state.st_size))
    return found


def watch(out: Path, found: list[str]) -> None:
    """Note each program that is started, object of a pickle, connection, and change of a file outside `out`."""

    def note(event: str, details: tuple[Any, ...]) -> None:
        if event in RUNS:
            found.append(f"{event} {details}"[:300])
        paths = [details[number] for number in CHANGES.get(event, ())]
        if event == "open" and isinstance(details[2], int) and details[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            paths = [details[0]]
        for path in paths:
            if isinstance(path, str | bytes | os.PathLike):
                whole = _whole(event, os.fsdecode(path), details[-1])
                if not whole.is_relative_to(out) and not whole.is_relative_to(f"/proc/{os.getpid()}"):
                    found.append(f"{event} {whole}"[:300])

    sys.addaudithook(note)


def _whole(event: str, path: str, folder: object) -> Path:
    """Return a path behind links; it may be relative to a folder that is given by its handle."""
    if event not in ("open", "os.truncate") and isinstance(folder, int) and folder >= 0:
        path = str(Path(f"/proc/self/fd/{folder}").readlink() / path)
    if event in ("open", "os.truncate"):
        return Path(os.path.realpath(path))
    return Path(os.path.realpath(Path(path).parent), Path(path).name)  # the link itself


class Opened:
    """Notes by inotify, which hears of any library, whether a file is opened."""

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        self.events = library.inotify_init1(os.O_NONBLOCK)
        if library.inotify_add_watch(self.events, bytes(path), IN_OPEN) < 0:
            raise OSError(ctypes.get_errno(), f"{path} cannot be watched")

    def again(self) -> bool:
        """Return whether it was opened since the last call."""
        try:
            return bool(os.read(self.events, 1 << 16))
        except BlockingIOError:
            return False
