"""Predicts keypoints on images and videos: softpoint predict ckpt=RUN/checkpoints/best.ckpt source=WHAT"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from softpoint.cli.faults import warn_of_faults
from softpoint.cli.run_folder import keep_inputs, lock_output
from softpoint.cli.tta import decide_tta

if TYPE_CHECKING:
    from softpoint.inference import Checkpoint, Predictor
    from softpoint.inference.batch.job import Job
    from softpoint.inference.batch.sources import Boxes, Source

LIBRARIES = ("softpoint.inference",)
_TABLES = (
    *("predictions.csv", "confidence.csv", "millimeters.csv", "regions.csv", "heatmap_sets.json"),
    *("job.json", "labeled.mp4"),
    *("predictions.slp", "predictions_coco.json", "predictions_dlc.csv", "predictions_dlc.h5"),
)


def main(cfg: DictConfig) -> None:
    """Write predictions.csv, in pixels of each image or frame, and the other files of the options."""
    from softpoint.images.live import is_stream
    from softpoint.inference import read_checkpoint
    from softpoint.inference.batch.sources import find_sources

    if cfg.resume and OmegaConf.is_interpolation(cfg, "output"):
        raise ValueError("resume=true needs output=FOLDER, that of the interrupted job")
    checkpoint = read_checkpoint(cfg.ckpt, cfg.trust)
    decide_tta(cfg, checkpoint)
    if cfg.warn:
        warn_of_faults(checkpoint)
    options, predictor = _options(cfg, checkpoint), _predictor(cfg, checkpoint)
    if is_stream(cfg.source) and not Path(cfg.source).exists():
        print(live(predictor, checkpoint, cfg, options))
        return
    sources = find_sources(cfg.source, Path(cfg.output), checkpoint.channels)
    _run(_job(cfg, checkpoint, predictor, options, sources), sources)


def _options(cfg: DictConfig, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the options that do not depend on the source."""
    from dataclasses import fields

    from softpoint.inference.batch.options import PredictOptions
    from softpoint.labels.plane import Plane
    from softpoint.tracking import TrackOptions

    options = {field.name: cfg[field.name] for field in fields(PredictOptions) if field.name in cfg}
    options |= _acceptance(cfg, checkpoint) | _regions(cfg, checkpoint)
    formats = list(cfg.formats or []) if OmegaConf.is_list(cfg.formats) else [cfg.formats]
    return options | {
        "ckpt": checkpoint.weights_file,
        "formats": tuple(formats),
        "scale": cfg.overlay.scale,
        "track": TrackOptions(**cfg.tracks) if cfg.track else None,
        "plane": Plane.of(cfg.mm_per_pixel, cfg.homography) or checkpoint.plane,
    }


def _predictor(cfg: DictConfig, checkpoint: Checkpoint) -> Predictor:
    from softpoint.inference import load_predictor

    explains = cfg.explain and checkpoint.net.calibration.fitted  # of a confidence that is a probability
    if cfg.explain and not explains:
        print("explain=true: without a calibration a confidence has no parts, so that there is no confidence.csv")
    level = None if cfg.heatmap_sets is None else float(cfg.heatmap_sets)
    return load_predictor(checkpoint, cfg.device, cfg.tta, cfg.tta_unpaired, explain=explains, heatmap_sets=level)


def _job(
    cfg: DictConfig, checkpoint: Checkpoint, predictor: Predictor, options: Mapping[str, Any], sources: Sequence[Source]
) -> Job:
    """Return the job of the sources, whose folder is locked; ValueError where options and sources do not fit."""
    from softpoint.inference.batch.job import Job
    from softpoint.inference.batch.options import PredictOptions
    from softpoint.inference.batch.sources import ImageSource
    from softpoint.inference.subjects import subject_finder
    from softpoint.progress import track

    output, first = Path(cfg.output), sources[0]
    file, boxes = boxes_for(checkpoint, cfg.boxes, first)
    finder = None if boxes is not None else subject_finder(checkpoint, cfg.subject_threshold, cfg.max_subjects)
    several = boxes is not None or (finder is not None and cfg.max_subjects != 1)
    check_over_time(cfg, sources, several, of_boxes=boxes is not None)
    exif = cfg.exif or orientation(checkpoint.data, file or (first.labels if isinstance(first, ImageSource) else None))
    reading = {"exif": exif, "bits": cfg.bits or checkpoint.bits, "channels": checkpoint.channels}
    job_options = PredictOptions(**{**options, **reading, "boxes": file})
    if cfg.video and all(isinstance(source, ImageSource) for source in sources):
        raise ValueError(f"video=true: there is no video in source={cfg.source}")
    keep_sources(sources, file, output, job_options.images)
    lock_output(output)
    return Job(predictor, job_options, output, boxes, finder, track)


def _run(job: Job, sources: Sequence[Source]) -> None:
    """Predict the sources, one after another; ValueError that lists those of which nothing can be read."""
    from softpoint.inference.batch.job import UnreadableError
    from softpoint.labels.row_errors import first_few

    unreadable = []
    for source in sources:
        try:
            print(job.run(source))
        except UnreadableError as error:
            unreadable.append(str(error))
            if len(sources) == 1 or job.options.on_error == "error":
                raise
    if unreadable:
        raise ValueError(f"{len(unreadable)} of {len(sources)} sources cannot be predicted{first_few(unreadable)}")


