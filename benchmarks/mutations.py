"""Damaged and hostile inputs of every reader, and requests to a server.

python benchmarks/reliability.py mutations --trials 10000

Each input is a valid or hostile file that was changed at random: bytes flipped, cut, repeated, numbers made huge. All
are read without damage first: the valid ones must be read, the hostile ones may be refused. Each is read in a process
that may end. Counted as failures are errors that are not ours (a ValueError or FileNotFoundError with a message),
crashes, inputs that take more than 5 s of processor time or 1 GiB, files and links that appear or change outside the
folder of output, a file elsewhere that is opened, and code that runs: programs started, objects of a pickle looked up,
connections made. Every tenth input is a request to a server, which must answer and stay well.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mutation_damage import mutated
from mutation_requests import requests
from mutation_seeds import targets
from mutation_target import Target
from mutation_work import SECONDS, work
from softpoint.machine import cores, processor

BATCH = 100  # inputs per process
LARGE = 1 << 20  # bytes of an input that is tried without damage alone


def main(arguments: Sequence[str]) -> None:
    """Print what became of the inputs of each reader; exit code 1 after a failure."""
    parser = argparse.ArgumentParser(
        prog="reliability.py mutations", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="a part of the names of the readers that are tried")
    options = parser.parse_args(arguments)
    print(f"{processor()}, {cores()} cores", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="mutations-")).resolve()
    readers = [reader for reader in targets(folder) if options.only in reader.name]
    failures = whole(readers, folder)
    failures += damaged(readers, options.trials - options.trials // 10, options.seed, folder)
    failures += requests(options.trials // 10, options.seed, folder)
    shutil.rmtree(folder)
    if failures:
        sys.exit(f"{failures} failures")


def whole(readers: Sequence[Target], folder: Path) -> int:
    """Try all inputs without damage and return the number of failures, valid ones that are refused among them."""
    valid = [(reader, seed) for reader in readers for seed in reader.seeds]
    hostile = [(reader, seed) for reader in readers for seed in reader.hostile]
    failures = tried(readers, outcomes(valid.__getitem__, len(valid), folder), ("read",))
    return failures + tried(readers, outcomes(hostile.__getitem__, len(hostile), folder), ("read", "refused"))


def damaged(readers: Sequence[Target], trials: int, seed: int, folder: Path) -> int:
    """Try inputs after random damage and return the number of failures."""

    def at(number: int) -> tuple[Target, bytes]:
        reader, draw = readers[number % len(readers)], random.Random(f"{seed} {number}")
        hostile = [one for one in reader.hostile if len(one) <= LARGE]
        seeds = hostile if hostile and draw.random() < 1 / 3 else reader.seeds
        return reader, mutated(draw, draw.choice(seeds), [*reader.seeds, *hostile])

    return tried(readers, outcomes(at, trials, folder), ("read", "refused"))


def tried(readers: Sequence[Target], results: Iterator[dict[str, Any]], fine: Sequence[str]) -> int:
    """Print what became of inputs, and return the number of those that did not end as is `fine`."""
    counts: dict[str, Counter[str]] = {reader.name: Counter() for reader in readers}  # in this order
    worst, failures = {"seconds": (0.0, ""), "mib": (0.0, "")}, 0
    for outcome in results:
        name = outcome["name"]
        counts[name][outcome["kind"]] += 1
        for quantity in worst:
            worst[quantity] = max(worst[quantity], (outcome.get(quantity, 0), name))
        if outcome["kind"] not in fine:
            failures += 1
            print(f"{name} {outcome['number']}: {outcome['kind']} {outcome.get('text', '')[-1500:]}", flush=True)
    for name, count in counts.items():
        if count:
            print(f"{name:<20}" + ", ".join(f"{number} {kind}" for kind, number in sorted(count.items())))
    (seconds, slow), (mib, large) = worst["seconds"], worst["mib"]
    total = sum(sum(count.values()) for count in counts.values())
    print(f"{total} inputs: longest {seconds:.2f} s ({slow}), most {mib:.0f} MiB ({large})", flush=True)
    return failures


def outcomes(at: Callable[[int], tuple[Target, bytes]], count: int, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield what became of each of `count` inputs; a process that ends is replaced."""
    number = 0
    while number < count:
        numbers = range(number, min(number + BATCH, count))
        mine, theirs = os.pipe()
        child = os.fork()
        if not child:
            os.close(mine)
            work(at, numbers, folder, theirs)
        os.close(theirs)
        with os.fdopen(mine, "rb", buffering=0) as pipe:
            for line in lines(pipe, child):
                number = line["number"] + 1
                yield line
        _, status = os.waitpid(child, 0)
        if status:
            ending = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"exit {status >> 8}"
            yield {"name": at(number)[0].name, "number": number, "kind": f"crash {ending}"}
            number += 1


def lines(pipe: Any, child: int) -> Iterator[dict[str, Any]]:
    """Yield what a process reports, and end it where it reports nothing for long."""
    rest = b""
    while True:
        if not select.select([pipe], [], [], 12 * SECONDS)[0]:
            os.kill(child, signal.SIGKILL)
        data = pipe.read(1 << 16)
        if not data:
            return
        *whole, rest = (rest + data).split(b"\n")
        yield from map(json.loads, whole)


if __name__ == "__main__":
    main(sys.argv[1:])
