"""One set of labels, or several that are read as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from softpoint.labels.detections import holds_boxes
from softpoint.labels.formats import read_labels
from softpoint.labels.merge import merge_labels
from softpoint.labels.missing import Missing
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import Labels
from softpoint.suggest import setting

# A path, or a list of them.
Paths = str | Path | Sequence[str | Path]


def as_paths(value: Paths) -> tuple[Path, ...]:
    """Return the paths of a list, or of the only one.

    >>> len(as_paths("a.csv")), len(as_paths(["a.csv", "b.csv"]))
    (1, 2)
    """
    return (Path(value),) if isinstance(value, str | Path) else tuple(map(Path, value))


def source_name(value: Paths) -> str:
    """Return the paths in one phrase.

    >>> source_name(["a.csv", "b.csv"])
    'a.csv and b.csv'
    """
    return " and ".join(map(str, as_paths(value)))


def read_sets(
    sources: Paths,
    format: str | None,
    images: Paths | None,
    fetch: str | None,
    errors: RowErrors,
    missing: Missing = "auto",
    keypoints: Sequence[str] | None = None,
    skeleton: str = "same",
) -> Labels:
    """Return the labels of one source as `read_labels` does, or of several as `merge_labels` does.

    `images` is the folder of all, or a list with that of each; of several sources only `keypoints` are compared.
    Raises ValueError for an empty list and for lists of different lengths.
    """
    paths = as_paths(sources)
    folders = [images] * len(paths) if images is None or isinstance(images, str | Path) else [*as_paths(images)]
    if not paths or len(folders) != len(paths):
        raise ValueError(
            f"data.labels names {len(paths)} sets of labels and data.images {len(folders)} folders; name one folder for"
            " each, or one for all"
        )
    parts, collectors = [], [errors.of(str(path)) for path in paths] if len(paths) > 1 else [errors]
    for path, folder, own in zip(paths, folders, collectors, strict=True):
        try:
            part = read_labels(path, format, errors.on_error, folder, fetch, own, missing)
        except ValueError as error:
            if format is None and holds_boxes(path):
                raise ValueError(
                    f"{path} holds boxes and names no keypoint; give labels of keypoints in its place, and this file"
                    f" beside them as {setting('data.boxes', path)} of a training, which crops by its boxes"
                ) from error
            raise
        parts.append(replace(part, folder=str(folder)) if folder else part)
    if len(parts) == 1:
        return parts[0]
    parts = parts if keypoints is None else [part.with_any_of(keypoints) for part in parts]
    return merge_labels(parts, errors, skeleton == "union", collectors)
