"""Images that a model was trained, validated or tested on, and those that are labeled, by their paths."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from softpoint.inference import Checkpoint
from softpoint.labels.formats import read_labels
from softpoint.labels.schema import Labels
from softpoint.paths import normalize_path


class Known(NamedTuple):
    """Images that need no label."""

    folder: Path  # that the names start from
    labeled: tuple[str, ...]  # names of labeled images; without labels, those of the model's splits
    trained: frozenset[str] | None  # full paths of the images of the model's splits; None where they are not there


def known_images(checkpoint: Checkpoint, labels: Labels | None = None, images: str | Path | None = None) -> Known:
    """Return the images of a model's splits and of labels.

    Paths start from the folder `images`, else from that of the labels, else from that of the training.
    """
    given = images or (None if labels is None else labels.folder)
    folder = _stored_folder(checkpoint) if given is None else Path(given)
    trained = tuple(image for split in (checkpoint.splits or {}).values() for image in split)
    # Frames and pages are below a file, which is a parent that exists.
    there = folder and trained and any(path.exists() for path in (folder / trained[0], (folder / trained[0]).parent))
    start = (folder or Path()).resolve()
    paths = frozenset(full_path(start, image) for image in trained)
    if labels is not None:
        pairs = zip(labels.paths, labels.subjects, strict=True)
        labeled = {image for image, subject in pairs if (subject.visibility > 0).any()}
    else:
        labeled = {*trained} if there else set()
    return Known(start, tuple(sorted(labeled)), paths if there or not trained else None)


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
