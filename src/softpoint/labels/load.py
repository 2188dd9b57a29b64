"""Loading of labels: read, select, validate against the images, scan, filter to samples."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from softpoint.images import ImageFolder
from softpoint.images.channels import check_channels
from softpoint.images.costs import MAX_PIXELS
from softpoint.images.read_options import ReadOptions
from softpoint.images.scan import Scan, Scans, memo_path, remembered, scan, unused_bits
from softpoint.labels.box_files import read_boxes
from softpoint.labels.boxes import BOX_SOURCES, matched_boxes, subject_boxes
from softpoint.labels.groups import with_groups
from softpoint.labels.label_sets import Paths, as_paths, read_sets, source_name
from softpoint.labels.missing import Missing, exact_point, marks_of, repeated_points
from softpoint.labels.plane import Plane
from softpoint.labels.row_errors import RowError, RowErrors
from softpoint.labels.schema import ABSENT, Labels, select_labels
from softpoint.labels.validate import validate, with_found_names
from softpoint.paths import normalize_path, user_cache_dir
from softpoint.suggest import check_choice

_log = logging.getLogger(__name__)

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class LabelSource:
    """Labeled images and how they are read.

    Args:
        labels: a label file or the folder of a project, or a list of these; see `merge_labels`.
        images: the folder that the paths in it start from, or one for each of a list; None for that of the labels.
        format: of the labels; None recognizes it.
        fetch: the public set that the labels belong to, for the message that they are missing.
        mode: "image" makes one sample per image with one subject each, "instance" one crop per subject, "multi" the
            same crops and the whole images, in which a model learns to find the subjects.
        boxes: of crops: "labels" or "keypoints"; None for those of the labels where there are any; or a file of boxes
            for `read_boxes`, see `matched_boxes`.
        padding: factor by which a crop is larger than its box.
        categories, keypoints: names to select; None for all.
        flip_pairs, edges: replace those that the labels state or their names suggest.
        skeleton: of a list: "same" in all, or the "union".
        missing: "auto", "none", or a list of further coordinates that mark missing points; see `marks_of`.
        unlabeled: "unknown", or "absent" where an unlabeled point is not in the image.
        out_of_frame: "error", or "drop" to unlabel points outside their image.
        on_error: "error", or "skip" to leave out rows and images that cannot be used.
        exif, max_pixels, bits, channels: see `ReadOptions`.
        mm_per_pixel, homography: where the images show a plane, see `Plane.of`.
        verify: decode every image once, to find damaged ones and those that two splits share; results are kept
            in `cache_dir` until an image changes.
        cache_dir: of scans and decoded images; see `user_cache_dir`.
    """

    labels: Paths
    images: Paths | None = None
    format: str | None = None
    fetch: str | None = None
    mode: str = "image"
    boxes: str | None = None
    padding: float = 1.25
    categories: Sequence[str] | None = None
    keypoints: Sequence[str] | None = None
    flip_pairs: Pairs | None = None
    edges: Pairs | None = None
    skeleton: str = "same"
    missing: Missing = "auto"
    unlabeled: str = "unknown"
    out_of_frame: str = "error"
    on_error: str = "error"
    exif: str = "error"
    max_pixels: int = MAX_PIXELS
    bits: int | None = None
    channels: int | Sequence[int] = 3
    mm_per_pixel: float | Sequence[float] | None = None
    homography: str | Path | Sequence[Sequence[float]] | None = None
    verify: bool = True
    cache_dir: str | Path | None = None

    def __post_init__(self) -> None:
        sets = [self.labels] if isinstance(self.labels, str | Path) else self.labels
        if (
            not sets
            or not isinstance(sets, Sequence)
            or not all(isinstance(one, str | Path) and str(one) for one in sets)
        ):
            given = "null" if self.labels is None else self.labels
            raise ValueError(f"data.labels={given}: give a label file or a project's folder, or a list of them")
        check_choice("data.mode", self.mode, ("image", "instance", "multi"))
        marks_of(self.missing)
        if self.boxes not in BOX_SOURCES and self.mode == "image":
            raise ValueError(
                f"data.boxes={self.boxes} is for crops of single subjects; set data.mode=instance or multi too"
            )
        check_choice("data.skeleton", self.skeleton, ("same", "union"))
        check_choice("data.unlabeled", self.unlabeled, ("unknown", "absent"))
        if (self.skeleton, self.unlabeled) == ("union", "absent"):
            raise ValueError(
                "data.skeleton=union with data.unlabeled=absent would teach that a keypoint which a set never labels is"
                " not in its images; leave one of the two out"
            )
        check_choice("data.out_of_frame", self.out_of_frame, ("error", "drop"))
        check_choice("data.on_error", self.on_error, ("error", "skip"))
        _ = self.options, self.plane  # which check them

    @property
    def options(self) -> ReadOptions:
        """How the images are read."""
        return ReadOptions(self.exif, self.max_pixels, self.bits, check_channels(self.channels))

    @property
    def plane(self) -> Plane | None:
        """The plane that the images show; None where only pixels are known."""
        return Plane.of(self.mm_per_pixel, self.homography)


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
    return select_labels(labels, source.categories, source.keypoints, source.flip_pairs, source.edges)


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
    labels, sizes, boxes = _samples(labels, sizes, source, errors)
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


def _boxes(labels: Labels, source: LabelSource) -> np.ndarray:
    """Return the box (N, 4) of each subject: of the labels, or the one that a detector's file has of it."""
    if source.boxes in BOX_SOURCES:
        return subject_boxes(labels, source.boxes)
    file, sets = Path(str(source.boxes)), as_paths(source.labels)
    if not file.exists():
        raise FileNotFoundError(f"data.boxes={file} does not exist; give labels, keypoints, or a detector's file")
    image_file = sets[0] if len(sets) == 1 and sets[0].is_file() else None
    kinds = source.categories or ()
    found = read_boxes(file, labels.skeleton.names, kinds, source.missing, None, Path(labels.folder), image_file)
    own, boxes = subject_boxes(labels), matched_boxes(labels, found)
    matched = np.isfinite(boxes).all(1)
    if not matched.any():
        raise ValueError(
            f"data.boxes={file}: no box is about a labeled subject, first of {min(found)}; paths in it start from"
            f" {labels.folder}"
        )
    subjects = np.isfinite(own).all(1) & ~labels.crowds
    _log.warning(
        "%s: %d of %d subjects have no box in %s and keep that of the labels; %d of its %d boxes are of no subject",
        *(labels.source, (subjects & ~matched).sum(), subjects.sum(), file),
        *(sum(map(len, found.values())) - matched.sum(), sum(map(len, found.values()))),
    )
    return np.where(matched[:, None], boxes, own)


