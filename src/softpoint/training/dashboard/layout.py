"""Tables and the page of custom charts: by keypoint, of hyperparameters, and of curves that belong together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch.utils.tensorboard.summary import hparams

from softpoint.evaluation.tables import parts_table
from softpoint.metrics.columns import COLUMNS

# Parts of a config that repeat others, or that say where a run is or what it shows and not what it does.
_LEFT_OUT = ("datamodule", "logger", "name", "resume", "report", "data.seed", "trainer.max_epochs",
             "callbacks.duration", "callbacks.dashboard", "callbacks.progress")  # fmt: skip
_PLACES = ("_partial_", "default_root_dir", "dirpath", "filename", "save_dir")
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


def hyperparameters(config: Mapping[str, Any]) -> dict[str, str | float]:
    """Return the values of a run's config for a table of runs, by dotted keys; each is there once.

    A group that another one refers to is left out there, `_target_` becomes the name of a class, and lists and None
    become text. An empty group, as of `attention=none`, is "none".

    >>> config = {"optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.1}, "attention": {}, "epochs": None}
    >>> hyperparameters({**config, "module": {"optimizer": config["optimizer"], "compile": False}})
    {'optimizer': 'AdamW', 'optimizer.lr': 0.1, 'attention': 'none', 'epochs': 'None', 'module.compile': 'False'}
    """
    groups = [value for value in config.values() if isinstance(value, Mapping)]
    leaves = _leaves(config, groups)
    return {key: value if type(value) in (int, float) else str(value) for key, value in leaves if value != []}


def write_hyperparameters(board: Any, config: Mapping[str, Any]) -> None:
    """Write the row of a run into an event file.

    TensorBoard finds the columns in the rows of all runs, those that differ first, where no run declares them.
    """
    _, row, _ = hparams(hyperparameters(config), {})
    board._get_file_writer().add_summary(row)


def _leaves(node: Mapping[str, Any], groups: Sequence[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        key = f"{prefix}{name}"
        if key in _LEFT_OUT or (prefix and isinstance(value, Mapping) and value in groups):
            continue
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, groups, f"{key}.")
        elif name == "_target_":
            if prefix.count(".") == 1:
                yield prefix[:-1], str(value).rpartition(".")[2]
        elif name not in _PLACES and not (isinstance(value, list) and any(isinstance(v, Mapping) for v in value)):
            yield key, "none" if value == {} else value


def keypoint_table(entries: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of a table of the metrics of each keypoint; `entries` are those of metrics.json.

    >>> keypoint_table({"nose": {"points": 3, "epe": 1.5, "pck@0.1": 1.0}})
    (['keypoint', 'points', 'epe (px)', 'pck@0.1'], [['nose', '3', '1.50', '1.000']])
    """
    table = parts_table("keypoint", entries)
    texts = [(name, (" to ".join(number.text for number in cell) for cell in cells)) for name, cells in table.rows]
    return [table.names, *table.headings], [[name, *(text or "-" for text in row)] for name, row in texts]