def check_over_time(cfg: DictConfig, sources: Sequence[Source], several: bool, of_boxes: bool) -> None:
    """Raise ValueError for track= and smoothing= where they do not fit the sources, or the subjects of an image.

    How many boxes a video has is seen when it is opened.
    """
    from softpoint.inference.batch.sources import ImageSource

    if cfg.track and all(isinstance(source, ImageSource) for source in sources):
        raise ValueError(f"track=true: there is no video in source={cfg.source}, and images are not followed")
    if cfg.track and not several:
        raise ValueError(
            "track=true: this model reads one subject in a whole frame, and there is nothing to tell apart; give"
            " boxes=FILE, or a model trained with data.mode=multi, which finds several"
        )
    if cfg.smoothing not in (None, "none") and several and not (cfg.track or of_boxes):
        raise ValueError(
            f"smoothing={cfg.smoothing}: a frame may have several subjects; add track=true or max_subjects=1"
        )


def _regions(cfg: DictConfig, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the options of the regions that regions= asks for; ValueError for a model that has none."""
    from softpoint.inference.regions import ELLIPSES, bounds_at

    if cfg.regions is None:
        return {}
    level = float(cfg.regions)
    radii = bounds_at(checkpoint.net, checkpoint.skeleton.names, ELLIPSES, level)
    return {"regions": level, "region_radii": tuple(radii.tolist())}


def _acceptance(cfg: DictConfig, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the options that leave out what accept= does not accept; ValueError for a threshold of another model."""
    from softpoint.evaluation.risk import read_threshold
    from softpoint.paths import sha256

    if cfg.accept is None:
        return {}
    if cfg.threshold or cfg.drop_below_threshold:
        raise ValueError("accept= takes the place of threshold= and drop_below_threshold=; give one or the other")
    if isinstance(cfg.accept, (int, float)):
        if not 0 <= cfg.accept <= 1:
            raise ValueError(f"accept={cfg.accept:g} must be a confidence, 0 to 1, or a metrics.json")
        return {"threshold": float(cfg.accept), "drop_below_threshold": True}
    threshold, of = read_threshold(Path(cfg.accept))
    if of.get("checkpoint_sha256") != sha256(checkpoint.weights_file):
        raise ValueError(f"accept={cfg.accept} is of another model than ckpt={cfg.ckpt}; evaluate this one with risk=")
    if of.get("tta") != cfg.tta:
        raise ValueError(f"accept={cfg.accept} was found with tta={of.get('tta')}; predict with the same")
    print(f"accepting points of a confidence from {threshold:g} on, by {cfg.accept}")
    return {"threshold": threshold, "drop_below_threshold": True}


def keep_sources(sources: Sequence[Source], boxes: Path | None, output: Path, images: bool) -> None:
    """Raise ValueError where a result would replace a source, the file of boxes, or with `images` an image."""
    for source in sources:
        folder = output / source.output
        keep_inputs(folder, _TABLES, [source.path, boxes])
        parents = {name.rpartition("/")[0] for name in getattr(source, "names", ())} if images else set()
        for parent in (os.path.realpath(source.folder / parent) for parent in parents):
            if Path(parent).is_relative_to(os.path.realpath(folder / "images")):
                raise ValueError(
                    f"output={output} would draw into {parent}, over the images there; name another folder"
                )


def live(predictor: Predictor, checkpoint: Checkpoint, cfg: DictConfig, options: Mapping[str, Any]) -> str:
    """Predict a camera or a stream and return one line of what was written; ValueError for options that need files."""
    from softpoint.images.channels import are_bands
    from softpoint.images.live import Stream
    from softpoint.inference.batch.live import predict_stream
    from softpoint.inference.batch.options import PredictOptions
    from softpoint.inference.batch.sources import colors_for_bands
    from softpoint.inference.subjects import subject_finder
    from softpoint.progress import track

    given = {"formats": options["formats"], "boxes": cfg.boxes, "explain": cfg.explain, "resume": cfg.resume}
    given["heatmap_sets"] = cfg.heatmap_sets is not None
    given |= {"smoothing": cfg.smoothing not in (None, "none"), "track": cfg.track}
    if unfit := [name for name, value in given.items() if value]:
        raise ValueError(
            f"source={Stream(cfg.source).name} is a camera or a stream, which cannot be read again; leave out"
            f" {' and '.join(unfit)}, or record it by video=true and predict the file"
        )
    if are_bands(checkpoint.channels):
        raise ValueError(colors_for_bands(f"the frames of {Stream(cfg.source).name}", checkpoint.channels))
    finder = subject_finder(checkpoint, cfg.subject_threshold, cfg.max_subjects)
    if checkpoint.crops and finder is None:
        print("this network was trained on crops of single subjects: it sees whole frames")
    lock_output(Path(cfg.output))
    of_stream = PredictOptions(**{**options, "boxes": None, "exif": "ignore"})
    return predict_stream(predictor, Stream(cfg.source), of_stream, Path(cfg.output), cfg.window, track, finder)


def boxes_for(checkpoint: Checkpoint, path: str | None, source: Source) -> tuple[Path | None, Boxes | None]:
    """Return the file of the subjects' boxes and its boxes, read as the labels were in training; None without any.

    A label file as the source also gives boxes to a network that was trained on crops.
    """
    from softpoint.labels.box_files import read_boxes

    labels: Path | None = getattr(source, "labels", None)
    needs = bool(checkpoint.crops) and checkpoint.finder is None
    file = Path(path) if path is not None else labels if needs else None
    if file is None:
        if needs:
            print("this network was trained on crops of single subjects: without boxes=LABELS it sees whole images")
        return None, None
    data, kind = checkpoint.data, (checkpoint.crops or {}).get("boxes")
    chosen, missing = data.get("categories") or (), data.get("missing", "auto")
    return file, read_boxes(file, checkpoint.skeleton.names, chosen, missing, kind, source.folder, labels)


def orientation(data: Mapping[str, Any], labels: Path | None) -> str:
    """Return how to treat EXIF orientations: with labels, as in the training on `data`; else apply them."""
    return "ignore" if labels is not None and data.get("exif") == "ignore" else "apply"
