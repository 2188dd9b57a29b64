"""What a label file says, in one form for every format, and whether it agrees with the pictures."""

from __future__ import annotations

import posixpath
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from softpoint.data.images import image_size
from softpoint.data.skeleton import Skeleton
from softpoint.suggest import did_you_mean

# How far beyond the centres of the border pixels a point may lie, in pixels: labelling tools let people
# click on the border itself, x = width.
BORDER = 1.0

# How many offending rows an error message shows.
_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Labels:
    """The labelled points of N images with K keypoints each, in pixels of the original images."""

    source: str  # the file they came from, for messages
    images: tuple[str, ...]  # paths as written, relative to the image folder
    keypoints: np.ndarray  # float64 (N, K, 2), NaN where unlabelled
    visibility: np.ndarray  # int64 (N, K): 0 unlabelled, 1 labelled but hidden, 2 visible
    skeleton: Skeleton
    groups: tuple[str, ...]  # parent folder of each image: a video, a subject, a session
    rows: tuple[int, ...]  # line of each image in the source, for messages

    def __post_init__(self) -> None:
        shape = (len(self.images), len(self.skeleton))
        assert self.keypoints.shape == (*shape, 2) and self.visibility.shape == shape
        assert len(self.groups) == len(self.rows) == len(self.images)

    def __len__(self) -> int:
        return len(self.images)

    def select(self, indices: Iterable[int]) -> Labels:
        """The labels of these images alone, in this order."""
        order = [int(index) for index in indices]
        return replace(
            self,
            images=tuple(self.images[i] for i in order),
            keypoints=self.keypoints[order],
            visibility=self.visibility[order],
            groups=tuple(self.groups[i] for i in order),
            rows=tuple(self.rows[i] for i in order),
        )

    def with_keypoints(self, names: Sequence[str]) -> Labels:
        """The labels of these keypoints alone, in this order; ValueError for an unknown name."""
        skeleton = self.skeleton.subset(names)
        order = [self.skeleton.index(name) for name in names]
        return replace(
            self, skeleton=skeleton, keypoints=self.keypoints[:, order], visibility=self.visibility[:, order]
        )


def same_path(image: str) -> str:
    """One spelling for all spellings of a relative path, to compare images by.

    >>> same_path(".\\\\video\\\\img1.png")
    'video/img1.png'
    """
    return posixpath.normpath(image.strip().replace("\\", "/"))


def check(labels: Labels, folder: str | Path, outside: str = "error") -> tuple[Labels, np.ndarray]:
    """The labels, proved to fit the pictures below `folder`, and the (N, 2) height and width of each.

    A labelled point outside its image is an error, or becomes unlabelled where `outside` is "drop".
    Images without any labelled point are kept. Raises ValueError for missing or unreadable images,
    for an image that is listed twice, and where nothing is labelled at all.
    """
    if outside not in ("error", "drop"):
        raise ValueError(f"data.outside={outside!r}: {did_you_mean(outside, ('error', 'drop'))}")
    _refuse_duplicates(labels)
    sizes = _sizes(labels, Path(folder))
    labels = _handle_outside(labels, sizes, outside)
    if not (labels.visibility > 0).any():
        raise ValueError(
            f"{labels.source}: none of its {len(labels)} images has a labelled point; label some, or check"
            " that its coordinate columns are filled"
        )
    return labels, sizes


def _refuse_duplicates(labels: Labels) -> None:
    first: dict[str, int] = {}
    for image, row in zip(labels.images, labels.rows, strict=True):
        if (earlier := first.setdefault(same_path(image), row)) != row:
            raise ValueError(
                f"{labels.source}: lines {earlier} and {row} both label {image}; remove one, or merge them"
            )


def _sizes(labels: Labels, folder: Path) -> np.ndarray:
    """Height and width (N, 2) from the headers; one error for all images that have none."""
    sizes, problems, missing = np.zeros((len(labels), 2), dtype=np.int64), [], []
    for index, (image, row) in enumerate(zip(labels.images, labels.rows, strict=True)):
        try:
            sizes[index] = image_size(folder / same_path(image))  # what training will open
        except (FileNotFoundError, ValueError) as error:
            problems.append(f"line {row}: {error}")
            missing += [image] * isinstance(error, FileNotFoundError)
    if problems:
        way_out = (
            _where_else(missing[0], Path(labels.source), folder) if missing else "copy them again, or remove their rows"
        )
        raise ValueError(
            f"{labels.source}: {len(problems)} of {len(labels)} images cannot be opened"
            f"{_first_few(problems)}\n{way_out}"
        )
    return sizes


def _first_few(problems: Sequence[str]) -> str:
    more = [f"... and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
    return "".join(f"\n  {line}" for line in [*problems[:_SHOWN], *more])


def _where_else(missing: str, source: Path, folder: Path) -> str:
    """The way out: another base folder under which the image does exist, if one is near."""
    near = [folder.parent, folder.parent.parent, *list(source.parents)[:4]]
    for base in (*near, *_subfolders(folder), *_subfolders(source.parent)):
        if (base / missing).is_file():
            return f"{missing} exists under {base}: set data.images={base}"
    return f"paths are taken relative to data.images={folder}: set it so that {folder / missing} exists"


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _handle_outside(labels: Labels, sizes: np.ndarray, outside: str) -> Labels:
    limits = sizes[:, None, ::-1] - 1 + BORDER
    with np.errstate(invalid="ignore"):
        beyond = ((labels.keypoints < -BORDER) | (labels.keypoints > limits)).any(axis=2)
    beyond &= labels.visibility > 0
    if not beyond.any():
        return labels
    places = [_place(labels, sizes, image, point) for image, point in np.argwhere(beyond)]
    if outside == "error":
        raise ValueError(
            f"{labels.source}: {len(places)} labelled points lie outside their image{_first_few(places)}\n"
            "correct them, or set data.outside=drop to treat them as unlabelled"
        )
    warnings.warn(
        f"{labels.source}: {len(places)} labelled points outside their image are treated as unlabelled"
        f"{_first_few(places)}",
        stacklevel=3,
    )
    return replace(
        labels,
        keypoints=np.where(beyond[..., None], np.nan, labels.keypoints),
        visibility=np.where(beyond, 0, labels.visibility),
    )


def _place(labels: Labels, sizes: np.ndarray, image: int, point: int) -> str:
    x, y = labels.keypoints[image, point]
    height, width = sizes[image]
    return (
        f"line {labels.rows[image]}: {labels.skeleton.names[point]} at ({x:g}, {y:g})"
        f" in {labels.images[image]}, which is {width} wide and {height} high"
    )
