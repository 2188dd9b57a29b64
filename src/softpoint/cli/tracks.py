"""Measure tracks against labels that name individuals: softpoint tracks predictions=FILE labels=FILE"""

from __future__ import annotations

from omegaconf import DictConfig


def main(cfg: DictConfig) -> None:
    """Print the measures of the tracks in a file of predictions, and write them if `output` names a file."""
    from dataclasses import asdict
    from pathlib import Path

    from softpoint.evaluation.identities import Reach, compare_tracks, track_table
    from softpoint.labels.formats import read_labels
    from softpoint.labels.predictions import read_predictions
    from softpoint.paths import write_json
    from softpoint.tables import console

    reach = Reach.parse(cfg.distance)
    labels = read_labels(Path(cfg.labels))
    predicted = read_predictions(Path(cfg.predictions), labels.skeleton.names)
    metrics, notes = compare_tracks(labels, predicted, reach)
    console().print(track_table(metrics))
    print(*notes, sep="\n", end="\n" if notes else "")
    if cfg.output is not None:
        about = {
            "predictions": str(cfg.predictions),
            "labels": str(cfg.labels),
            "distance": cfg.distance,
            "notes": notes,
        }
        write_json(Path(cfg.output), {**about, **asdict(metrics)})
        print(f"written to {cfg.output}")
