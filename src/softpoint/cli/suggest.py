"""Images to label next, and labels to check: softpoint suggest ckpt=RUN/checkpoints/best.ckpt source=VIDEO_OR_FOLDER"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from softpoint.cli.faults import calibration_command, warn_of_faults
from softpoint.cli.overrides import whole_number
from softpoint.cli.predict import boxes_for, orientation
from softpoint.cli.run_folder import lock_output
from softpoint.cli.shell import command, data_settings
from softpoint.suggest import setting

if TYPE_CHECKING:
    from softpoint.inference import Checkpoint
    from softpoint.inference.batch.sources import Source
    from softpoint.labels.missing import Missing
    from softpoint.labels.schema import Labels
    from softpoint.selection.candidates import FeaturePredictor, Reading
    from softpoint.selection.judged import Judged


def main(cfg: DictConfig) -> None:
    """Choose images of a source, or rank labels."""
    for key in ("count", "pool", "batch_size"):
        whole_number(cfg, key, 1)
    if isinstance(cfg.threshold, str | bool | None) or not 0 <= cfg.threshold <= 1:
        raise ValueError(f"threshold={cfg.threshold} must be a probability, 0 to 1")
    if cfg.source is not None:
        suggest_images(cfg)
    elif cfg.labels is not None or cfg.ckpt is not None:
        rank_labels(cfg)
    else:
        raise ValueError("give source=VIDEO_OR_FOLDER to choose images from, or labels=LABELS to check")


def suggest_images(cfg: DictConfig) -> None:
    """Write the images of a source whose labels would help most, their predictions as labels, and a contact sheet."""
    from softpoint.inference.batch.sources import find_sources
    from softpoint.inference.predictor import check_device
    from softpoint.paths import write_json
    from softpoint.selection.candidates import Pool, collect, covering
    from softpoint.selection.diversity import choose
    from softpoint.selection.outputs import new_folder, write_suggestions
    from softpoint.selection.trained import known_images, labeled_boxes

    if cfg.crossval is not None:
        raise ValueError("crossval=FOLDER judges labels, and source=WHAT chooses images: give one of the two")
    if cfg.ckpt is None:
        raise ValueError(
            "source=WHAT needs a model that knows what it does not know: give ckpt=RUN/checkpoints/best.ckpt"
        )
    check_device(cfg.device)
    output = new_folder(Path(cfg.output))
    checkpoint = _checkpoint(cfg)
    sources = find_sources(cfg.source, output, checkpoint.channels)
    lock_output(output)
    predictor, reading = feature_predictor(checkpoint, cfg.device), _reading(cfg, checkpoint, sources)
    missing = checkpoint.data.get("missing", "auto")
    labels = None if cfg.labels is None else _read(cfg, missing)
    known = known_images(checkpoint, labels, cfg.images if labels is None else labels.folder)
    if not known.complete:
        print(
            "the images that the model was trained on are not where they were, so that none of them can be left out;"
            " give labels=LABELS images=FOLDER, with which it was trained"
        )
    pool = Pool(max(cfg.pool, cfg.count))
    for source in sources:
        collect(predictor, source, reading, pool, known.paths)
    boxes = labeled_boxes(checkpoint, labels) if known.labeled and reading.boxes is not None else None
    covered = covering(known.labeled, known.folder, predictor, reading, cfg.pool, boxes)
    choices = choose(pool.candidates(), cfg.count, covered.candidates())
    if not choices:
        raise ValueError(f"nothing in source={cfg.source} is left to label: {pool}")
    print(pool)
    if known.labeled:
        print(f"compared with {len(known.labeled)} images that need no label: {covered}")
    if len(choices) < cfg.count:
        print(f"only {len(choices)} of count={cfg.count}: all others are near duplicates of these or of labeled ones")
    remarks = write_suggestions(choices, reading, output, predictor.skeleton, cfg.threshold, cfg.scorer)
    # By which a later search for images knows a folder of results.
    write_json(output / "job.json", {key: str(cfg[key]) for key in ("ckpt", "source", "labels", "count", "threshold")})
    print(*remarks, sep="\n")


def _read(cfg: DictConfig, missing: Missing = "auto") -> Labels:
    """Return the labels of a file, or of several."""
    from softpoint.labels.label_sets import read_sets, source_name
    from softpoint.labels.row_errors import RowErrors

    return read_sets(cfg.labels, None, cfg.images, None, RowErrors(source_name(cfg.labels)), missing)


def _checkpoint(cfg: DictConfig) -> Checkpoint:
    """Return the model, with warnings of its faults."""
    from softpoint.inference import read_checkpoint

    checkpoint = read_checkpoint(cfg.ckpt, cfg.trust)
    if cfg.warn:
        warn_of_faults(checkpoint)
    return checkpoint


def feature_predictor(checkpoint: Checkpoint, device: str) -> FeaturePredictor:
    """Return the predictor of a model; ValueError unless it is calibrated."""
    from softpoint.selection.candidates import FeaturePredictor

    check_calibrated(checkpoint)
    return FeaturePredictor(checkpoint, device)


def check_calibrated(checkpoint: Checkpoint) -> None:
    """Raise ValueError for a model that is not calibrated."""
    if not checkpoint.net.calibration.fitted:
        raise ValueError(
            f"{checkpoint.path} is not calibrated, and errors to expect need that; first run:"
            f" {calibration_command(checkpoint)}"
        )


def _reading(cfg: DictConfig, checkpoint: Checkpoint, sources: list[Source]) -> Reading:
    """Return how images are read: with labels, as in the training."""
    from softpoint.evaluation.eval_data import confidence_fraction
    from softpoint.inference.subjects import subject_finder
    from softpoint.labels.label_sets import as_paths
    from softpoint.progress import track
    from softpoint.selection.candidates import Reading

    file, boxes = boxes_for(checkpoint, cfg.boxes, sources[0])
    finder = subject_finder(checkpoint) if boxes is None else None
    labels = file if cfg.labels is None else as_paths(cfg.labels)[0]
    exif, fraction = orientation(checkpoint.data, labels), confidence_fraction(checkpoint)
    bits, channels = checkpoint.bits, checkpoint.channels
    return Reading(fraction, cfg.batch_size, exif, cfg.max_pixels, bits, channels, boxes, finder, track)


def rank_labels(cfg: DictConfig) -> None:
    """Write the labels that are unlikely under predictions, the most unlikely first."""
    from softpoint.selection.label_errors import suspicions
    from softpoint.selection.lists import suspicion_table
    from softpoint.selection.outputs import new_folder, write_suspicions
    from softpoint.tables import console

    output = new_folder(Path(cfg.output))
    lock_output(output)
    judged, data = _judged(cfg)
    found = suspicions(judged.by_seed, judged.fraction)
    files, drawn = write_suspicions(found, judged, output, cfg.count), found[: cfg.count]
    if drawn:
        console().print(suspicion_table(judged, drawn))
    print(f"the most unlikely {len(drawn)} of {len(found)} labels that are listed, of {len(judged.results)} subjects")
    for note in filter(None, (judged.note, _advice(cfg, judged, data))):
        print(note)
    print(f"{output}: {', '.join(files)}")


def _judged(cfg: DictConfig) -> tuple[Judged, Mapping[str, Any]]:
    """Return the judged labels, and the settings of data of the model that judged them; {} for several models."""
    from softpoint.inference import read_checkpoint
    from softpoint.progress import track
    from softpoint.selection.judged import all_labels, fold_laws, judged_by_folds, judged_by_model, model_of_folds

    data: dict[str, Any] = {key: cfg[key] for key in ("labels", "images", "max_pixels") if cfg[key] is not None}
    if cfg.crossval is not None:
        if cfg.labels is None or cfg.ckpt is not None:
            raise ValueError("crossval=FOLDER judges labels=LABELS, without ckpt")
        model = read_checkpoint(model_of_folds(Path(cfg.crossval)), cfg.trust)
        laws = fold_laws(Path(cfg.crossval), cfg.trust)
        return judged_by_folds(all_labels(model, data), Path(cfg.crossval), laws), {}
    if cfg.ckpt is None:
        labels = _read(cfg)
        print(f"to judge labels by models that did not learn them:{_commands(labels.source, cfg.images, {})}")
        raise ValueError(
            f"labels={cfg.labels} are judged by models: run the two commands above, or give ckpt=CHECKPOINT, one model,"
            " which hides the faults of what it learned"
        )
    checkpoint = _checkpoint(cfg)
    check_calibrated(checkpoint)
    bar = partial(track, description="predicting")
    return judged_by_model(checkpoint, all_labels(checkpoint, data), cfg.device, cfg.batch_size, bar), checkpoint.data


def _advice(cfg: DictConfig, judged: Judged, data: Mapping[str, Any]) -> str:
    """Return what to run where labels were judged by a model that learned them; "" where none was."""
    learned = int((~judged.held_out).sum())
    if not learned:
        return ""
    commands = _commands(judged.labels.source, cfg.images or judged.labels.folder, data)
    return (
        f"{learned} of {len(judged.results)} labels were learned by this model, which hides their faults (held_out=no);"
        f" to judge all by models that did not learn them:{commands}"
    )


def _commands(labels: str, images: str | None, read: Mapping[str, Any]) -> str:
    """Return the commands that judge labels by a cross-validation, each in a line; it reads them as `read` says."""
    folder = "outputs/crossval_labels"
    data = [setting("data.labels", labels), *([setting("data.images", images)] if images else []), *data_settings(read)]
    own = [setting("labels", labels), *([setting("images", images)] if images else [])]
    first = f"{command('crossval')} data=custom {' '.join(data)} output={folder}"
    return f"\n  {first}\n  {command('suggest')} {' '.join(own)} crossval={folder}"
