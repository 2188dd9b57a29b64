"""Images that a model was trained, validated or tested on, by their full paths."""

from __future__ import annotations

from pathlib import Path

from softpoint.inference import Checkpoint
from softpoint.labels.formats import read_labels
from softpoint.paths import normalize_path


def trained_images(checkpoint: Checkpoint, folder: str | Path | None = None) -> set[str] | None:
    """Return the full paths of the images of a model's splits; None where it is unknown where they are.

    Their paths start from `folder`, else from the folder of the training, if that is still there.
    """
    images = [image for split in (checkpoint.splits or {}).values() for image in split]
    if not images:
        return set()
    start = _stored_folder(checkpoint) if folder is None else Path(folder)
    # Frames and pages are below a file, which is a parent that exists.
    if start is None or not any(path.exists() for path in (start / images[0], (start / images[0]).parent)):
        return None
    return {full_path(start.resolve(), image) for image in images}


def full_path(folder: Path, image: str) -> str:
    """Return the normalized path of an image below a resolved folder.

    >>> full_path(Path("/data"), "day1/../a.png"), full_path(Path("/data"), "/other/film.tif/3")
    ('/data/a.png', '/other/film.tif/000003')
    """
    return normalize_path(str(folder / image))


def _stored_folder(checkpoint: Checkpoint) -> Path | None:
    """Return the folder of the training's images; None where it, or the labels that lead to it, cannot be read."""
    images, labels = (checkpoint.data.get(key) for key in ("images", "labels"))
    name = labels if images is None else images
    if not isinstance(name, str) or name.startswith(("//", "\\\\")):  # another machine's
        return None
    try:
        return Path(name) if images is not None else Path(read_labels(name).folder)
    except (OSError, ValueError, ImportError):
        return None
