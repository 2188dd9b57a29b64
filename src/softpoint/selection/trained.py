"""Images that a model was trained, validated or tested on, and those that are labeled, by their paths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeGuard

from softpoint.inference import Checkpoint
from softpoint.inference.batch.sources import Boxes
from softpoint.labels.boxes import boxes_by_image
from softpoint.labels.label_sets import read_sets, source_name
from softpoint.labels.partition import evenly_spaced
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import Labels
from softpoint.labels.split import SPLITS
from softpoint.paths import normalize_path

_TRIED = 20  # images of the training, by which its folder is known


class Known(NamedTuple):
    """Images that need no label."""

    folder: Path  # that the names start from
    labeled: tuple[str, ...]  # names of labeled images; without labels, those of the model's splits
    paths: frozenset[str]  # full paths of the labeled images, and of those of the model's splits
    complete: bool  # False where the images of the model's splits are not there


def known_images(checkpoint: Checkpoint, labels: Labels | None = None, images: str | Path | None = None) -> Known:
    """Return the images of a model's splits and of labels.

    Paths start from the folder `images`, else from that of the labels, else from that of the training.
    """
    given = images or (None if labels is None else labels.folder)
    folder = _stored_folder(checkpoint) if given is None else Path(given)
    trained = tuple(image for split in SPLITS for image in (checkpoint.splits or {}).get(split, ()))
    there = folder is not None and _hold(folder, trained)
    start, known = (folder or Path()).resolve(), {*trained} if there else set()
    labeled = known
    if labels is not None:
        pairs = zip(labels.paths, labels.subjects, strict=True)
        labeled = {image for image, subject in pairs if (subject.visibility > 0).any()}
    paths = frozenset(full_path(start, image) for image in known | labeled)
    return Known(start, tuple(sorted(labeled)), paths, there or not trained)


def labeled_boxes(checkpoint: Checkpoint, labels: Labels | None = None) -> Boxes | None:
    """Return the boxes of the labels, else of those of the training; None where these cannot be read."""
    labels = _stored_labels(checkpoint) if labels is None else labels
    around_points = (checkpoint.crops or {}).get("boxes") == "keypoints"
    return None if labels is None else boxes_by_image(labels, "keypoints" if around_points else None)


def _hold(folder: Path, images: Sequence[str]) -> bool:
    """Return whether a folder has most of some images; frames and pages are below a file."""
    tried = [folder / images[i] for i in evenly_spaced(len(images), _TRIED)]
    there = sum(path.exists() or any(parent.is_file() for parent in path.parents) for path in tried)
    return 2 * there > len(tried)


def full_path(folder: Path, image: str) -> str:
    """Return the normalized path of an image below a resolved folder.

    >>> full_path(Path("/data"), "day1/../a.png"), full_path(Path("/data"), "/other/film.tif/3")
    ('/data/a.png', '/other/film.tif/000003')
    """
    return normalize_path(str(folder / image))


def _stored_folder(checkpoint: Checkpoint) -> Path | None:
    """Return the folder of the training's images; None where it, or the labels that lead to it, cannot be read."""
    images = checkpoint.data.get("images")
    if images is None or isinstance(images, list):
        labels = _stored_labels(checkpoint)
        return None if labels is None else Path(labels.folder)
    return Path(images) if _is_local(images) and isinstance(images, str) else None


def _stored_labels(checkpoint: Checkpoint) -> Labels | None:
    """Return the labels of the training; None where they cannot be read."""
    labels, images = (checkpoint.data.get(key) for key in ("labels", "images"))
    if not _is_local(labels) or not (images is None or _is_local(images)):
        return None
    try:
        settings = {key: checkpoint.data[key] for key in ("missing", "keypoints", "skeleton") if key in checkpoint.data}
        return read_sets(labels, None, images, None, RowErrors(source_name(labels)), **settings)
    except (OSError, ValueError, ImportError):
        return None


def _is_local(path: object) -> TypeGuard[str | list[str]]:
    """Return whether a stored value is a path, or a list of them, and none of another machine."""
    paths = path if isinstance(path, list) and path else [path]
    return all(isinstance(name, str) and not name.startswith(("//", "\\\\")) for name in paths)
