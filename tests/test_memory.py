"""The memory that a process keeps."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

# Memory that the system hands out for 10 tensors of 64 MB, one after the other, after as many that find their place.
PAGES = """
import resource, sys, torch
from softpoint.memory import keep_freed_memory
changed = keep_freed_memory()
for _ in range(20):
    torch.ones(16 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(16 << 20)
pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(changed, pages * resource.getpagesize() >> 20)
"""


def kept(**environment: str) -> tuple[str, int]:
    """Return whether the process changed its allocator, and the MB that the system handed out."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    command = [sys.executable, "-c", PAGES]
    result = subprocess.run(command, env=env | environment, capture_output=True, text=True, check=True)
    changed, megabytes = result.stdout.split()
    return changed, int(megabytes)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives freed memory back so early")
def test_freed_memory_is_used_again_unless_the_user_decides() -> None:
    changed, megabytes = kept()
    assert changed == "True" and megabytes < 128
    changed, megabytes = kept(MALLOC_MMAP_THRESHOLD_="131072")
    assert changed == "False" and megabytes >= 640
