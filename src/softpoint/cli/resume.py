"""Go on with a training run that was stopped: softpoint resume RUN"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from softpoint.cli.stored_run import absolute, stored_words
from softpoint.cli.train import main
from softpoint.suggest import quoted

CONFIG = "train"  # the command that it becomes

__all__ = ["CONFIG", "arguments", "main"]


def arguments(words: Sequence[str]) -> list[str]:
    """Return the command line of the training that goes on; its run, or one of its checkpoints, is the first word."""
    if any(word in ("--help", "-h") for word in words):
        return ["--help"]
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
