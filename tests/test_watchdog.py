"""A block that hangs is noticed, and a slow one is not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from softpoint import watchdog as module
from softpoint.watchdog import Watchdog


@pytest.fixture
def dog(monkeypatch: pytest.MonkeyPatch) -> Watchdog:
    monkeypatch.setattr(module, "_LOOK", 0.01)
    return Watchdog()


def test_a_block_that_computes_too_long_is_late_once(dog: Watchdog) -> None:
    messages: list[str] = []
    dog.late = messages.append
    with dog.watched("a.mp4 hung for {s} s", 60), dog.watched("b.mp4 hung for {s} s", 0.05):
        end = time.process_time() + 0.2
        while time.process_time() < end:
            sum(range(1000))
    assert messages == ["b.mp4 hung for 0.05 s"]


def test_a_block_that_waits_is_not_late_and_the_thread_ends(dog: Watchdog) -> None:
    dog.late = pytest.fail
    with dog.watched("a.mp4", 0.05):
        time.sleep(0.1)
    while dog._watching:
        time.sleep(0.01)
    with dog.watched("a.mp4", 60):
        assert dog._watching == os.getpid()


def test_a_block_that_reads_is_late_by_its_own_thread(dog: Watchdog) -> None:
    messages: list[str] = []
    dog.late, end = messages.append, threading.Event()
    with ThreadPoolExecutor() as pool, dog.watched("a slow disk", 0.05, reads=True):

        def compute() -> None:
            with dog.watched("b.tif hung for {s} s", 0.05, reads=True):
                while not end.is_set():
                    sum(range(1000))

        future, before = pool.submit(compute), time.process_time()
        while time.process_time() - before < 0.2 or not messages:
            time.sleep(0.01)
        end.set()
        future.result()
    assert messages == ["b.tif hung for 0.05 s"]


def test_a_block_that_neither_reads_nor_computes_is_late_after_ten_times_its_seconds(dog: Watchdog) -> None:
    dog.late, late = lambda message: late.append(message) or end.set(), list[str]()
    end = threading.Event()
    with dog.watched("a slow disk", 0.001, reads=True), dog.watched("a.mp4 hung for {s} s", 0.005):
        assert end.wait(10)
    assert late == ["a.mp4 hung for 0.05 s"]


def test_a_command_that_hangs_ends_with_a_message() -> None:
    code = (
        "import softpoint.watchdog as w; w._LOOK = 0.01; w.watchdog.late = w.end_command\n"
        "with w.watchdog.watched('video a.mp4 was not decoded within {s} s; remove it', 0.05):\n    while True: pass"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (result.returncode, result.stderr) == (1, "error: video a.mp4 was not decoded within 0.05 s; remove it\n")
