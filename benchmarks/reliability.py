"""Trials of docs/reliability.md, each of which fails where a promise there is broken.

python benchmarks/reliability.py kills --trials 60

Each part is a module beside this one with a function `main` of its arguments. It ends with exit code 1 after a failure.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

# Every part, which is the name of its module, and its line in the help.
PARTS = {
    "hostile": "Attack a server with hostile clients and measure what honest ones wait for",
    "kills": "Kill trainings at random moments, resume them, and compare all bits with those of a run never killed",
    "memory": "Train many steps, and compare the memory of all processes at the end with that of the beginning",
    "mutations": "Damage inputs of every reader, and requests to a server",
    "ranks": "Train in several processes, also of two hosts, compare them with one, and end one of them",
}


def main(arguments: Sequence[str]) -> None:
    """Run the part that the first argument names with the other arguments."""
    listed = "\n".join(f"  {name:<10}{line}" for name, line in PARTS.items())
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\n{listed}", formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("part", choices=PARTS)
    part = parser.parse_args(arguments[:1]).part
    import_module(part).main(arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
