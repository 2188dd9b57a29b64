"""Images to label next, and labels to check: softpoint suggest ckpt=RUN/checkpoints/best.ckpt source=VIDEO_OR_FOLDER"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from softpoint.cli.faults import calibration_command, warn_of_faults
from softpoint.cli.overrides import whole_number
from softpoint.cli.predict import boxes_for, orientation
from softpoint.cli.shell import command, data_settings
from softpoint.suggest import setting

if TYPE_CHECKING:
    from softpoint.inference import Checkpoint
    from softpoint.inference.batch.sources import Source
    from softpoint.labels.schema import Labels
    from softpoint.selection.candidates import Candidate, FeaturePredictor, Pool, Reading
    from softpoint.selection.diversity import Choice
    from softpoint.selection.judged import Judged
    from softpoint.selection.label_errors import Suspicion


def main(cfg: DictConfig) -> None:
    """Choose images of a source, or rank labels."""
    for key in ("count", "pool", "batch_size"):
        whole_number(cfg, key, 1)
    if isinstance(cfg.threshold, str | bool | None) or not 0 <= cfg.threshold <= 1:
        raise ValueError(f"threshold={cfg.threshold} must be a probability, 0 to 1")
    if cfg.source is not None:
        if cfg.crossval is not None:
            raise ValueError("crossval=FOLDER judges labels, and source=WHAT chooses images: give one of the two")
        suggest_images(cfg)
    elif cfg.labels is not None or cfg.ckpt is not None:
        rank_labels(cfg)
    else:
        raise ValueError("give source=VIDEO_OR_FOLDER to choose images from, or labels=LABELS to check")


def suggest_images(cfg: DictConfig) -> None:
    """Write the images of a source whose labels would help most, their predictions as labels, and a contact sheet."""
    from softpoint.inference import read_checkpoint
    from softpoint.inference.batch.sources import find_sources
    from softpoint.inference.predictor import check_device
    from softpoint.labels.formats import read_labels
    from softpoint.labels.row_errors import first_few
    from softpoint.selection.candidates import Pool, collect
    from softpoint.selection.diversity import choose
    from softpoint.selection.trained import trained_images

    if cfg.ckpt is None:
        raise ValueError(
            "source=WHAT needs a model that knows what it does not know: give ckpt=RUN/checkpoints/best.ckpt"
        )
    check_device(cfg.device)
    output = _new_output(cfg)
    sources = find_sources(cfg.source, output)
    checkpoint = read_checkpoint(cfg.ckpt, list(cfg.trust))
    if cfg.warn:
        warn_of_faults(checkpoint)
    predictor = feature_predictor(checkpoint, cfg.device)
    reading = _reading(cfg, checkpoint, sources)
    labels = None if cfg.labels is None else read_labels(cfg.labels, images=cfg.images)
    folder = cfg.images if cfg.images is not None or labels is None else labels.folder
    known = trained_images(checkpoint, folder)
    if known is None:
        print(
            "the images that the model was trained on are not where they were, so that none can be left out; give"
            " labels=LABELS images=FOLDER, with which it was trained"
        )
    pool = Pool(max(cfg.pool, cfg.count))
    for source in sources:
        collect(predictor, source, reading, pool, known or ())
    labeled = [] if labels is None else _labeled(labels, Path(folder), predictor, reading)
    choices = choose(pool.candidates(), cfg.count, labeled)
    if not choices:
        raise ValueError(
            f"nothing in source={cfg.source} is left to label: {_counts(pool)}{first_few(pool.unreadable)}"
        )
    print(f"{_counts(pool)}{first_few(pool.unreadable)}")
    _write_suggestions(cfg, predictor, choices, reading, output)


def feature_predictor(checkpoint: Checkpoint, device: str) -> FeaturePredictor:
    """Return the predictor of a model; ValueError unless it is calibrated."""
    from softpoint.selection.candidates import FeaturePredictor

    if not checkpoint.net.calibration.fitted:
        raise ValueError(
            f"{checkpoint.path} is not calibrated, and its expected errors need that; first run:"
            f" {calibration_command(checkpoint)}"
        )
    return FeaturePredictor(checkpoint, device)


def _new_output(cfg: DictConfig) -> Path:
    """Return the folder of the results; ValueError where it holds anything, which might be a person's labels."""
    output = Path(cfg.output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"output={output} exists and is not empty, and nothing is overwritten; name a new folder")
    return output


def _labeled(labels: Labels, folder: Path, predictor: FeaturePredictor, reading: Reading) -> list[Candidate]:
    """Return the images of the labels that there are, which need no more."""
    from dataclasses import replace

    from softpoint.inference.batch.sources import ImageSource
    from softpoint.selection.candidates import Pool, collect

    names = {image for image, subject in zip(labels.paths, labels.subjects, strict=True) if subject.visibility.any()}
    source = ImageSource(folder, tuple(sorted(names)), Path(labels.source))
    pool = Pool(max(len(names), 1))
    collect(predictor, source, replace(reading, boxes=None), pool)
    return pool.candidates()


def _reading(cfg: DictConfig, checkpoint: Checkpoint, sources: list[Source]) -> Reading:
    from functools import partial

    from rich.progress import track

    from softpoint.evaluation.eval_data import confidence_fraction
    from softpoint.selection.candidates import Reading

    file, boxes = boxes_for(checkpoint, cfg.boxes, sources[0])
    labels = file if cfg.labels is None else Path(cfg.labels)
    exif, fraction = orientation(checkpoint.data, labels), confidence_fraction(checkpoint)
    bar = partial(track, transient=True)
    return Reading(fraction, cfg.batch_size, exif, cfg.max_pixels, checkpoint.bits, boxes, bar)


