"""A data loader that never waits for ever for one of its processes."""

from __future__ import annotations

import errno
import gc
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from signal import strsignal
from threading import Event, Thread
from typing import Any

from torch.utils.data import DataLoader

from softpoint.memory import return_freed_memory

_log = logging.getLogger(__name__)

# Looks at the loader in the time that a batch may take. Looks are counted and not seconds, so that a command that was
# itself suspended goes on.
_LOOKS = 8


@contextmanager
def shared_with_workers() -> Iterator[None]:
    """Keep Python's search for garbage from the objects that exist, in this process and in those that it starts.

    A search writes to each object, and a process that shares the memory of another one then copies it: 110 MB for a
    training, in each of its processes at some time in its first hours.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class WatchedLoader(DataLoader[Any]):
    """A loader that ends its processes where a batch does not come within `wait` seconds.

    The `timeout` of its base class does not notice a process that stops while it hands a batch over. Raises ValueError
    that names the process that the batch was expected of.
    """

    wait: float = 120.0
    remedy = "load without processes by data.num_workers=0, or give slow files more time by data.timeout"

    @cached_property
    def errors(self) -> Counter[str]:
        """How often each image was left out that could not be read."""
        return Counter()

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        if self.num_workers and self._iterator is None:  # it starts processes
            return_freed_memory()
        batches = super().__iter__()
        if not self.num_workers:
            yield from map(self._without_errors, batches)
            return
        watch = _Watch(batches, self.wait, self.remedy)
        watch.start()
        try:
            while (batch := watch.next()) is not None:
                yield self._without_errors(batch)
        finally:
            watch.ended.set()

    def _without_errors(self, batch: Any) -> Any:
        """Take the errors of images out of a batch, count them, and warn once of each."""
        for error in batch.pop("error", ()) if isinstance(batch, dict) else ():
            self.errors[error] += 1
            if self.errors[error] == 1:
                count = len(self.errors)
                _log.warning("%d image%s cannot be read any more, left out: %s", count, "s" * (count > 1), error)
        return batch


class _Watch(Thread):
    """Ends the processes of a loader's iterator where the next batch takes too long."""

    def __init__(self, batches: Any, seconds: float, remedy: str) -> None:
        super().__init__(daemon=True)
        self.batches, self.seconds, self.remedy = batches, seconds, remedy
        self.ended = Event()
        self.fault = ""
        self._waiting, self._number = False, 0

    def next(self) -> Any:
        """Return the next batch; None after the last one."""
        self._number, self._waiting = self._number + 1, True
        try:
            return next(self.batches, None)
        except Exception as error:
            if self.fault:
                raise ValueError(f"{self.fault}; {self.remedy}") from error
            if isinstance(error, OSError | EOFError) or "exited unexpectedly" in str(error):  # while it handed one over
                if killed := self._killed():
                    raise RuntimeError(killed) from error
                if isinstance(error, EOFError):
                    raise OSError(errno.EMFILE, "no file handle is left to receive a batch by") from error
            raise
        finally:
            self._waiting = False

    def _killed(self) -> str:
        """Return torch's message of a process that a signal ended; "" where none was."""
        for worker in self.batches._workers:
            worker.join(0.2)
            if (worker.exitcode or 0) < 0:
                return f"DataLoader worker (pid {worker.pid}) is killed by signal: {strsignal(-worker.exitcode)}."
        return ""

    def run(self) -> None:
        looks, number = 0, 0
        while not self.ended.wait(self.seconds / _LOOKS):
            looks = looks + 1 if self._waiting and self._number == number else 0
            number = self._number
            if looks == _LOOKS // 2:
                _log.warning("no batch for %g s: %s", self.seconds / 2, _awaited(self.batches))
            if looks == _LOOKS:
                if not self._killed():  # by another one, of which the loader was not told yet
                    self.fault = f"no batch for {self.seconds:g} s: {_awaited(self.batches)}"
                for worker in self.batches._workers:  # also a stopped one, which would keep the command from ending
                    worker.kill()
                return


def _awaited(batches: Any) -> str:
    """Return a description of the process that the next batch is expected of."""
    worker = batches._task_info.get(batches._rcvd_idx, (None,))[0]
    if worker is None:
        return "no process has it to load"
    pid = batches._workers[worker].pid
    return f"loading process {worker} (pid {pid}) {_state(pid)}"


def _state(pid: int) -> str:
    """Return what a process does, as far as the system tells."""
    status = Path(f"/proc/{pid}/status")
    text = status.read_text(encoding="utf-8", errors="replace") if status.is_file() else ""
    letter = text.partition("State:")[2].strip()[:1]
    states = {"T": "was stopped by a signal", "t": "is held by a debugger", "D": "waits for a disk or a network"}
    return states.get(letter, "does not answer")
