"""Facts of a model and of the data that it is measured on, as a report lists them: plain text, never markup."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.evaluation.results import Results
from softpoint.inference import Checkpoint
from softpoint.inference.run_record import mapping, number, one_line

Facts = list[tuple[str, str]]

_ABOUT_DATA = ("data", "split", "tta", "group")
_TEXTS = {
    "data": "trained on", "labels": "label file", "date": "trained at", "hardware": "hardware", "end": "training ended",
    "starting_weights": "starting weights", "weights_license": "license of the weights",
    "data_license": "license of the data",
}  # fmt: skip


def model_facts(checkpoint: Checkpoint) -> Facts:
    """Return what a checkpoint says of itself; it may be anyone's, and its text is cut to one line."""
    record, net = checkpoint.record, checkpoint.net
    facts = [
        ("checkpoint", str(checkpoint.address or checkpoint.path)),
        ("network", record.get("network") or f"{type(net.backbone).__name__} network"),
        ("parameters", f"{sum(parameter.numel() for parameter in net.parameters()):,}"),
        ("input", "{} x {} px (height x width)".format(*checkpoint.size)),
        ("sees", _view(checkpoint.crops)),
        ("keypoints", str(len(checkpoint.skeleton))),
        ("calibrated", "yes" if net.calibration.fitted else "no: confidences are no probabilities"),
    ]
    facts += [(label, record[key]) for key, label in _TEXTS.items() if isinstance(record.get(key), str)]
    if (minutes := number(record.get("minutes"))) is not None:
        facts.append(("training time", f"{minutes:.1f} minutes"))
    splits = mapping(record, "splits")
    counts = {split: number(mapping(splits, split).get("images")) for split in list(splits)[:10]}
    if measured := [f"{split} {count:.0f}" for split, count in counts.items() if count is not None]:
        facts.append(("images of the splits", ", ".join(measured)))
    versions = mapping(record, "versions")
    if versions:
        facts.append(("versions", ", ".join(f"{name} {versions[name]}" for name in list(versions)[:10])))
    if isinstance(command := record.get("command"), str):
        facts.append(("training command", command))
    return [(label, one_line(text, 1000)) for label, text in facts]


def predictions_facts(path: Path, results: Results) -> Facts:
    """Return what is known of another tool by its file of predictions."""
    confident = bool(np.isfinite(results.confidence[results.labeled]).all())
    facts = [("predictions", str(path)), ("confidences", "yes, as the tool gives them" if confident else "none")]
    return [(label, one_line(text, 1000)) for label, text in facts]


def data_facts(metrics: Mapping[str, Any]) -> Facts:
    """Return the data, the split and the units of metrics.json or comparison.json."""
    facts = [(key, str(metrics[key])) for key in _ABOUT_DATA if metrics.get(key) is not None]
    facts += [(unit, f"{metrics[unit]:,}") for unit in ("images", "subjects", "points")]
    resampled = metrics["resampled"]
    facts.append(("intervals", "95 %, by {draws} bootstrap resamples of {units} {unit}".format(**resampled)))
    if radius := metrics.get("confidence_radius_original"):
        facts.append(("confidence", f"the probability of an error of at most {radius:.1f} px in these images"))
    return [(label, one_line(text, 1000)) for label, text in facts]


def _view(crops: Mapping[str, Any] | None) -> str:
    return "the whole image" if crops is None else f"crops {crops['padding']:g} times as large as the subject's box"
