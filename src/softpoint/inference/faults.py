"""Reasons to doubt a trained model, from its calibration and the record of its run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from softpoint.inference.checkpoint import Checkpoint
from softpoint.inference.run_record import mapping, number


def find_faults(checkpoint: Checkpoint, calibrate: str) -> list[str]:
    """Return sentences about a model that was stopped, learned nothing or what it is measured on, or is not calibrated.

    They hold no text of the checkpoint, which may be anyone's; `calibrate` is the command that calibrates it.
    """
    record, faults = checkpoint.record, []
    if record.get("finished") is False:
        faults.append("it was saved before its training ended, and was never tested")
    if useless := find_useless(record):
        faults.append(useless)
    if known := number(record.get("known_held_out")):
        faults.append(
            f"the model that it started from was trained on {known:,.0f} of the images of its validation and test"
            " splits, so that its errors there are too small"
        )
    if not checkpoint.net.calibration.fitted:
        faults.append(
            "it is not calibrated: its confidence is no probability, and its covariance not that of its errors;"
            f" calibrate it by {calibrate}"
        )
    return faults


def find_useless(record: Mapping[str, Any]) -> str:
    """Return a sentence about a model that is not better than the mean position of each keypoint; "" for another.

    Better is one whose error on the test split is smaller, and, where enough images give one, whose 95 % interval of
    the difference is as well.
    """
    error, constant = number(mapping(record, "metrics").get("epe")), number(record.get("mean_position_epe"))
    if error is None or constant is None:
        return ""
    numbers = f"its mean error on the test split is {error:.2f} px, that of the mean position {constant:.2f} px"
    if error >= constant:
        verdict = "it is worse than always answering the mean position of each keypoint"
    elif (low := _low(record.get("mean_position_gain"))) is not None and low <= 0:
        verdict = "it is not surely better than always answering the mean position of each keypoint"
        numbers += f", and the difference may be {low:.2f} px on other images (95 % interval)"
    else:
        return ""
    steps, usual = number(record.get("steps")), number(record.get("usual_steps"))
    trained = f" than for {steps:,.0f} of about {usual:,.0f} usual steps" if steps and usual and steps < usual else ""
    return f"{verdict}: {numbers}; train longer{trained}, or check the labels"


def _low(interval: Any) -> float | None:
    """The lower end of an interval in a record, which may be anything."""
    return number(interval[0]) if isinstance(interval, list) and len(interval) == 2 else None
