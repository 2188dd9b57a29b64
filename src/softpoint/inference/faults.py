"""Reasons to doubt a trained model, from its calibration and the record of its run."""

from __future__ import annotations

from softpoint.inference.checkpoint import Checkpoint
from softpoint.inference.run_record import mapping, number


def find_faults(checkpoint: Checkpoint, calibrate: str) -> list[str]:
    """Return sentences about a model that was stopped, learned nothing, or is not calibrated; [] for a sound one.

    They hold no text of the checkpoint, which may be anyone's; `calibrate` is the command that calibrates it.
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
        faults.append(
            "it is not calibrated: its confidence is no probability, and its covariance not that of its errors;"
            f" calibrate it by {calibrate}"
        )
    return faults
