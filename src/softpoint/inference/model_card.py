"""What a model is, was trained on and reaches, on one page for whoever gets its file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from softpoint import __version__
from softpoint.inference.checkpoint import Checkpoint
from softpoint.inference.markdown import escape, fenced, table
from softpoint.inference.record_fields import MOST_SHOWN, count, ends, finite, listed, mapping, number, said, share
from softpoint.paths import sha256, write_text

# What is shown of the test's numbers, and how: px, a fraction, or a share of points.
_SHOWN = {
    "epe": "mean error, px of the original image",
    "median": "median error, px",
    "p95": "95th percentile of the error, px",
    "pck@0.05": "points within 5 % of the subject's size",
    "pck@0.1": "points within 10 % of the subject's size",
    "nme_box": "mean error / size of the subject's box",
    "oks_ap": "COCO's average precision",
    "ece": "calibration error of the confidence",
    "coverage_50": "points within the 50 % ellipse of their covariance",
    "coverage_90": "points within the 90 % ellipse of their covariance",
    "rank_correlation": "rank correlation of predicted and real error",
}
_OLD = "Not recorded: the checkpoint is from before such facts were kept."
_STOPPED = "Its training had not ended when this checkpoint was written: it was stopped before the test."


def write_card(checkpoint: Checkpoint, path: Path, extra: Mapping[str, Any] | None = None) -> None:
    """Writes a model's card as Markdown, whole or not at all; `extra` is what else is to be said of its file."""
    write_text(path, card(checkpoint, extra))


def card(checkpoint: Checkpoint, extra: Mapping[str, Any] | None = None) -> str:
    """A model's card as Markdown.

    What a checkpoint says of itself is shown as text, never as markup; what it does not say is named as missing.
    """
    parts = {
        "What it is": _what(checkpoint),
        "Data": _data(checkpoint),
        "Accuracy": _accuracy(checkpoint.record),
        "Confidence": _confidence(checkpoint),
        "Use, and where it fails": _use(checkpoint),
        "Training": _training(checkpoint),
        "Licenses": _licenses(checkpoint.record),
        "File": _file(checkpoint, extra or {}),
    }
    name = said(checkpoint.record, "data") or said(checkpoint.config, "name") or "keypoints"
    lines = [f"# Keypoint model: {name}"]
    for title, body in parts.items():
        lines += ["", f"## {title}", "", *body]
    return "\n".join(lines) + "\n"


def _what(checkpoint: Checkpoint) -> list[str]:
    (height, width), crops, names = checkpoint.size, checkpoint.crops, checkpoint.skeleton.names
    network = said(checkpoint.record, "network") or escape(type(checkpoint.net.backbone).__name__)
    seen = f"crops {crops['padding']:g} times as large as a subject's box" if crops else "whole images"
    lines = [
        f"A network ({network}) that finds {len(names)} keypoints in RGB images. It sees {seen}, fitted into"
        f" {height} x {width} pixels, and answers in pixels of the image given, (x, y), integers at pixel centers.",
        "",
        f"Keypoints: {listed(names)}.",
    ]
    if pairs := checkpoint.skeleton.flip_pairs:
        lines += ["", f"Left and right: {listed([f'{left} / {right}' for left, right in pairs])}."]
    return lines


def _data(checkpoint: Checkpoint) -> list[str]:
    record = checkpoint.record
    words = [said(record, key) for key in ("data", "labels", "data_title")]
    called = "; ".join(word for word in words if word) or _called(checkpoint.config)
    counts = record.get("splits")
    if not isinstance(counts, Mapping):
        counts = {split: {"images": len(images)} for split, images in (checkpoint.splits or {}).items()}
    parts = {str(split): mapping(counts, split) for split in list(counts)[:10]}
    units = [unit for unit in ("images", "subjects", "points") if any(unit in part for part in parts.values())]
    rows = [[escape(split), *(count(part.get(unit)) for unit in units)] for split, part in parts.items()]
    return [f"{called or 'Not recorded'}.", "", *(table(["split", *units], rows) if rows else ["Split: not recorded."])]


def _accuracy(record: Mapping[str, Any]) -> list[str]:
    metrics, intervals = mapping(record, "metrics"), mapping(record, "intervals")
    rows = [[words, number(metrics[name]), ends(intervals.get(name))] for name, words in _SHOWN.items()
            if name in metrics]  # fmt: skip
    if not rows:
        return [_untested(record)]
    lines = ["On the test split, which training has not seen:", "", *table(["", "value", "95 % interval"], rows)]
    if units := said(record, "resampled"):
        lines += ["", f"Intervals resample the test split's {units}; other recordings and cameras may differ by more."]
    found = _keypoints(record)
    shown = [[escape(name), count(e.get("points")), *(number(e.get(n)) for n in ("epe", "median", "p95", "pck@0.1"))]
             for name, e in found[:MOST_SHOWN]]  # fmt: skip
    if shown:
        headings = ["keypoint, worst first", "points", "mean px", "median px", "95th pct. px", "within 10 %"]
        lines += ["", *table(headings, shown)]
    return lines


