"""Write a trained model as a file that runs elsewhere, or as a folder to share: `softpoint export ckpt=RUN/...`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from softpoint.cli.faults import warn_of_faults
from softpoint.cli.run_folder import lock_file, lock_output
from softpoint.export_formats import check_finding, check_options

if TYPE_CHECKING:
    from softpoint.inference import Checkpoint
    from softpoint.inference.export import ComparisonImage, Difference, ExportOptions, Subjects


def main(cfg: DictConfig) -> None:
    """Write the model, its metadata and its card, and print how it differs from the checkpoint."""
    if cfg.hub is not None and cfg.format != "safetensors":
        raise ValueError(f"hub={cfg.hub} uploads the folder of format=safetensors; add format=safetensors")
    if cfg.format != "safetensors":
        format = "onnx" if cfg.format == "all" else cfg.format  # onnx takes what any other one does
        check_options(format, cfg.precision, _image_size(cfg.image_size), cfg.batch, cfg.opset)

    from softpoint.inference import push_to_hub, read_checkpoint, save_pretrained
    from softpoint.inference.hub import check_repo_id
    from softpoint.inference.pretrained import upload_list

    if cfg.hub is not None:
        check_repo_id(cfg.hub)
    checkpoint = read_checkpoint(cfg.ckpt, cfg.trust)
    if cfg.format != "safetensors" and _subjects(cfg, checkpoint) is not None:
        check_finding(cfg.format, cfg.precision, cfg.batch)
    if cfg.warn:
        warn_of_faults(checkpoint)
    name = (checkpoint.path if checkpoint.path.is_dir() else checkpoint.path.resolve().parent.parent).name or "model"
    if cfg.format == "safetensors":
        lock_output(output := Path(cfg.output or f"{name}.model"))
        folder = save_pretrained(checkpoint, output)
        print(f"{folder}: config.json, model.safetensors and README.md, read back with equal weights")
        if cfg.hub is not None:
            print("uploading", upload_list(folder, cfg.hub, cfg.private), flush=True)
            print(f"uploaded: load_predictor({push_to_hub(folder, cfg.hub, private=cfg.private)!r})")
        return
    if cfg.format == "all":
        _export_all(cfg, checkpoint, name)
    else:
        _export_program(cfg, checkpoint, name)


def _export_program(cfg: DictConfig, checkpoint: Checkpoint, name: str) -> None:
    """Write a file that runs without the network's code."""
    from softpoint.inference import load_predictor
    from softpoint.inference.export import FORMATS, export
    from softpoint.progress import step

    options = _options(cfg, checkpoint, cfg.format)
    path = Path(cfg.output or f"{name}{FORMATS[cfg.format].suffix}")
    lock_file(path)
    images = _images(cfg, checkpoint, "test", cfg.check)
    difference, metadata = export(checkpoint, load_predictor(checkpoint), path, options, images, step)
    _write_card(cfg, checkpoint, path, cfg.format, difference)
    print(f"compared with the checkpoint: {difference}")
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {metadata['precision']}, {', '.join(metadata['outputs'])}")


def _export_all(cfg: DictConfig, checkpoint: Checkpoint, name: str) -> None:
    """Write every format to a folder, and print a table of them and why others are missing."""
    from softpoint.inference import load_predictor
    from softpoint.inference.export import FORMATS, export
    from softpoint.inference.export.parity import milliseconds
    from softpoint.progress import step
    from softpoint.tables import NumberTable, console

    folder, predictor, missing = Path(cfg.output or f"{name}.exports"), load_predictor(checkpoint), []
    lock_output(folder)
    images = _images(cfg, checkpoint, "test", cfg.check)
    timed = _typical(images, _image_size(cfg.image_size), checkpoint)
    table = NumberTable("file", ["MB", "px off, at most", "ms per image"])
    table.add_row("checkpoint", "", "", f"{milliseconds(predictor, timed, bool(checkpoint.crops)):.1f}")
    for number, (format, entry) in enumerate(FORMATS.items(), 1):
        say = partial(step, part=f"{format}, {number} of {len(FORMATS)}")
        path = folder / f"{name}-{format}{entry.suffix}"
        try:
            options = _options(cfg, checkpoint, format, checkpoint.size if entry.fixed else None)
            difference, metadata = export(checkpoint, predictor, path, options, images, say)
            image = timed if cfg.image_size or not entry.fixed else _typical(images, options.size, checkpoint)
            time = milliseconds(entry.open(path, metadata)[0], image, bool(checkpoint.crops))
        except Exception as error:  # of a converter or a runtime, which must not cost the formats after it
            say(reason := f"not written: {error or type(error).__name__}")
            missing.append(f"{format}: {reason}")
            continue
        _write_card(cfg, checkpoint, path, format, difference)
        fixed = f" for {options.size[0]}x{options.size[1]}" if options.size and not cfg.image_size else ""
        table.add_row(
            f"{path.name}{fixed}", f"{path.stat().st_size / 1e6:.1f}", f"{difference.largest:.4f}", f"{time:.1f}"
        )
    if len(missing) == len(FORMATS):
        raise ValueError("no format could be written: " + "; ".join(missing))
    console().print(table, highlight=False)
    print(*missing, f"{folder}: compared on {timed.image.shape[1]} x {timed.image.shape[0]} pixels", sep="\n")


