"""Tables and the page of custom charts: by keypoint, of settings, and of curves that belong together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils.tensorboard.summary import hparams

from softpoint.evaluation.tables import parts_table
from softpoint.metrics.columns import COLUMNS

_LINES = 10  # of a chart

Layout = dict[str, dict[str, list[Any]]]


def custom_layout(names: Sequence[str], terms: Sequence[str]) -> Layout:
    """Return the charts of TensorBoard's page of custom scalars, for keypoints and terms of the loss of these names."""
    metrics = [column.name for column in COLUMNS.values() if column.logged]
    splits = {name: [f"{split}/{name}" for split in ("train", "val", "test")] for name in metrics}
    chunks = [names[i : i + _LINES] for i in range(0, len(names), _LINES)]
    return {
        "Losses": {
            "loss": _lines("train/loss", "val/loss"),
            "training loss by term": _lines(*(f"train/{term}" for term in terms)),
            "validation loss by term": _lines(*(f"val/{term}" for term in terms)),
        },
        "Errors by split": {name: _lines(*tags) for name, tags in splits.items()},
        "EPE of each keypoint": {
            f"{chunk[0]} to {chunk[-1]}" if len(chunk) > 1 else chunk[0]: _lines(*(f"val_epe/{name}" for name in chunk))
            for chunk in chunks
        },
        "Training": {
            "learning rate": ["Multiline", ["^lr-.*"]],
            "images per second": _lines("speed/images_per_s"),
            "share of time waiting for data": _lines("speed/waiting"),
            "gradient norm": _lines("weights/gradient_norm"),
            "distance from the averaged weights": _lines("weights/ema_distance"),
            "learned temperatures": ["Multiline", ["^temperature/.*"]],
        },
    }


def _lines(*tags: str) -> list[Any]:
    return ["Multiline", [f"^{re.escape(tag)}$" for tag in tags]]


def write_settings(board: Any, settings: Mapping[str, str | float]) -> None:
    """Write the row of a run into an event file.

    TensorBoard finds the columns in the rows of all runs, those that differ first, where no run declares them.
    """
    _, row, _ = hparams({**settings}, {})
    board._get_file_writer().add_summary(row)


def keypoint_table(entries: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of a table of the metrics of each keypoint; `entries` are those of metrics.json.

    >>> keypoint_table({"nose": {"points": 3, "epe": 1.5, "pck@0.1": 1.0}})
    (['keypoint', 'points', 'epe (px)', 'pck@0.1'], [['nose', '3', '1.50', '1.000']])
    """
    table = parts_table("keypoint", entries)
    texts = [(name, (" to ".join(number.text for number in cell) for cell in cells)) for name, cells in table.rows]
    return [table.names, *table.headings], [[name, *(text or "-" for text in row)] for name, row in texts]
