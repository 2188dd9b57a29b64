"""Loading of labels: read, select, validate against the images, scan, choose the samples."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from softpoint.images import ImageFolder
from softpoint.images.scan import Scan, Scans, memo_path, remembered, scan, unused_bits
from softpoint.labels.groups import with_groups
from softpoint.labels.label_sets import read_sets, source_name
from softpoint.labels.missing import exact_point, repeated_points
from softpoint.labels.row_errors import RowError, RowErrors
from softpoint.labels.samples import choose_samples
from softpoint.labels.schema import ABSENT, Labels, select_labels
from softpoint.labels.source import LabelSource
from softpoint.labels.validate import validate, with_found_names
from softpoint.paths import normalize_path, user_cache_dir

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LoadedLabels:
    """N labeled subjects, each one sample, and the images that they are in."""

    labels: Labels
    sizes: np.ndarray  # int64 (N, 2), height and width of each subject's image; 0 in an audit where it is unreadable
    boxes: np.ndarray | None  # float64 (N, 4), what each crop shows before padding; None for whole images, NaN for none
    image_folder: ImageFolder
    scans: Mapping[str, Scan]  # by image; empty without `verify`
    errors: RowErrors  # with the rows that were skipped

    def select(self, rows: np.ndarray | slice) -> LoadedLabels:
        """Return these samples alone, in this order; see `Labels.select`."""
        boxes = None if self.boxes is None else self.boxes[rows]
        return replace(self, labels=self.labels.select(rows), sizes=self.sizes[rows], boxes=boxes)

    @property
    def with_box(self) -> LoadedLabels:
        """The subjects that have a box to crop; all samples where these are whole images."""
        return self if self.boxes is None else self.select(np.flatnonzero(np.isfinite(self.boxes).all(1)))

    @property
    def crops(self) -> np.ndarray:
        """The boxes (M, 4) of the subjects that have one."""
        boxes = self.with_box.boxes
        return np.empty((0, 4)) if boxes is None else boxes

    @property
    def shapes(self) -> np.ndarray:
        """Height and width (M, 2) of the part of its image that each sample with a box shows, before padding."""
        return self.sizes if self.boxes is None else (self.crops[:, 2:] - self.crops[:, :2])[:, ::-1]


def load_labels(
    source: LabelSource, images: Collection[str] | None = None, audit: bool = False, group: str | None = None
) -> LoadedLabels:
    """Return the samples of a source, all or those of `images` alone, whose groups are found among all by `group`.

    With `audit`, return every subject that can be read, before anything is validated or left out.
    Raises FileNotFoundError for a missing file, and ValueError for labels that cannot be used: one error lists the
    rows of all steps, unless `on_error` skips them.
    """
    errors = RowErrors(source_name(source.labels), source.on_error, silent=audit)
    with errors.together():
        return _load(source, errors, images, audit, group)


def read_source(source: LabelSource, errors: RowErrors) -> Labels:
    """Return the selected labels of a source as they are written; their images are not opened."""
    labels = read_sets(
        *(source.labels, source.format, source.images, source.fetch, errors, source.missing),
        *(source.keypoints, source.skeleton),
    )
    others = source.mode == "multi"  # in images of other categories there is nothing to find
    return select_labels(labels, source.categories, source.keypoints, source.flip_pairs, source.edges, others)


def _load(
    source: LabelSource, errors: RowErrors, images: Collection[str] | None, audit: bool, group: str | None
) -> LoadedLabels:
    labels = read_source(source, errors)
    image_folder = ImageFolder(Path(labels.folder), source.options)
    labels = with_found_names(labels, image_folder)
    if audit:
        scans = scan(image_folder, labels.images, _memo(image_folder, source))
        sizes = np.array([scan.size for scan in scans], dtype=np.int64).reshape(-1, 2)
        return LoadedLabels(labels, sizes, None, image_folder, Scans(scans), errors)
    labels = with_groups(labels, group, say=images is None)  # images of a split that was drawn before need no word
    if images is not None:
        labels = _of_images(labels, images)
    for k, point, rows in repeated_points(labels):
        text = exact_point(point)
        _log.warning(
            "%s: %s is at exactly (%s) in %d images; if that means that it is missing, set 'data.missing=[[%s]]'",
            *(labels.source, labels.skeleton.names[k], text, len(rows), text.replace(" ", "")),
        )
    return usable_labels(labels, image_folder, source, errors)


def usable_labels(
    labels: Labels,
    image_folder: ImageFolder,
    source: LabelSource,
    errors: RowErrors,
    scanned: Mapping[str, Scan] | None = None,
) -> LoadedLabels:
    """Return the samples of labels that were read and selected, which may have been `scanned`; see `load_labels`."""
    memo = _memo(image_folder, source) if source.verify else None
    known = remembered(image_folder, set(labels.images), memo) if scanned is None else scanned
    known_sizes = {image: scan.size for image, scan in known.items() if scan.error is None}
    labels, sizes = validate(labels, image_folder, errors, source.out_of_frame, known_sizes)
    scans = scan(image_folder, list(dict.fromkeys(labels.images)), memo, known) if source.verify else []
    labels, sizes = _decodable(labels, sizes, scans, errors)
    if source.bits is None and (message := unused_bits(scans)):
        raise ValueError(f"{labels.source}: {message}")
    if paged := [scan for scan in scans if scan.pages > 1]:
        _log.warning(
            "%s: of %d images with several pages or frames the first is read; name another as %s/%06d",
            *(labels.source, len(paged), paged[0].image, 1),
        )
    if source.plane is not None:
        source.plane.check_covers({(int(height), int(width)) for height, width in sizes})
    labels, sizes, boxes = choose_samples(labels, sizes, source, errors)
    if source.unlabeled == "absent":
        labels = labels.changed(visibility=np.where(labels.visibility == 0, ABSENT, labels.visibility))
    return LoadedLabels(labels, sizes, boxes, image_folder, Scans(scans), errors)


def _memo(image_folder: ImageFolder, source: LabelSource) -> Path:
    return memo_path(image_folder, user_cache_dir(source.cache_dir))


def _of_images(labels: Labels, images: Collection[str]) -> Labels:
    """Return the labels of these images alone; ValueError where one of them is not labeled."""
    wanted = {normalize_path(image) for image in images}
    rows = [i for i, path in enumerate(labels.paths) if path in wanted]
    if missing := sorted(wanted - {labels.paths[i] for i in rows}):
        raise ValueError(
            f"{labels.source} lacks {len(missing)} of the {len(wanted)} images of the stored split, first {missing[0]};"
            " evaluate all of another set by split=all"
        )
    return labels.select(rows)


def _decodable(
    labels: Labels, sizes: np.ndarray, scans: Sequence[Scan], errors: RowErrors
) -> tuple[Labels, np.ndarray]:
    """Return the subjects whose images decode to their last pixel, and the sizes of those."""
    broken = {scan.image: scan.error for scan in scans if scan.error is not None}
    rows = zip(labels.places, labels.images, strict=True)
    errors.errors += [RowError(place, str(broken[image]), image) for place, image in rows if image in broken]
    errors.raise_or_warn()
    kept = [row for row, image in enumerate(labels.images) if image not in broken]
    return labels.select(kept), sizes[kept]
