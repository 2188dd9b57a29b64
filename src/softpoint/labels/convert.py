"""Conversion of labels to another format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from softpoint.images import ImageFolder
from softpoint.labels.formats import WRITERS, coco
from softpoint.labels.formats.parsing.coco_source import source_of
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import Labels
from softpoint.labels.split import SPLITS, write_splits
from softpoint.paths import normalize_path
from softpoint.suggest import check_choice, setting


def write_labels(labels: Labels, to: str, output: Path, image_folder: ImageFolder, errors: RowErrors) -> Labels:
    """Write labels in the format `to` and return those that were written; warn of what the format cannot hold.

    Images are opened only where the format states their sizes and the labels do not. Raises ValueError for an
    unknown format, and for missing images unless `errors` skips them. COCO that is written from one COCO file keeps its
    other fields, and then none are `unread`.
    """
    check_choice("to", to, WRITERS)
    sizes = labels.columns.numbers("size")
    if to == "coco":  # which states the size of each image
        labels, sizes = _with_sizes(labels, image_folder, errors)
    if not len(labels):
        raise ValueError(f"{labels.source}: no subject is left to write")
    if to == "coco" and (source := source_of(labels)) is not None:
        coco.write(labels, output, sizes, source)
        return replace(labels, unread={})
    WRITERS[to](labels, output, sizes)
    return labels


def splits_path(output: Path) -> Path:
    """Return where `write_stated_splits` writes the split of labels that are written to `output`."""
    return output.with_name(f"{output.stem}.splits.csv")


def check_splits_path(labels: Labels, output: Path, way_out: str) -> None:
    """Raise ValueError where the split that labels state would replace a file; `way_out` ends the message."""
    if labels.splits and (path := splits_path(output)).exists():
        raise ValueError(f"{path}, for the split that {labels.source} states, exists; {way_out}")


def write_stated_splits(labels: Labels, output: Path) -> Path | None:
    """Write the split that `labels` state beside `output`, for data.splits; return its path, or None without one.

    Images without a stated split are of train, as in training.
    """
    if not any(image in labels.splits for image in labels.images):
        return None
    path = splits_path(output)
    stated = [labels.splits.get(image, "train") for image in labels.images]
    rows = {name: [i for i, split in enumerate(stated) if split == name] for name in SPLITS}
    write_splits(path, labels.images, rows)
    return path


def left_out(labels: Labels) -> list[str]:
    """Return phrases about what the file of `labels` holds and a file that is written from them does not.

    >>> from softpoint.labels.skeleton import Skeleton
    >>> left_out(Labels("a.json", ".", Skeleton(("nose",)), (), unread={"track_id of annotations": 2}))
    ['2 track_id of annotations']
    """
    return [f"{count} {content}" for content, count in labels.unread.items()]


def written_lines(written: Labels, to: str, output: Path) -> list[str]:
    """Return lines about labels that `write_labels` wrote and how to train on them, and write the split they state."""
    lines, folder = [f"wrote {output} ({to}): {summary(written)}"], Path(written.folder)
    if (splits := write_stated_splits(written, output)) is not None:
        way = setting("data.splits", splits)
        lines.append(f"wrote {splits}, the split that the labels state: train on it with {way}")
    if folder.absolute() != output.parent.absolute():
        words = f"{setting('data.labels', output)} {setting('data.images', folder)}"
        lines.append(f"its paths start from {folder}: train on it with {words}")
    return lines


def _with_sizes(labels: Labels, image_folder: ImageFolder, errors: RowErrors) -> tuple[Labels, np.ndarray]:
    """Return the subjects whose images have a size, and the sizes: the stated one, or that of the image's header."""
    sizes: dict[str, tuple[int, int]] = {}
    kept: dict[int, tuple[int, int]] = {}
    for index, subject in enumerate(labels.subjects):
        with errors.row(subject.place, subject.image):
            stated = subject.size if all(subject.size) else None
            image = normalize_path(subject.image)
            if image not in sizes:
                sizes[image] = stated or image_folder.size(subject.image)
            size = sizes[image]
            if stated not in (None, size):
                raise ValueError(
                    f"it states that {subject.image} is {subject.size[1]} wide and {subject.size[0]} high, but an"
                    f" earlier row {size[1]} and {size[0]}"
                )
            kept[index] = size
    errors.raise_or_warn(f"correct it, or set images to the folder of the images (now {image_folder.folder})")
    return labels.select(kept), np.array([*kept.values()], dtype=np.int64).reshape(-1, 2)


def summary(labels: Labels) -> str:
    """Return the numbers of subjects, images and points, in one phrase.

    >>> from softpoint.labels.skeleton import Skeleton
    >>> summary(Labels("a.csv", ".", Skeleton(("nose",)), ()))
    '0 subjects in 0 images, 1 keypoints, 0 labeled points'
    """
    points, occluded = int((labels.visibility > 0).sum()), int((labels.visibility == 1).sum())
    blank, crowds = int(labels.blank.sum()), int(labels.crowds.sum())
    return (
        f"{labels.count} subjects"
        + (f" and {crowds} crowds" if crowds else "")
        + f" in {len(set(labels.images))} images"
        + (f" ({blank} without labels)" if blank else "")
        + f", {len(labels.skeleton)} keypoints, {points} labeled points"
        + (f" ({occluded} occluded)" if occluded else "")
    )
