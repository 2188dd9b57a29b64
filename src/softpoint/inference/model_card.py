"""The model card of a checkpoint: what the model is, its training data, its accuracy, and where it fails."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from softpoint import __version__
from softpoint.inference.checkpoint import Checkpoint
from softpoint.inference.faults import find_faults
from softpoint.inference.run_record import KEYPOINT_METRICS, RunRecord, escape, fenced, mapping, number
from softpoint.layers.calibration import FEW_UNITS
from softpoint.metrics.columns import COLUMNS
from softpoint.paths import sha256, write_text
from softpoint.suggest import setting, trust_setting

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

TEMPLATE = Path(__file__).with_name("model_card.md.jinja")
MAX_LISTED = 60  # keypoints, in a sentence or a table
UNITS = ("images", "subjects", "points")
# The Hub's names.
LICENSES = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-sa-4.0", "cc0-1.0")


def write_card(checkpoint: Checkpoint, path: Path, extra: Mapping[str, Any] | None = None) -> None:
    """Write a model card as Markdown, atomically; `extra` are further facts of the model's file."""
    write_text(path, model_card(checkpoint, extra))


def model_card(checkpoint: Checkpoint, extra: Mapping[str, Any] | None = None) -> str:
    """Return a model card as Markdown, with the metadata block of the Hugging Face Hub.

    Text in the checkpoint is shown as text, never as markup; facts that it lacks are named as missing.
    """
    from huggingface_hub import ModelCard

    record = RunRecord.parse(checkpoint.record)
    splits = record.splits or {escape(k): {"images": float(len(v))} for k, v in (checkpoint.splits or {}).items()}
    fitting = mapping(mapping(checkpoint.config, "callbacks"), "calibrate")
    calibrate = f"softpoint calibrate {setting('ckpt', checkpoint.path.name)}{trust_setting(checkpoint.trust)}"
    files = {"weights": checkpoint.weights_file.name, "SHA-256 of the weights": sha256(checkpoint.weights_file)}
    files |= {**(extra or {}), "card written by": f"softpoint {__version__}"}
    facts: dict[str, Any] = dict(
        record=record,
        faults=[escape(fault, 600) for fault in find_faults(checkpoint, calibrate)],
        title=record.text.get("data") or _text(checkpoint.config, "name") or "keypoints",
        network=f"{type(checkpoint.net.backbone).__name__} network",
        keypoints=[escape(name) for name in checkpoint.skeleton.names],
        flip_pairs=[escape(f"{left} / {right}") for left, right in checkpoint.skeleton.flip_pairs],
        size=checkpoint.size,
        crops=checkpoint.crops,
        finder=checkpoint.finder,
        data=_data(checkpoint.config, record),
        splits=splits,
        units=[unit for unit in UNITS if any(unit in counts for counts in splits.values())],
        metrics=_metrics(record),
        keypoint_columns=KEYPOINT_METRICS,
        radius=float(checkpoint.net.calibration.radius),
        few_units=FEW_UNITS,
        fraction=number(fitting.get("fraction")),
        command=None if record.command is None else fenced(record.command),
        files={escape(name): escape(fact) for name, fact in files.items()},
        listed=_listed,
        value=_value,
        max_listed=MAX_LISTED,
        **_weaknesses(record),
    )
    card = ModelCard.from_template(_metadata(checkpoint, record), template_path=str(TEMPLATE), **facts)
    return f"{str(card).rstrip()}\n"


def _metadata(checkpoint: Checkpoint, record: RunRecord) -> ModelCardData:
    """Return the metadata block, with only plain letters, digits and dashes of the checkpoint's own text."""
    from huggingface_hub import EvalResult, ModelCardData

    name = _plain(checkpoint.record.get("data")) or _plain(checkpoint.config.get("name")) or "keypoints"
    license = str(checkpoint.record.get("weights_license")).lower()
    results = [
        EvalResult(
            task_type="keypoint-detection", dataset_type=name, dataset_name=name, dataset_split="test",
            metric_type=column.name, metric_name=column.description, metric_value=record.metrics[column.name],
        )
        for column in COLUMNS.values()
        if column.name in record.metrics
    ]  # fmt: skip
    return ModelCardData(
        license=license if license in LICENSES else None,
        library_name="softpoint",
        pipeline_tag="keypoint-detection",
        tags=["keypoint-detection", "pose-estimation", "softpoint"],
        model_name=name,
        eval_results=results or None,
    )


def _plain(value: Any) -> str:
    """Return the letters, digits and dashes of a name.

    >>> _plain("mirror_mouse"), _plain("<b>www.a</b>"), _plain(None)
    ('mirror_mouse', 'bwwwab', '')
    """
    return re.sub(r"[^A-Za-z0-9_-]", "", value)[:100] if isinstance(value, str) else ""


def _metrics(record: RunRecord) -> list[tuple[Any, str, str]]:
    """Return the table's column, the value and the interval of each metric of the test, as text."""
    rows = []
    for name, column in COLUMNS.items():
        if name in record.metrics:
            low, high = record.intervals.get(name, (None, None))
            interval = "" if low is None or high is None else f"{_value(name, low)} to {_value(name, high)}"
            rows.append((column, _value(name, record.metrics[name]), interval))
    return rows


def _weaknesses(record: RunRecord) -> dict[str, list[str]]:
    """Return the keypoints with the largest errors, the least confidence, and no measurement."""
    measured = [result for result in record.keypoints if "epe" in result.metrics]
    doubted = sorted(((result.doubtful or 0.0, result.name) for result in measured), reverse=True)[:3]
    return {
        "worst": [f"{result.name} ({_value('epe', result.metrics['epe'])} px)" for result in measured[:3]],
        "doubtful": [f"{name} ({100 * share:.0f} %)" for share, name in doubted if share > 0],
        "unmeasured": [result.name for result in record.keypoints if not result.points],
    }


def _data(config: Mapping[str, Any], record: RunRecord) -> str:
    """Return the name, label file and title of the training data."""
    facts = [record.text.get(key, "") for key in ("data", "labels", "data_title")]
    if not any(facts):
        labels = mapping(config, "data").get("labels")
        facts = [_text(config, "name"), escape(_names(labels))]
    return "; ".join(filter(None, facts))


def _names(labels: Any) -> str:
    """Return the names of a label file or of several; "" for anything else."""
    paths = labels if isinstance(labels, list) else [labels]
    return ", ".join(Path(path).name for path in paths if isinstance(path, str))


def _text(config: Mapping[str, Any], key: str) -> str:
    value = config.get(key)
    return escape(value) if isinstance(value, str) else ""


def _value(name: str, value: float) -> str:
    """Return a metric's value as tables show it; an enormous one in exponents."""
    return COLUMNS[name].text(value) if abs(value) < 1e6 else f"{value:.2e}"


def _listed(names: Sequence[str]) -> str:
    """Return a list of names, cut where there are many."""
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(names[:MAX_LISTED]) + more