def _confidence(checkpoint: Checkpoint) -> list[str]:
    radius, record = float(checkpoint.net.calibration.radius), checkpoint.record
    if not radius > 0:
        return ["Not calibrated: the confidence is how concentrated the network's own heatmap is, no probability."]
    fraction = share(mapping(mapping(checkpoint.config, "callbacks"), "calibrate").get("fraction"))
    usual = f", {fraction} of the usual subject's size" if fraction else ""
    lines = [
        f"The confidence is the probability that a point is in the image and within {radius:.1f} px of the truth, in"
        f" pixels of the network's input{usual}. It and the covariance, in px^2 of the image given, were fitted to"
        " the errors on the validation split."
    ]
    if (part := share(record.get("doubtful"))) is not None:
        lines += ["", f"Of the labeled test points {part} have a confidence below one half."]
    return lines


def _use(checkpoint: Checkpoint) -> list[str]:
    lines = [
        "- Meant for images like those that it was trained on. On others measure it first: label some, and run"
        " `python scripts/evaluate.py`.",
        "- It answers for every image, even one that shows nothing of the kind: sort by the confidence.",
    ]
    if checkpoint.crops:
        lines.append("- It wants a box of each subject, and finds no subjects itself.")
    found = [(name, entry) for name, entry in _keypoints(checkpoint.record) if finite(entry.get("epe")) is not None]
    worst = [f"{escape(name)} ({number(entry['epe'])} px)" for name, entry in found[:3]]
    if worst:
        lines.append(f"- Least exact on average: {', '.join(worst)}.")
    doubted = sorted(((finite(e.get("doubtful")) or 0, name) for name, e in found), reverse=True)[:3]
    if unsure := [f"{escape(name)} ({share(part)})" for part, name in doubted if part > 0]:
        lines.append(f"- Most often of a confidence below one half: {', '.join(unsure)}.")
    if never := [name for name, entry in _keypoints(checkpoint.record) if not finite(entry.get("points"))]:
        lines.append(f"- Never labeled in the test split, so not measured: {listed(never)}.")
    return lines if found else [*lines, "- Which keypoints it gets wrong is not recorded: measure it before use."]


def _training(checkpoint: Checkpoint) -> list[str]:
    record = checkpoint.record
    if not record:
        return [_OLD]
    versions = [f"{escape(name)} {escape(version)}" for name, version in mapping(record, "versions").items()]
    minutes = finite(record.get("minutes"))
    facts = {
        "date": said(record, "date"),
        "time": None if minutes is None else f"{minutes:.1f} minutes",
        "hardware": said(record, "hardware"),
        "versions": ", ".join(versions[:10]),
    }
    known = [f"- {what}: {words}" for what, words in facts.items() if words]
    command = record.get("command")
    shown = fenced(command) if isinstance(command, str) else ["Its command is not recorded."]
    return [*shown, "", *known]


def _licenses(record: Mapping[str, Any]) -> list[str]:
    start = said(record, "starting_weights")
    weights = said(record, "weights_license") or "a license that is not recorded"
    from_nothing = "Started from no weights." if "starting_weights" in record else "Starting weights: not recorded."
    return [
        f"- {f'Started from weights of {start}, under {weights}.' if start else from_nothing}",
        f"- Images and labels: {said(record, 'data_license') or 'not recorded; ask who trained it'}.",
    ]


def _file(checkpoint: Checkpoint, extra: Mapping[str, Any]) -> list[str]:
    known = {"checkpoint": checkpoint.path.name, "its SHA-256": sha256(checkpoint.path)}
    facts = {**known, **extra, "card written by": f"softpoint {__version__}"}
    return [f"- {escape(name)}: {escape(value)}" for name, value in facts.items()]


def _untested(record: Mapping[str, Any]) -> str:
    if not record:
        return _OLD
    return "There was no test split to measure it on." if record.get("finished") else _STOPPED


def _keypoints(record: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """What is known of each keypoint, the largest mean error first."""
    found = mapping(record, "per_keypoint")
    entries = [(str(name), mapping(found, name)) for name in found]
    return sorted(entries, key=lambda item: -(finite(item[1].get("epe")) or 0))


def _called(config: Mapping[str, Any]) -> str:
    """What a config calls its data, and the name of the label file."""
    labels = mapping(config, "data").get("labels")
    words = (config.get("name"), Path(labels).name if isinstance(labels, str) else None)
    return "; ".join(escape(word) for word in words if word)
