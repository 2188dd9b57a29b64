"""Roboflow's COCO: folders train, valid and test of images, each with its own _annotations.coco.json."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from softpoint.labels.formats import coco
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.split import split_name

DESCRIPTION = "a folder of train, valid and test with _annotations.coco.json each (Roboflow's COCO)"

_FILE = "_annotations.coco.json"


def recognize(path: Path, head: bytes) -> bool:
    """Return whether this is a folder with such folders."""
    try:
        return path.is_dir() and bool(_files(path))
    except OSError:
        return False


def read(path: Path, errors: RowErrors, images: Path | None = None) -> Labels:
    """Return the subjects of all files; the split of an image is its folder's.

    Raises ValueError as `coco.read` does, and for files with different keypoints.
    """
    folder, unused, unread = images or path, Counter[str](), Counter[str]()
    subjects: list[Subject] = []
    splits: dict[str, str] = {}
    first: Labels | None = None
    for file in _files(path):
        own = errors.of(str(file))
        labels = coco.read(file, own, folder / file.parent.name)
        own.raise_or_warn()
        errors.take(own, file.parent.name, file.parent.name)
        first = first or labels
        if (labels.skeleton.names, labels.categories) != (first.skeleton.names, first.categories):
            raise ValueError(
                f"{first.source} and {file} have different categories or keypoints; export them again together"
            )
        part = file.parent.name
        below = [replace(s, image=f"{part}/{s.image}", place=f"{part} {s.place}") for s in labels.subjects]
        splits |= {s.image: split_name(part) or "" for s in below}
        unused.update(labels.unused)
        unread.update(labels.unread)
        subjects += below
    assert first is not None
    return Labels(str(path), str(folder), first.skeleton, tuple(subjects), first.categories, splits, unused, unread)


def _files(folder: Path) -> list[Path]:
    folders = sorted(entry for entry in folder.iterdir() if split_name(entry.name))
    return [file for entry in folders if (file := entry / _FILE).is_file()]
