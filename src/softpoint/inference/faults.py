"""Reasons to doubt a trained model, from its calibration and the record of its run."""

from __future__ import annotations

import logging
import shlex

from softpoint.inference.checkpoint import Checkpoint
from softpoint.inference.run_record import mapping, number

_log = logging.getLogger(__name__)


def find_faults(checkpoint: Checkpoint) -> list[str]:
    """Return sentences about a model that was stopped, learned nothing, or is not calibrated; [] for a sound one.

    They hold no text of the checkpoint, which may be anyone's.
    """
    record, faults = checkpoint.record, []
    if record.get("finished") is False:
        faults.append("it was saved before its training ended, and was never tested")
    error, constant = number(mapping(record, "metrics").get("epe")), number(record.get("mean_position_epe"))
    if error is not None and constant is not None and error >= constant:
        faults.append(
            "it is worse than always answering the mean position of each keypoint: its mean error on the test split is"
            f" {error:.2f} px, that of the mean position {constant:.2f} px; train longer, or check the labels"
        )
    if not checkpoint.net.calibration.fitted:
        command = shlex.quote(f"ckpt={checkpoint.path}")
        faults.append(
            "it is not calibrated: its confidence is no probability, and its covariance not that of its errors;"
            f" calibrate it by softpoint calibrate {command}"
        )
    return faults


def warn_of_faults(checkpoint: Checkpoint) -> None:
    """Log a warning for each fault of a model."""
    for fault in find_faults(checkpoint):
        _log.warning("%s: %s", checkpoint.path, fault)
