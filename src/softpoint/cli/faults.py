"""Warnings of a model's faults on a command line."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from softpoint.cli.shell import command, setting

if TYPE_CHECKING:
    from softpoint.inference import Checkpoint

_log = logging.getLogger(__name__)


def warn_of_faults(checkpoint: Checkpoint) -> None:
    """Log a warning for each fault of a model."""
    from softpoint.inference.faults import find_faults

    for fault in find_faults(checkpoint, f"{command('calibrate')} {setting('ckpt', checkpoint.path)}"):
        _log.warning("%s: %s", checkpoint.path, fault)
