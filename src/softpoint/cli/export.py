"""Writes a trained model as one file that runs elsewhere: python scripts/export.py ckpt=RUN/checkpoints/best.ckpt"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from softpoint.cli.hydra_app import launch

if TYPE_CHECKING:
    import numpy as np

    from softpoint.data.sources import Record
    from softpoint.evaluation.eval_sets import EvaluationSet
    from softpoint.inference import Checkpoint
    from softpoint.inference.export import View


def main(cfg: DictConfig) -> None:
    """Writes the file, what it says of itself beside it, and a card; says how far it is from the checkpoint."""
    from pathlib import Path

    from softpoint.inference import load_predictor, read_checkpoint
    from softpoint.inference.export import FORMATS, Plan, export
    from softpoint.inference.model_card import write_card

    checkpoint = read_checkpoint(cfg.ckpt)
    size = fixed_size(cfg.image_size)
    learned = views_of(cfg, checkpoint, "train", cfg.calibration) if cfg.precision == "int8" else []
    plan = Plan(cfg.format, cfg.precision, cfg.heatmaps, size, learned)
    run = checkpoint.path.resolve().parent.parent.name or "model"
    path = Path(cfg.output or f"{run}{FORMATS[cfg.format].suffix}")
    views = views_of(cfg, checkpoint, "test", cfg.check)
    difference, metadata = export(checkpoint, load_predictor(checkpoint), path, plan, views)
    write_card(
        checkpoint,
        path.with_name(f"{path.name}.md"),
        {"file": path.name, "format": cfg.format, "precision": cfg.precision, "difference": str(difference)},
    )
    print(f"compared with the checkpoint: {difference}")
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {metadata['precision']}, {', '.join(metadata['outputs'])}")


def fixed_size(given: Any) -> tuple[int, int] | None:
    """[height, width] as a pair; ValueError for anything else, None for none."""
    if given is None:
        return None
    if not OmegaConf.is_list(given) or len(given) != 2 or not all(isinstance(side, int) for side in given):
        raise ValueError(f"image_size={given} must be [height, width] in pixels, or null for images of any size")
    return given[0], given[1]


def views_of(cfg: DictConfig, checkpoint: Checkpoint, split: str, most: int) -> list[View]:
    """At most `most` images of a folder that was given, or else of a split of what the checkpoint learned from."""
    import numpy as np

    from softpoint.evaluation.eval_data import open_set
    from softpoint.images import ImageFolder
    from softpoint.images.decode import list_images
    from softpoint.inference.export import View

    if cfg.images is not None:
        from pathlib import Path

        folder = Path(cfg.images)
        paths = [path.relative_to(folder).as_posix() for path in list_images(folder)]
        image_folder = ImageFolder(folder, "apply", cfg.max_pixels)
        return [View(image_folder.read(paths[i])) for i in _spread(len(paths), most)]
    try:
        found = open_set(checkpoint, split)
    except (FileNotFoundError, ValueError) as error:
        print(f"no images of its own to look at ({error}); random ones alone unless images=FOLDER gives some")
        return []
    records = [found.source.load(0, i) for i in _spread(len(found), most)]
    return [View(np.ascontiguousarray(one.image), one.box, _labels(one, found, checkpoint)) for one in records]


def _labels(record: Record, found: EvaluationSet, checkpoint: Checkpoint) -> np.ndarray | None:
    """The labels of the network's keypoints, in its order; None where the labels lack some."""
    names = found.skeleton.names
    if not set(checkpoint.skeleton.names) <= set(names):
        return None
    return record.keypoints[[names.index(name) for name in checkpoint.skeleton.names]]


def _spread(count: int, most: int) -> list[int]:
    """At most so many indices, spread over all."""
    return [i * count // min(count, most) for i in range(min(count, most))]


def run(words: list[str]) -> None:
    """Run the command with the arguments `words`."""
    launch("export", main, words)