def _check_one_kind(labels: Labels) -> None:
    """Raise ValueError for categories of other keypoints, whose subjects would all be found as one kind."""
    kinds = {name: parts for name, parts in labels.categories.items() if parts}
    if len({frozenset(parts) for parts in kinds.values()}) > 1:
        (first, parts), (other, others) = list(kinds.items())[:2]
        raise ValueError(
            f"{labels.source} has categories of other keypoints, {first} ({', '.join(parts[:3])}) and {other}"
            f" ({', '.join(others[:3])}), and data.mode=multi finds subjects of one kind: train a model for each, by"
            f" data.categories=[{first}]"
        )


def _samples(
    labels: Labels, sizes: np.ndarray, source: LabelSource, errors: RowErrors
) -> tuple[Labels, np.ndarray, np.ndarray | None]:
    """Return labels, image sizes and boxes of the samples: images with one subject, or subjects that have a box."""
    single = ~labels.crowds
    if source.mode == "multi":
        _check_one_kind(labels)
        return labels, sizes, np.where(single[:, None], _boxes(labels, source), np.nan)
    if source.mode == "instance":
        boxes = _boxes(labels, source)
        rows = np.flatnonzero(single & np.isfinite(boxes).all(1))
        if left := len(labels) - len(rows):
            _log.info("%s: %d crowds and images without a subject give no crop", labels.source, left)
        return labels.select(rows), sizes[rows], boxes[rows]
    first: dict[str, str] = {}
    kept = []
    for row in np.flatnonzero(single).tolist():
        place, image = labels.places[row], labels.images[row]
        with errors.row(place, image):
            if (earlier := first.setdefault(labels.paths[row], place)) != place:
                raise ValueError(f"labels {image}, which {earlier} labels too")
            kept.append(row)
    errors.raise_or_warn(
        "with several subjects in an image set data.mode=multi, which also learns to find them, or data.mode=instance,"
        " which crops each box that you give"
    )
    return labels.select(kept), sizes[kept], None
