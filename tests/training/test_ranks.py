"""A process that is gone, or never comes, is named and ends the others."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import distributed

from softpoint.training import ranks
from softpoint.training.meeting import meeting
from softpoint.training.ranks import DONE, FAILED, Ranks, Watch


@pytest.fixture
def store() -> distributed.HashStore:
    return distributed.HashStore()


def seen(*watches: Watch) -> list[str]:
    """Who is gone, as each sees it in the next second."""
    for watch in watches:
        watch.report()
    return [watch.look() for watch in watches]


def test_processes_that_report_are_not_gone(store: distributed.HashStore) -> None:
    first, second = Watch(store, 0, 2, 3), Watch(store, 1, 2, 3)
    assert [seen(second, first) for _ in range(6)] == [["", ""]] * 6
    second.leave(DONE)
    assert [seen(first) for _ in range(6)] == [[""]] * 6


def test_a_silent_process_is_named_to_all(store: distributed.HashStore) -> None:
    first, second, third = (Watch(store, rank, 3, 3) for rank in range(3))
    assert seen(third, second, first) == ["", "", ""]
    assert seen(second, first) == ["", ""]
    _, lost = seen(second, first)
    assert lost.startswith(f"rank 2 (process {os.getpid()} on ") and lost.endswith("has not answered for 3 s")
    first.tell(lost)
    assert seen(second) == [lost]


def test_the_process_that_ended_first_is_named(store: distributed.HashStore) -> None:
    first, second = Watch(store, 0, 2, 1000), Watch(store, 1, 2, 1000)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    second.tell("rank 2 was killed by signal 9")
    store.set("softpoint/alive/1", f"7 {ranks._place()} {child.pid}")
    first._note(1, store.get("softpoint/alive/1").decode())
    assert first.look() == "rank 2 was killed by signal 9"


def test_a_process_that_ended_is_found_at_once(store: distributed.HashStore) -> None:
    first = Watch(store, 0, 2, 1000)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    store.set("softpoint/alive/1", f"7 {ranks._place()} {child.pid}")
    (lost,) = seen(first)
    assert lost.startswith(f"rank 1 (process {child.pid} on ") and lost.endswith("has ended")
    store.set("softpoint/alive/1", f"{FAILED}image a.png is damaged")
    assert seen(first) == ["rank 1 failed: image a.png is damaged"]


def test_a_store_that_is_gone_is_the_first_process(store: distributed.HashStore) -> None:
    class Gone:
        def __getattr__(self, name: str) -> object:
            raise RuntimeError("Connection reset by peer")

    second = Watch(store, 1, 2, 3)
    second.store = Gone()
    assert [seen(second) for _ in range(3)] == [[""]] * 3
    (lost,) = seen(second)
    assert lost.startswith("rank 0 ") and "has not answered" in lost


def test_a_process_that_is_cut_off_from_the_store_ends(
    store: distributed.HashStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, cut = threading.Event(), threading.Event()

    class Cut:
        def clone(self) -> Cut:
            return self

        def __getattr__(self, name: str) -> Any:
            return getattr(store, name) if threading.current_thread().name != "ranks" else self.nothing

        def nothing(self, *_: object) -> None:
            cut.wait(60)
            raise RuntimeError("Connection timed out")

    monkeypatch.setattr(ranks, "_end", lambda trainer, message: ended.set())
    monkeypatch.setattr(ranks, "_SECOND", 0.01)
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed.distributed_c10d, "_get_default_store", Cut)
    trainer = SimpleNamespace(
        world_size=2, global_rank=1, default_root_dir="run", strategy=SimpleNamespace(launcher=None)
    )
    callback = Ranks(timeout=0.05, wait=1)
    callback.setup(trainer, None, "fit")
    assert ended.wait(60)
    cut.set()
    callback.teardown(trainer, None, "fit")


def test_processes_that_do_not_come_are_waited_for_no_longer_than_told(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    monkeypatch.setattr(ranks, "_end", lambda trainer, message: ended.append(message))
    monkeypatch.setenv("MASTER_ADDR", "10.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "1234")
    trainer = SimpleNamespace(world_size=4, num_nodes=2, global_rank=2)
    callback = Ranks(timeout=45, wait=0.05)
    callback.expect(trainer)
    callback._thread.join(5)
    assert ended and ended[0].startswith(
        "rank 2 waits for the 3 other processes, of 2 nodes, and they did not all come to"
    )
    assert "10.0.0.1:1234 in 0.05 s" in ended[0]
    ended.clear()
    callback = Ranks(timeout=45, wait=0.3)
    callback.expect(trainer)
    callback.setup(SimpleNamespace(world_size=1), None, "fit")
    callback._thread.join(5)
    assert not ended and not callback._thread.is_alive()


def test_several_nodes_need_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    from pytorch_lightning import Trainer

    from softpoint.training.checks import check_trainer

    monkeypatch.delenv("MASTER_PORT", raising=False)
    monkeypatch.setenv("MASTER_ADDR", "10.0.0.1")
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", devices=1, num_nodes=2, strategy="ddp", **quiet)
    with pytest.raises(ValueError, match=r"trainer.num_nodes=2, but MASTER_PORT and NODE_RANK say not where"):
        check_trainer(trainer)


def test_processes_that_torchrun_starts_again_meet_apart_from_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    server = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(server.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    for name, value in address.items():
        monkeypatch.setenv(name, value)
    joined: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(distributed, "init_process_group", lambda backend, **rest: joined.append((backend, rest)))
    here = SimpleNamespace(main_address="127.0.0.1", main_port=server.port)
    strategy = SimpleNamespace(cluster_environment=here, root_device=torch.device("cpu"), _timeout=timedelta(seconds=7))
    strategy._get_process_group_backend = lambda: "gloo"
    monkeypatch.setenv("WORLD_SIZE", "2")
    # As with NCCL, whose first process has joined before another one asks.
    monkeypatch.setattr(distributed, "is_initialized", lambda: threading.current_thread().name == "meeting")
    for start in ("0", "1"):
        for rank in (0, 1):
            monkeypatch.setenv("RANK", str(rank))
            # Of an agent that starts its own processes again because those of another one have ended.
            monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", start if rank else "0")
            meeting.cache_clear()  # as in another process
            ranks.expect_ranks(SimpleNamespace(world_size=2, global_rank=rank, strategy=strategy, callbacks=[]))
        for thread in threading.enumerate():
            if thread.name == "meeting":
                thread.join(5)  # all have met, so that it answers no process of the next start
                assert not thread.is_alive()
    meeting.cache_clear()
    (_, zero), (backend, one) = joined
    assert (backend, one["rank"], one["world_size"]) == ("gloo", 1, 2)
    assert one["timeout"] == one["store"].timeout == timedelta(seconds=7) and one["device_id"] is None
    zero["store"].set("address", "new")
    assert one["store"].get("address") == b"new" and not server.check(["address"])
