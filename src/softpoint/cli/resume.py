"""Go on with a training run that was stopped: softpoint resume RUN"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from softpoint.cli.command_help import list_options
from softpoint.cli.command_line import CommandLine
from softpoint.cli.stored_run import absolute, stored_words
from softpoint.cli.train import main
from softpoint.suggest import quoted

CONFIG = "train"  # the command that it becomes

HELP = """\
Go on with a training that was stopped, in its folder, as if there had been no stop.

  softpoint resume outputs/NAME/DATE
  softpoint resume outputs/NAME/DATE minutes=30                a setting changed
  softpoint resume outputs/NAME/DATE/checkpoints/last.ckpt     from this checkpoint

Takes every setting of a training: softpoint train --help lists them, and
softpoint resume --help NAME shows one, or one of these groups.

Groups (choose with GROUP=OPTION)
"""

__all__ = ["CONFIG", "arguments", "main"]


def arguments(words: Sequence[str]) -> list[str]:
    """Return the command line of the training that goes on; its run, or one of its checkpoints, is the first word."""
    if flag := next((word for word in words if word in ("--help", "-h")), None):
        if topics := words[words.index(flag) + 1 :]:
            return [flag, *topics]
        print(HELP, list_options(CommandLine(CONFIG, []), "train"), sep="\n", end="")
        sys.exit()
    run = next((word for word in words if not word.startswith("-")), None)
    if run is None:
        sys.exit("error: give the folder of a run, as in: softpoint resume outputs/NAME/DATE")
    place, changes = absolute(run), [word for word in words if word != run]
    checkpoint = place if place.suffix == ".ckpt" else None
    folder = place.parent if checkpoint else place
    if folder.name in ("checkpoints", ".hydra"):
        folder = folder.parent
    try:
        return [*stored_words(folder, changes), f"resume={quoted(checkpoint or folder)}"]
    except FileNotFoundError as error:
        sys.exit(f"error: {error}")
