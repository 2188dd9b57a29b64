"""The processes of a distributed training: one that is gone or never comes is named, and ends the others."""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

from lightning_fabric.utilities.distributed import _init_dist_connection
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher
from torch import distributed

from softpoint.training.meeting import meeting

_SECOND = 1.0
DONE, FAILED = "done", "failed "
# Who was found to be gone, by the first process or by one that started the other.
_LOST = "softpoint/lost"
# Messages of what a process sees when another one is gone.
_CONNECTION = re.compile(r"gloo|nccl|closed by peer|reset by peer|broken pipe|timed? ?out|store", re.IGNORECASE)


class Ranks(Callback):
    """Ends a distributed training where a process is gone, with its rank, in place of a hang.

    Every process reports that it lives in the store of its group; the first one watches the others, and they watch it.
    A process that stands still as a whole counts as gone, one that computes for long does not.

    Args:
        timeout: seconds after which a process that reports no more is gone; one that ended is found in a second.
        wait: seconds that a process waits for the others at the start.
    """

    def __init__(self, timeout: float, wait: float) -> None:
        self.timeout, self.wait = timeout, wait
        self._stop, self._thread, self._ending = Event(), Thread(), DONE

    def expect(self, trainer: Any) -> None:
        """Wait for the other processes no longer than `wait` from now on; they come in `setup`."""
        if trainer.world_size > 1 and not distributed.is_initialized():
            self._run(self._await_all, trainer)

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._leave()
        if trainer.world_size > 1 and distributed.is_initialized():
            store = distributed.distributed_c10d._get_default_store().clone()
            watch = Watch(store, trainer.global_rank, trainer.world_size, self.timeout)
            self._run(self._report, watch)
            Thread(target=self._look, args=(watch, trainer, self._stop), daemon=True, name="looks").start()

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._leave()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        if trainer.world_size > 1 and isinstance(exception, RuntimeError) and _CONNECTION.search(str(exception)):
            time.sleep(self.timeout + 10)  # another process is gone: the thread that finds which one ends this one
        ends_together = isinstance(exception, SystemExit | KeyboardInterrupt)
        self._leave(DONE if ends_together else f"{FAILED}{exception}")

    def _run(self, work: Callable[..., None], about: Any) -> None:
        self._stop, self._ending = Event(), DONE
        self._thread = Thread(target=work, args=(about,), daemon=True, name="ranks")
        self._thread.start()

    def _leave(self, ending: str = DONE) -> None:
        """Stop the thread, which first reports how this process ends its part."""
        self._ending = ending
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def _report(self, watch: Watch) -> None:
        stop = self._stop
        while not stop.wait(_SECOND):
            watch.report()
        watch.leave(self._ending)

    def _look(self, watch: Watch, trainer: Any, stop: Event) -> None:
        # Apart from the reports, which wait for ever for a store on a host that is cut off.
        while not stop.wait(_SECOND):
            child = _dead_child(trainer)
            if lost := child or watch.look():
                if child or trainer.global_rank == 0:  # others would wait for a store that is cut off
                    watch.tell(lost)
                last = Path(trainer.default_root_dir, "checkpoints", "last.ckpt")
                again = f"; softpoint resume {trainer.default_root_dir} goes on" if last.is_file() else ""
                _end(trainer, f"{lost}, so that the others cannot go on{again}")

    def _await_all(self, trainer: Any) -> None:
        stop, address = self._stop, ":".join(os.environ.get(name, "?") for name in ("MASTER_ADDR", "MASTER_PORT"))
        who = (
            f"rank {trainer.global_rank} waits for the {trainer.world_size - 1} other processes, of {trainer.num_nodes}"
        )
        who += f" node{'s' * (trainer.num_nodes > 1)}"
        if not stop.wait(min(20.0, self.wait / 2)):
            print(f"{who}, for {self.wait:g} s (callbacks.ranks.wait)", file=sys.stderr, flush=True)
        if not stop.wait(self.wait):
            _end(
                trainer,
                f"{who}, and they did not all come to {address} in {self.wait:g} s; start the same command on every"
                " node by torchrun, or with MASTER_ADDR, MASTER_PORT and a NODE_RANK of its own",
            )


def expect_ranks(trainer: Any) -> None:
    """Let the processes of a training wait for each other no longer than its callback `Ranks` says."""
    for callback in trainer.callbacks:
        if isinstance(callback, Ranks):
            callback.expect(trainer)
    _meet_again(trainer)


