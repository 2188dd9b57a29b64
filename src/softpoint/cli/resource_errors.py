"""One sentence, with the way out, for memory, disks, files and loading processes that ran out."""

from __future__ import annotations

import errno
import re
import signal

from softpoint.machine import GPU_IS_FULL, MEMORY_IS_FULL

# The start of the notes on an error that ends a training: how to go on, also where its input grew beyond the memory.
CONTINUE, GREW = "continue by", "since the input grew"

_SMALLER = "lower data.batch_size or data.size (trainer.accumulate=auto trains the same batches in smaller parts)"
_FILES = "too many files are open: raise the limit (ulimit -n 8192), or set data.num_workers=0"
_SHARED = (
    "the shared memory that loading processes hand batches over by, /dev/shm, is full: set data.num_workers=0, or"
    " enlarge it (docker run --shm-size=8g)"
)

_WORKER = r"worker \(pid(\(s\))? (?P<pid>[\d, ]+)\)"
_SIGNALS = {signal.strsignal(one): one.name for one in signal.Signals}

# What a message of torch contains, and what we say; the first that fits.
_MESSAGES = {
    GPU_IS_FULL: f"the memory of the GPU is full: {_SMALLER}, or set trainer.precision=bf16-mixed",
    MEMORY_IS_FULL: f"the memory is full: {_SMALLER}, or data.num_workers",
    "Too many open files|items of ancdata": _FILES,
    "signal: Bus error|(shared memory|torch_).*No space left|No space left.*torch_": _SHARED,
    rf"{_WORKER} is killed by signal: (?P<signal>Killed)": (
        "a process that loads data (pid {pid}) was ended by {signal}, as the system does where memory is short: lower"
        " data.num_workers (0 loads in the main process) or data.batch_size, and {then}"
    ),
    rf"{_WORKER} is killed by signal: (?P<signal>[^.]*)": (
        "a process that loads data (pid {pid}) was ended by {signal}; find out who sent it, or load in the main process"
        " by data.num_workers=0, and {then}"
    ),
    rf"{_WORKER} exited unexpectedly": (
        "a process that loads data (pid {pid}) ended without a word; load in the main process by"
        " data.num_workers=0, which says why, and {then}"
    ),
    "PytorchStreamWriter failed|inline_container": (
        "a checkpoint cannot be written: the disk is full, or its quota is used up; free space and {then}"
    ),
}
_CODES = {
    errno.ENOSPC: "the disk is full: free space, or name a folder on another one",
    errno.EDQUOT: "the quota of the disk is used up: free space, or name a folder on another one",
    errno.EROFS: "the folder is read-only: name another one",
    errno.EACCES: "no permission to read or write it: change its permissions, or name another one",
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.ENOMEM: f"the memory is full: {_SMALLER}, or data.num_workers",
}


def resource_message(error: BaseException) -> str:
    """Return what ran out and the way out, which a note on an error of a training names; "" for another error.

    >>> resource_message(OSError(errno.ENOSPC, "No space left on device", "run/test.csv"))
    'run/test.csv: the disk is full: free space, or name a folder on another one'
    >>> resource_message(RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed. "))
    'a process that loads data (pid 12) was ended by SIGKILL, as the system does where memory is short: lower
    data.num_workers (0 loads in the main process) or data.batch_size, and start again'
    >>> resource_message(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    ''
    """
    if grew := _note(error, GREW):
        return f"the memory {'of the GPU ' * bool(re.search(GPU_IS_FULL, str(error)))}is full {grew}"
    if isinstance(error, OSError) and error.errno in _CODES:
        return ": ".join([*([str(error.filename)] if error.filename else []), _CODES[error.errno]])
    if isinstance(error, MemoryError):
        return _CODES[errno.ENOMEM]
    if not isinstance(error, RuntimeError):
        return ""
    for pattern, message in _MESSAGES.items():
        if found := re.search(pattern, str(error), re.DOTALL):
            facts = found.groupdict()
            then = _note(error, CONTINUE) or "start again"
            name = _SIGNALS.get(facts.get("signal"), facts.get("signal"))
            return message.format(pid=facts.get("pid"), signal=name, then=then)
    return ""


def _note(error: BaseException, start: str) -> str:
    return next((note for note in getattr(error, "__notes__", ()) if note.startswith(start)), "")