def _typical(
    images: Sequence[ComparisonImage], size: tuple[int, int] | None, checkpoint: Checkpoint
) -> ComparisonImage:
    """Return the first image of a size (H, W), None for any; a random one where there is none."""
    from softpoint.images.channels import count_channels
    from softpoint.inference.export.parity import random_images

    noise = random_images(size or checkpoint.size, 1, fixed=True, channels=count_channels(checkpoint.channels))
    return next((image for image in images if size in (None, image.image.shape[:2])), noise[0])


def _options(
    cfg: DictConfig, checkpoint: Checkpoint, format: str, size: tuple[int, int] | None = None
) -> ExportOptions:
    """Return the options of one format, for images of `size` where the config has none."""
    from softpoint.inference.export import ExportOptions

    calibration = _images(cfg, checkpoint, "train", cfg.calibration) if cfg.precision == "int8" else []
    size = _image_size(cfg.image_size) or size
    subjects = _subjects(cfg, checkpoint)
    return ExportOptions(format, cfg.precision, cfg.heatmaps, size, cfg.batch, cfg.opset, calibration, subjects)


def _subjects(cfg: DictConfig, checkpoint: Checkpoint) -> Subjects | None:
    """Return how the file finds subjects; None for one that takes their boxes, or that shows a network whole images."""
    from softpoint.inference.export import Subjects

    return Subjects(cfg.max_subjects, cfg.subject_threshold) if cfg.finder and checkpoint.finder is not None else None


def _write_card(cfg: DictConfig, checkpoint: Checkpoint, path: Path, format: str, difference: Difference) -> None:
    from softpoint.inference.model_card import write_card

    facts = {"file": path.name, "format": format, "precision": cfg.precision, "difference": str(difference)}
    if (subjects := _subjects(cfg, checkpoint)) is not None:
        facts["subjects"] = f"up to {subjects.most} in an image, of a score of at least {subjects.threshold:g}"
    elif checkpoint.finder is not None:
        facts["subjects"] = "those whose boxes it is given; the finder is not in the file"
    write_card(checkpoint, path.with_name(f"{path.name}.md"), facts)


def _image_size(value: Any) -> tuple[int, int] | None:
    """Return [height, width] as a pair, and None for null; ValueError for anything else."""
    if value is None:
        return None
    if not OmegaConf.is_list(value) or len(value) != 2 or not all(isinstance(side, int) for side in value):
        raise ValueError(f"image_size={value} must be [height, width] in pixels, or null for images of any size")
    return value[0], value[1]


def _images(cfg: DictConfig, checkpoint: Checkpoint, split: str, count: int) -> list[ComparisonImage]:
    """Return up to `count` images, evenly spaced, of the folder `images`, or of a split of the training's data."""
    import numpy as np

    from softpoint.evaluation.eval_data import open_set
    from softpoint.images import ImageFolder
    from softpoint.images.listing import list_images
    from softpoint.images.read_options import ReadOptions
    from softpoint.inference.export import ComparisonImage
    from softpoint.labels.partition import evenly_spaced

    if cfg.images is not None:
        folder = Path(cfg.images)
        paths = [path.relative_to(folder).as_posix() for path in list_images(folder)]
        image_folder = ImageFolder(folder, ReadOptions("apply", cfg.max_pixels, checkpoint.bits, checkpoint.channels))
        return [ComparisonImage(image_folder.read(paths[i])) for i in evenly_spaced(len(paths), count)]
    try:
        dataset = open_set(checkpoint, split)
    except (FileNotFoundError, ValueError) as error:
        fault = str(error).partition("; ")[0]  # what follows is the way out of commands that take data=
        print(f"the {split} split cannot be opened ({fault}); random images are used unless images=FOLDER is set")
        return []
    if dataset.scenes is not None and _subjects(cfg, checkpoint) is not None:
        chosen = evenly_spaced(len(dataset.scenes), count)
        return [ComparisonImage(np.ascontiguousarray(dataset.scene_image(i))) for i in chosen]
    names, labeled = checkpoint.skeleton.names, dataset.skeleton.names
    order = [labeled.index(name) for name in names] if set(names) <= set(labeled) else None
    records = [dataset.source.load(0, i) for i in evenly_spaced(len(dataset), count)]
    return [
        ComparisonImage(np.ascontiguousarray(r.image), r.box, None if order is None else r.keypoints[order])
        for r in records
    ]
