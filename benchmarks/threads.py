"""Speed of training with each number of threads and of loading processes, in turns, on a CPU.

python benchmarks/threads.py data=mirror_mouse --backbone resnet18

Each runs `softpoint train` as benchmarks/trainers.py does, with one validation and its checkpoint; the defaults of
softpoint are one thread per core, and one loading process per core, less one.
"""

from __future__ import annotations

import sys
import tempfile
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from measure import spread
from report import print_machine
from softpoint.machine import cores
from softpoint.tables import console, markdown_table, print_markdown
from trainers import Result, surroundings, train, write_labels


def main(arguments: Sequence[str]) -> None:
    """Train in turns and print the table."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument(
        "data", nargs="?", default="data=mirror_mouse", help="a set of softpoint train with a split file"
    )
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, cores()}))
    parser.add_argument("--workers", type=int, nargs="+", default=sorted({0, 1, cores()}))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", type=int, default=256, help="side of the network's input")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=18, help="from a validation to the next")
    options = parser.parse_args(arguments)
    print_machine()
    results = {choice: Result("softpoint") for choice in product(options.threads, options.workers)}
    with tempfile.TemporaryDirectory() as folder:
        settings = write_labels(options.data, Path(folder, "labels")) | {"model": "baseline"}
        settings |= {key: getattr(options, key) for key in ("size", "batch", "backbone")}
        settings["validate_steps"] = options.steps
        for number in range(options.rounds):
            for (threads, workers), result in results.items():
                run = Path(folder, f"{threads}-{workers}-{number}")
                env = {**surroundings(own=True), "OMP_NUM_THREADS": str(threads)}
                train(result, Path(sys.executable), "softpoint", {**settings, "workers": workers}, run, 900, env)
                if result.failed:
                    sys.exit(f"{threads} threads, {workers} loading processes: {result.failed}")
    headings = ["threads", "loading processes", "images/s", "images per CPU s", "first step, s", "peak GiB"]
    print_markdown(markdown_table(headings, [row(*choice, result) for choice, result in results.items()]), console())


def row(threads: int, workers: int, result: Result) -> list[str]:
    """Return the cells of a row: medians, and the slowest and the fastest round."""
    rates = [[result.images / seconds for seconds in times] for times in (result.wall, result.cpu)]
    memory = [size / 2**30 for size in result.memory]
    return [str(threads), str(workers), *map(spread, [*rates, result.start, memory])]


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ValueError as error:
        sys.exit(str(error))
