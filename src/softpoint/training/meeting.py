"""Processes that torchrun starts, again too, and that meet in the store that its agent keeps."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from datetime import timedelta
from functools import cache
from threading import Thread
from typing import Any, NamedTuple

# How long a process waits for the first one here, before the config with its `callbacks.ranks.wait` is composed.
_WAIT = timedelta(minutes=10)


class Meeting(NamedTuple):
    """The processes of one start of a training."""

    store: Any  # their own part of the agent's store: what processes before left there is out of sight
    starts: int  # of this training so far, of any of its nodes


@cache
def meeting() -> Meeting | None:
    """Return where the processes of this start meet; None where no agent of torchrun keeps a store.

    Agents count their own restarts only, so that nodes may differ. The first process counts all starts, names this one,
    and answers each of the others, which asks by a name of its own: no answer is from a start before, because agents
    end all processes before they start any.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=_WAIT)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    name = f"{socket.gethostname()}/{os.getpid()}/{time.time_ns()}"
    if rank == 0:
        answer = f"{store.add('softpoint/starts', 1)} {name}"
        Thread(target=_answer, args=(store.clone(), world, answer), daemon=True, name="meeting").start()
    else:
        store.set(f"softpoint/asks/{rank}", name)
        answer = store.get(f"softpoint/answer/{name}").decode()
        store.set(f"{_place(answer)}/met/{rank}", name)
    return Meeting(PrefixStore(_place(answer), store), int(answer.split()[0]))


def _place(answer: str) -> str:
    """Return where in the store the processes of the start of an answer meet."""
    return f"softpoint/start/{answer.split(maxsplit=1)[1]}"


def _answer(store: Any, world: int, answer: str) -> None:
    """Answer all processes until they have met, also one that comes after another one of its rank has ended.

    NCCL joins the first process before others have asked, so that they say themselves that they have met. Later it must
    not answer: a process that comes then is of the next start.
    """
    from torch import distributed

    answered: dict[int, bytes] = {}
    met = [f"{_place(answer)}/met/{rank}" for rank in range(1, world)]
    with suppress(RuntimeError):  # of a store that is gone with its agent
        while met and not (distributed.is_initialized() and store.check(met)):
            for rank in range(1, world):
                name = store.get(key) if store.check([key := f"softpoint/asks/{rank}"]) else b""
                if name and name != answered.get(rank):
                    store.set(f"softpoint/answer/{name.decode()}", answer)
                    answered[rank] = name
            time.sleep(0.2)
