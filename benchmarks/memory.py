"""Memory of a long training: that of all its processes must not grow after its beginning.

python benchmarks/reliability.py memory --steps 50000
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

# A tiny network and a validation every 500 steps, with all callbacks of a usual run and two processes that load.
WORDS = (
    *("data.train=1000", "data.val=16", "data.test=16", "data.size=32", "data.batch_size=2", "data.num_workers=2"),
    *("backbone=small", "backbone.width=8", "decoder.channels=8", "epochs=1000000", "scheduler=constant"),
    *("~callbacks.early_stopping", "report=false", "must_work=false", "trainer.accelerator=cpu"),
)


def main(arguments: Sequence[str]) -> None:
    """Train, and end with exit code 1 where the memory of the end is over that of the beginning by the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--limit", type=float, default=1.0, help="percent")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        words = [*WORDS, f"trainer.max_steps={options.steps}", f"hydra.run.dir={folder}/run"]
        log = Path(folder) / "log.txt"
        with log.open("w", encoding="utf-8") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "softpoint.cli", "train", *words], stdout=file, stderr=file
            )
            seen = list(_watch(process))
        if process.returncode:
            sys.exit(log.read_text(encoding="utf-8")[-2000:])
    # Caches fill, and the first images are drawn, in the first fifth; the last samples are of the test.
    early, late = (statistics.median(seen[len(seen) * a // 20 : len(seen) * b // 20]) for a, b in ((4, 7), (16, 19)))
    growth = 100 * (late / early - 1)
    tenths = [statistics.median(seen[len(seen) * n // 10 : len(seen) * (n + 1) // 10]) for n in range(10)]
    print("MiB in each tenth of the time:", *(f"{tenth / 2**20:.1f}" for tenth in tenths))
    sizes = f"{early / 2**20:.1f} MiB, then {late / 2**20:.1f} MiB, {growth:+.2f} %"
    print(f"{options.steps:,} steps, {len(seen)} samples: {sizes}")
    if growth >= options.limit:
        sys.exit(f"memory grew by {growth:.2f} %, and {options.limit:g} % are allowed")


def _watch(process: subprocess.Popen[bytes]) -> Iterator[int]:
    """Yield the memory of a process and its children every second until it ends, shared pages counted once."""
    while process.poll() is None:
        if size := tree_bytes(process.pid):
            yield size
        time.sleep(1)


def tree_bytes(pid: int) -> int:
    """Return the memory of a process and of those below it, without pages of files; 0 for one that is gone.

    A page of a library counts less while other programs of the machine use it too, which is no growth of this one.
    """
    try:
        rows = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    except OSError:
        return 0
    own = sum(1024 * int(row.split()[1]) for row in rows if row.startswith(("Pss_Anon:", "Pss_Shmem:")))
    return own + sum(tree_bytes(int(child)) for child in children)


def memory_mib(entry: str) -> float:
    """Return what the system states of this process; ru_maxrss would begin with the peak of the process above it."""
    return int(Path("/proc/self/status").read_text(encoding="utf-8").split(f"{entry}:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main(sys.argv[1:])
