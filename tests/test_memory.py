"""The memory that a process keeps."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

# Memory that the system hands out for 10 tensors of 64 MB, one after the other, after as many that find their place: in
# a process that may change its allocator, and in one whose user decides.
PAGES = """
import os, resource, torch
from softpoint.memory import keep_freed_memory
for names in ([], ["MALLOC_MMAP_THRESHOLD_"]):
    if os.fork():
        os.wait()
        continue
    os.environ.update(dict.fromkeys(names, "131072"))
    changed = keep_freed_memory()
    for _ in range(20):
        torch.ones(16 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(16 << 20)
    pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    print(changed, pages * resource.getpagesize() >> 20, flush=True)
    os._exit(0)
"""

# MB of a loading process, and of the one that starts it after it freed 256 MB.
FORKED = """
import torch
from softpoint.data.watched_loader import WatchedLoader
from softpoint.memory import keep_freed_memory
class Resident:
    def __len__(self): return 1
    def __getitem__(self, i): return int(open("/proc/self/status").read().split("RssAnon:")[1].split()[0]) >> 10
keep_freed_memory()
torch.ones(64 << 20)
before = Resident()[0]
print(before, *map(int, WatchedLoader(Resident(), num_workers=1)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives freed memory back so early")
def test_freed_memory_is_used_again_unless_the_user_decides() -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    done = subprocess.run([sys.executable, "-c", PAGES], env=env, capture_output=True, text=True, check=True)
    changed, kept, unchanged, handed_out = done.stdout.split()
    assert changed == "True" and int(kept) < 128
    assert unchanged == "False" and int(handed_out) >= 640


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc was told to keep it")
def test_a_loading_process_begins_without_the_freed_memory_of_the_one_that_starts_it() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=True)
    before, loading = map(int, done.stdout.split())
    assert loading < before - 200