def _counts(pool: Pool) -> str:
    """Return what was looked at and left out, in one phrase."""
    parts = [f"{pool.seen} images or frames read"]
    parts += [f"{pool.labeled} of them left out, which the model was trained or tested on"] * (pool.labeled > 0)
    parts += [f"{pool.flat} left out, which show nothing"] * (pool.flat > 0)
    parts += [f"{len(pool.unreadable)} cannot be read"] * bool(pool.unreadable)
    return ", ".join(parts)


def _write_suggestions(
    cfg: DictConfig, predictor: FeaturePredictor, choices: list[Choice], reading: Reading, output: Path
) -> None:
    from softpoint.paths import write_json
    from softpoint.selection.lists import write_suggested
    from softpoint.selection.prelabels import copy_images, write_prelabels
    from softpoint.selection.sheets import MAX_TILES, predicted_tile, sheet
    from softpoint.viz import write_image

    rank = {id(choice.candidate): i for i, choice in enumerate(choices)}
    copies, tiles = {}, {}
    for copy, pixels in copy_images([choice.candidate for choice in choices], output, reading):
        i = rank[id(copy.candidate)]
        copies[i] = copy
        if i < MAX_TILES:
            tiles[i] = predicted_tile(pixels, copy.candidate.predictions, predictor.skeleton)
    ordered = [copies[i] for i in range(len(choices))]
    files, remarks = write_prelabels(ordered, output, predictor.skeleton, cfg.threshold, cfg.scorer)
    write_suggested(output / "suggested.csv", choices, {i: copy.file for i, copy in copies.items()}, predictor.skeleton)
    titles = [f"{i + 1}. {copies[i].file} {copies[i].candidate.errors.mean():.1f} px" for i in range(len(tiles))]
    write_image(output / "sheet.png", sheet([tiles[i] for i in range(len(tiles))], titles))
    # By which a later search for images knows a folder of results.
    write_json(output / "job.json", {key: str(cfg[key]) for key in ("ckpt", "source", "labels", "count", "threshold")})
    for remark in remarks:
        print(remark)
    if len(choices) < cfg.count:
        print(f"only {len(choices)} of count={cfg.count}: all others are near duplicates of these or of labeled ones")
    print(f"{len(choices)} images to label in {output}: images/, {', '.join(files)}, suggested.csv, sheet.png")


def rank_labels(cfg: DictConfig) -> None:
    """Write the labels that are unlikely under predictions, the most unlikely first."""
    from softpoint.selection.label_errors import suspicions
    from softpoint.selection.lists import write_suspicious
    from softpoint.selection.sheets import sheet, suspicious_tile
    from softpoint.viz import write_image

    output = _new_output(cfg)
    judged, data = _judged(cfg)
    found = suspicions(judged.results, judged.fraction)
    write_suspicious(output / "suspicious.csv", judged, found)
    files = ["suspicious.csv"]
    if drawn := found[: cfg.count]:
        names = [f"{i}. {one.kind}: {judged.results.images[one.subject]}" for i, one in enumerate(drawn, 1)]
        write_image(output / "sheet.png", sheet([suspicious_tile(judged, one) for one in drawn], names))
        files.append("sheet.png")
    _print_suspicions(judged, drawn)
    print(f"the most unlikely {len(drawn)} of {len(found)} labels that are listed, of {len(judged.results)} subjects")
    for note in filter(None, (judged.note, _advice(cfg, judged, data))):
        print(note)
    print(f"{output}: {', '.join(files)}")


def _judged(cfg: DictConfig) -> tuple[Judged, Mapping[str, Any]]:
    """Return the judged labels, and the settings of data of the model that judged them; {} for several models."""
    from functools import partial

    from rich.progress import track

    from softpoint.images import ImageFolder
    from softpoint.inference import read_checkpoint
    from softpoint.labels.formats import read_labels
    from softpoint.selection.judged import judged_by_folds, judged_by_model

    if cfg.crossval is not None:
        if cfg.labels is None or cfg.ckpt is not None:
            raise ValueError("crossval=FOLDER judges labels=LABELS, without ckpt")
        labels = read_labels(cfg.labels, images=cfg.images)
        folder = Path(cfg.images or labels.folder)
        return judged_by_folds(labels, Path(cfg.crossval), ImageFolder(folder, "apply", cfg.max_pixels)), {}
    if cfg.ckpt is None:
        labels = read_labels(cfg.labels, images=cfg.images)
        print(f"to judge labels by models that did not learn them:{_commands(labels.source, cfg.images, {})}")
        raise ValueError(
            f"labels={cfg.labels} are judged by models: run the two commands above, or give ckpt=CHECKPOINT, one model,"
            " which hides the faults of what it learned"
        )
    checkpoint = read_checkpoint(cfg.ckpt, list(cfg.trust))
    if cfg.warn:
        warn_of_faults(checkpoint)
    data: dict[str, Any] = {key: cfg[key] for key in ("labels", "images") if cfg[key] is not None}
    bar = partial(track, description="predicting", transient=True)
    return judged_by_model(checkpoint, data, cfg.device, cfg.batch_size, bar), checkpoint.data


def _print_suspicions(judged: Judged, found: list[Suspicion]) -> None:
    """Print the first suspicions as a table."""
    from rich.console import Console

    from softpoint.selection.label_errors import odds
    from softpoint.tables import NumberTable

    table = NumberTable("image", ["kind", "keypoints", "right labels like this"])
    for one in found:
        names = ", ".join(judged.results.skeleton.names[k] for k in one.keypoints[:3]) + ", ..." * (
            len(one.keypoints) > 3
        )
        table.add_row(judged.results.images[one.subject], one.kind, names, odds(one.score))
    if found:
        Console().print(table)


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