def _meet_again(trainer: Any) -> None:
    """Join processes that torchrun started again, in a part of its store of their own, where Lightning finds them.

    torch (2.14) would take the addresses of the processes before, which are still in that store.
    """
    if trainer.world_size > 1 and (met := meeting()) and met.starts > 1:
        strategy = trainer.strategy
        met.store.set_timeout(strategy._timeout)
        _init_dist_connection(  # as Lightning's own first start
            strategy.cluster_environment,
            strategy._get_process_group_backend(),
            trainer.global_rank,
            trainer.world_size,
            store=met.store,
            timeout=strategy._timeout,
            device_id=None if strategy.root_device.type == "cpu" else strategy.root_device,
        )


class Watch:
    """The reports of all processes in a store, as one of them sees them.

    Looks are counted and not seconds, so that a process that was itself suspended hears of the others first.
    """

    def __init__(self, store: Any, rank: int, world: int, timeout: float) -> None:
        self.store, self.rank, self.timeout = store, rank, timeout
        self.watched = [other for other in range(world) if other != rank] if rank == 0 else [0]
        self.seen: dict[int, tuple[str, int]] = {}  # the last report of each, and the look before it came
        self.reports = self.looks = 0
        self.told = ""  # by another process
        store.set(_LOST, "") if rank == 0 else None
        self.report()

    def report(self) -> None:
        """Report that this process lives, and read what those that it watches report."""
        self.reports += 1
        with suppress(RuntimeError):  # of a store that is gone with its process, rank 0
            self.store.set(_key(self.rank), f"{self.reports} {_place()} {os.getpid()}")
            for other in self.watched:
                if self.store.check([_key(other)]):
                    self._note(other, self.store.get(_key(other)).decode())
            if self.store.check([_LOST]):
                self.told = self.store.get(_LOST).decode()

    def look(self) -> str:
        """Return which other process is gone, or ""; to be called once a second."""
        self.looks += 1
        lost = next(filter(None, map(self._gone, self.watched)), "")
        if lost and self.rank == 0:
            self.report()  # it may have ended because of another one, which it told
        return self.told or lost

    def tell(self, lost: str) -> None:
        """Tell the others who is gone."""
        with suppress(RuntimeError):
            self.store.set(_LOST, lost)

    def leave(self, ending: str) -> None:
        """Report that this process has ended its part: DONE, or FAILED with the reason."""
        with suppress(RuntimeError):
            self.store.set(_key(self.rank), ending)

    def _note(self, other: int, report: str) -> None:
        if other not in self.seen or self.seen[other][0] != report:
            self.seen[other] = report, self.looks

    def _gone(self, other: int) -> str:
        report, look = self.seen.setdefault(other, ("", self.looks))
        if report == DONE:
            return ""
        if report.startswith(FAILED):
            return f"rank {other} failed: {report.removeprefix(FAILED).strip()}"
        _, place, pid = report.split() if report else ("", "?", "0")
        name = f"rank {other} (process {pid} on {place.partition('/')[0]})"
        if place == _place() and not _lives(int(pid)):
            return f"{name} has ended"
        if _SECOND * (self.looks - look) >= self.timeout:
            return f"{name} has not answered for {self.timeout:g} s"
        return ""


def _key(rank: int) -> str:
    return f"softpoint/alive/{rank}"


def _place() -> str:
    """Return the host and its space of process ids."""
    space = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()}/{space.readlink() if space.is_symlink() else ''}"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _dead_child(trainer: Any) -> str:
    """Return which process, of those that Lightning started from this one, has failed; or ""."""
    launcher = trainer.strategy.launcher
    children = launcher.procs if isinstance(launcher, _SubprocessScriptLauncher) else []
    for i, child in enumerate(children, trainer.global_rank + 1):
        if code := child.poll():
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            return f"rank {i} (process {child.pid} on {socket.gethostname()}) {how}"
    return ""


def _end(trainer: Any, message: str) -> None:
    """End this process, whose main thread may wait for ever, and those that Lightning started from it."""
    print(f"error: {message}", file=sys.stderr, flush=True)
    launcher = trainer.strategy.launcher
    for child in launcher.procs if isinstance(launcher, _SubprocessScriptLauncher) else []:
        child.kill()
    os._exit(1)
