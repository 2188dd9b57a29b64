"""What is wrong with the images: unreadable, turned, of another size, the same twice, or on both sides of a split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

import numpy as np

from softpoint.audit.report import Example, Finding, found
from softpoint.images import ImageFolder
from softpoint.images.decode import SUFFIXES
from softpoint.images.duplicates import Leak, across_splits, identical, near_duplicates
from softpoint.images.scan import Scan
from softpoint.labels.schema import Labels
from softpoint.paths import normalize_path

# Labels of one image that differ by more, in pixels, are different labels.
_SAME_POINT = 2.0


def look_at_images(
    labels: Labels,
    image_folder: ImageFolder,
    scans: Sequence[Scan],
    others: Sequence[Scan],
    splits: Mapping[str, Sequence[int]],
    severity: str,
) -> list[Finding]:
    """Findings about the images of the labels, one scan a subject, and about `others` beside them.

    `severity` is that of a row that training cannot use.
    """
    return [
        *_unreadable(labels, scans, severity),
        *_turned(labels, image_folder, scans, severity),
        *_other_size(labels, scans, severity),
        *_identical(labels, scans),
        *_across(labels, scans, splits),
        *_near(labels, scans),
        *_others(scans, others),
    ]


def unlabeled_images(labels: Labels, image_folder: ImageFolder) -> list[str]:
    """Images without labels in the folders where labeled ones lie, relative to `images.folder`."""
    labeled, folders = set(), set()
    for image in set(labels.images):
        with suppress(ValueError):  # one outside the folder is told elsewhere
            labeled.add(path := image_folder.path(image))
            folders.add(path.parent)
    found: list[str] = []
    for folder in sorted(folders):
        with suppress(OSError):
            beside = (path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES and path.is_file())
            found += [path.relative_to(image_folder.folder).as_posix() for path in beside if path not in labeled]
    return found


def _each_image(labels: Labels, scans: Sequence[Scan]) -> Iterator[tuple[str, Scan]]:
    """Place and scan of each image, once."""
    seen = set()
    for place, scan in zip(labels.places, scans, strict=True):
        if (key := normalize_path(scan.image)) not in seen:
            seen.add(key)
            yield place, scan


def _unreadable(labels: Labels, scans: Sequence[Scan], severity: str) -> list[Finding]:
    examples = [
        Example(scan.image, place, scan.error)
        for place, scan in _each_image(labels, scans)
        if scan.error is not None and scan.orientation == 1
    ]
    way_out = "copy them again, remove their rows, or leave them out by data.on_error=skip"
    return found("unreadable", severity, "images that cannot be read: {n}", examples, way_out)


def _turned(labels: Labels, image_folder: ImageFolder, scans: Sequence[Scan], severity: str) -> list[Finding]:
    examples = [
        Example(scan.image, place, f"EXIF orientation {scan.orientation}")
        for place, scan in _each_image(labels, scans)
        if scan.orientation != 1
    ]
    message = "images to be turned, as their EXIF says: {n}"
    if image_folder.exif == "error":
        way_out = "set data.exif=apply where the labels were made on upright images, data.exif=ignore where not"
        return found("exif", severity, message, examples, way_out)
    way_out = f"data.exif={image_folder.exif} is in force: look at images.png to see that their labels fit"
    return found("exif", "info", message, examples, way_out)


def _other_size(labels: Labels, scans: Sequence[Scan], severity: str) -> list[Finding]:
    examples = [
        Example(
            subject.image,
            subject.place,
            f"the labels say {subject.size[1]}x{subject.size[0]}, it is {scan.size[1]}x{scan.size[0]}",
            index,
        )
        for index, (subject, scan) in enumerate(zip(labels.subjects, scans, strict=True))
        if any(subject.size) and any(scan.size) and subject.size != scan.size
    ]
    way_out = "use the images that were labeled, or scale the labels to these"
    return found("size", severity, "subjects labeled on an image of another size: {n}", examples, way_out)


def _identical(labels: Labels, scans: Sequence[Scan]) -> list[Finding]:
    alike, different = [], []
    poses = _poses_by_image(labels)
    for group in identical(scans):
        for other in group[1:]:
            apart = _labels_apart(labels, poses, group[0], other)
            example = Example(scans[other].image, labels.places[other], "", other, other=scans[group[0]].image)
            if apart:
                different.append(example._replace(value=apart))
            else:
                alike.append(example._replace(value=f"equals {example.other}"))
    return [
        *found(
            "identical_labels_differ",
            "warning",
            "images identical to an earlier one but labeled otherwise: {n}",
            different,
            "keep the better labels and remove the other rows; their difference is the labellers' error",
        ),
        *found(
            "identical",
            "warning",
            "images identical to an earlier one: {n}",
            alike,
            "remove them: they count twice, and may stand on both sides of a split",
        ),
    ]


def _labels_apart(labels: Labels, poses: Mapping[str, np.ndarray], first: int, second: int) -> str:
    """How the labels of two identical images differ; "" where they do not."""
    there, here = (poses[normalize_path(labels.images[index])] for index in (first, second))
    if len(there) != len(here):
        return f"{len(here)} subjects, {len(there)} in {labels.images[first]}"
    # Each subject against the one most like it; a point labeled in one of the two is as far as can be.
    apart = np.linalg.norm(here[:, None] - there[None], axis=3)
    apart[np.isnan(here[:, None, :, 0]) != np.isnan(there[None, :, :, 0])] = np.inf
    apart = np.nan_to_num(apart, nan=0.0, posinf=np.inf)
    nearest = apart[np.arange(len(here)), apart.max(axis=2).argmin(axis=1)]
    if not len(here) or nearest.max() <= _SAME_POINT:
        return ""
    distance, name = nearest.max(), labels.skeleton.names[int(np.unravel_index(nearest.argmax(), nearest.shape)[1])]
    if np.isinf(distance):
        return f"{name} is labeled here or in {labels.images[first]} alone"
    return f"{name} lies {distance:.1f} px from where {labels.images[first]} has it"


def _poses_by_image(labels: Labels) -> dict[str, np.ndarray]:
    """Points (n, K, 2) of the labeled subjects in each image."""
    poses: dict[str, list[np.ndarray]] = {}
    for subject in labels.subjects:
        here = poses.setdefault(normalize_path(subject.image), [])
        if subject.visibility.any():
            here.append(subject.keypoints)
    return {image: np.array(here).reshape(len(here), len(labels.skeleton), 2) for image, here in poses.items()}


def _across(labels: Labels, scans: Sequence[Scan], splits: Mapping[str, Sequence[int]]) -> list[Finding]:
    leaks = across_splits(scans, splits)
    place = dict(zip(labels.images, labels.places, strict=True))

    def example(leak: Leak) -> Example:
        what = "identical to" if leak.identical else f"{leak.distance} of 255 bits from"
        value = f"{leak.split}, {what} {leak.twin} in {leak.twin_split}"
        return Example(leak.image, place[leak.image], value, other=leak.twin)

    way_out = "keep such images in one split: name splits in data.splits, or one folder a video"
    same = [example(leak) for leak in leaks if leak.identical]
    near = [example(leak) for leak in leaks if not leak.identical]
    return [
        *found("split_identical", "warning", "held-out images that are also in an earlier split: {n}", same, way_out),
        *found(
            "split_near", "warning", "held-out images nearly the same as one in an earlier split: {n}", near, way_out
        ),
    ]


def _near(labels: Labels, scans: Sequence[Scan]) -> list[Finding]:
    examples = [
        Example(scans[j].image, labels.places[j], f"nearly equals {scans[i].image}", other=scans[i].image)
        for i, j in near_duplicates(scans)
    ]
    way_out = "nothing, if they stay in one split; labeling more different images teaches more"
    return found("near", "info", "pairs of images that are nearly the same: {n}", examples, way_out)


def _others(scans: Sequence[Scan], others: Sequence[Scan]) -> list[Finding]:
    """Images that lie beside the labeled ones without being labeled."""
    labeled = {scan.digest: scan.image for scan in scans if scan.digest}
    repeats = [
        Example(scan.image, "", f"equals {labeled[scan.digest]}", other=labeled[scan.digest])
        for scan in others
        if scan.digest in labeled
    ]
    rest = [Example(scan.image, "", scan.error or "no labels") for scan in others if scan.digest not in labeled]
    return [
        *found(
            "other_identical",
            "info",
            "images without labels that repeat a labeled one: {n}",
            repeats,
            "nothing to do",
        ),
        *found(
            "other", "info", "images without labels beside the labeled ones: {n}", rest, "label them, or leave them"
        ),
    ]
