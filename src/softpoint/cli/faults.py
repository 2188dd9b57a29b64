"""Warnings of a model's faults on a command line."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from softpoint.cli.shell import command
from softpoint.suggest import setting, trust_setting

if TYPE_CHECKING:
    from softpoint.inference import Checkpoint

_log = logging.getLogger(__name__)


def warn_of_faults(checkpoint: Checkpoint) -> list[str]:
    """Log a warning for each fault of a model, and return them."""
    from softpoint.inference.faults import find_faults

    faults = find_faults(checkpoint, calibration_command(checkpoint))
    messages = [f"{checkpoint.address or checkpoint.path}: {fault}" for fault in faults]
    for message in messages:
        _log.warning("%s", message)
    return messages


def calibration_command(checkpoint: Checkpoint) -> str:
    """Return what to type to calibrate a model; one of the Hub is copied first, as its cached copy stays as it is."""
    copy, path = "", str(checkpoint.path)
    if checkpoint.address is not None:
        repo, _, revision = checkpoint.address.removeprefix("hf://").partition("@")
        path = repo.partition("/")[2]
        copy = f"hf download {repo}{revision and f' --revision {revision}'} --local-dir {path} && "
    return f"{copy}{command('calibrate')} {setting('ckpt', path)}{trust_setting(checkpoint.trust)}"
