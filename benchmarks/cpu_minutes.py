"""A command of softpoint whose clock is the CPU time of its process, so that other work of the machine changes nothing.

python benchmarks/cpu_minutes.py train data=mirror_mouse minutes=3
python benchmarks/cpu_minutes.py compare study=recipes 'on=[mirror_mouse,openfield]' folds=5 'seeds=[0]' minutes=3

One thread does everything: loading, augmentation, steps and validations all take of the minutes.
"""

import queue  # noqa: F401  # these two keep the clock that they wait by
import sys
import threading  # noqa: F401
import time

import torch

time.monotonic = time.perf_counter = time.process_time


def main() -> None:
    """Run the command of the command line; it exits as that command does."""
    from softpoint.cli import main as softpoint

    torch.set_num_threads(1)
    sys.argv += ["data.num_workers=0", "data.cache=ram"]
    softpoint()


if __name__ == "__main__":
    main()
