"""What is wrong with the pictures: unreadable, turned, of another size, the same twice, or on both sides of a split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

import numpy as np

from softpoint.data.doctor.report import Example, Finding, found
from softpoint.data.labels import Labels, same_path
from softpoint.data.pictures import Pictures
from softpoint.data.pictures.images import SUFFIXES
from softpoint.data.pictures.repeats import Leak, across_splits, identical, near_duplicates
from softpoint.data.pictures.scan import Scan

# Labels of one picture that differ by more, in pixels, are different labels.
_SAME_POINT = 2.0


def look_at_pictures(
    labels: Labels,
    pictures: Pictures,
    scans: Sequence[Scan],
    others: Sequence[Scan],
    splits: Mapping[str, Sequence[int]],
    severity: str,
) -> list[Finding]:
    """Findings about the pictures of the labels, one scan a subject, and about `others` beside them.

    `severity` is that of a row that training cannot use.
    """
    return [
        *_unreadable(labels, scans, severity),
        *_turned(labels, pictures, scans, severity),
        *_other_size(labels, scans, severity),
        *_identical(labels, scans),
        *_across(labels, scans, splits),
        *_near(labels, scans),
        *_others(scans, others),
    ]


def unlabelled_pictures(labels: Labels, pictures: Pictures) -> list[str]:
    """Pictures without labels in the folders where labelled ones lie, relative to `pictures.folder`."""
    labelled, folders = set(), set()
    for image in set(labels.images):
        with suppress(ValueError):  # one outside the folder is told elsewhere
            labelled.add(path := pictures.path(image))
            folders.add(path.parent)
    found: list[str] = []
    for folder in sorted(folders):
        with suppress(OSError):
            beside = (path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES and path.is_file())
            found += [path.relative_to(pictures.folder).as_posix() for path in beside if path not in labelled]
    return found


def _each_picture(labels: Labels, scans: Sequence[Scan]) -> Iterator[tuple[str, Scan]]:
    """Place and scan of each picture, once."""
    seen = set()
    for place, scan in zip(labels.places, scans, strict=True):
        if (key := same_path(scan.image)) not in seen:
            seen.add(key)
            yield place, scan


def _unreadable(labels: Labels, scans: Sequence[Scan], severity: str) -> list[Finding]:
    examples = [
        Example(scan.image, place, scan.error)
        for place, scan in _each_picture(labels, scans)
        if scan.error is not None and scan.orientation == 1
    ]
    way_out = "copy them again, remove their rows, or leave them out by data.on_error=skip"
    return found("unreadable", severity, "pictures that cannot be read: {n}", examples, way_out)


def _turned(labels: Labels, pictures: Pictures, scans: Sequence[Scan], severity: str) -> list[Finding]:
    examples = [
        Example(scan.image, place, f"EXIF orientation {scan.orientation}")
        for place, scan in _each_picture(labels, scans)
        if scan.orientation != 1
    ]
    message = "pictures to be turned, as their EXIF says: {n}"
    if pictures.exif == "error":
        way_out = "set data.exif=apply where the labels were made on upright pictures, data.exif=ignore where not"
        return found("exif", severity, message, examples, way_out)
    way_out = f"data.exif={pictures.exif} is in force: look at pictures.png to see that their labels fit"
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
    way_out = "use the pictures that were labelled, or scale the labels to these"
    return found("size", severity, "subjects labelled on a picture of another size: {n}", examples, way_out)


def _identical(labels: Labels, scans: Sequence[Scan]) -> list[Finding]:
    alike, different = [], []
    poses = _poses_by_picture(labels)
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
            "pictures identical to an earlier one but labelled otherwise: {n}",
            different,
            "keep the better labels and remove the other rows; their difference is the labellers' error",
        ),
        *found(
            "identical",
            "warning",
            "pictures identical to an earlier one: {n}",
            alike,
            "remove them: they count twice, and may stand on both sides of a split",
        ),
    ]


def _labels_apart(labels: Labels, poses: Mapping[str, np.ndarray], first: int, second: int) -> str:
    """How the labels of two identical pictures differ; "" where they do not."""
    there, here = (poses[same_path(labels.images[index])] for index in (first, second))
    if len(there) != len(here):
        return f"{len(here)} subjects, {len(there)} in {labels.images[first]}"
    # Each subject against the one most like it; a point labelled in one of the two is as far as can be.
    apart = np.linalg.norm(here[:, None] - there[None], axis=3)
    apart[np.isnan(here[:, None, :, 0]) != np.isnan(there[None, :, :, 0])] = np.inf
    apart = np.nan_to_num(apart, nan=0.0, posinf=np.inf)
    nearest = apart[np.arange(len(here)), apart.max(axis=2).argmin(axis=1)]
    if not len(here) or nearest.max() <= _SAME_POINT:
        return ""
    distance, name = nearest.max(), labels.skeleton.names[int(np.unravel_index(nearest.argmax(), nearest.shape)[1])]
    if np.isinf(distance):
        return f"{name} is labelled here or in {labels.images[first]} alone"
    return f"{name} lies {distance:.1f} px from where {labels.images[first]} has it"


def _poses_by_picture(labels: Labels) -> dict[str, np.ndarray]:
    """Points (n, K, 2) of the labelled subjects in each picture."""
    poses: dict[str, list[np.ndarray]] = {}
    for subject in labels.subjects:
        here = poses.setdefault(same_path(subject.image), [])
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

    way_out = "keep such pictures in one split: name splits in data.splits, or one folder a video"
    same = [example(leak) for leak in leaks if leak.identical]
    near = [example(leak) for leak in leaks if not leak.identical]
    return [
        *found("split_identical", "warning", "held-out pictures that are also in an earlier split: {n}", same, way_out),
        *found(
            "split_near", "warning", "held-out pictures nearly the same as one in an earlier split: {n}", near, way_out
        ),
    ]


def _near(labels: Labels, scans: Sequence[Scan]) -> list[Finding]:
    examples = [
        Example(scans[j].image, labels.places[j], f"nearly equals {scans[i].image}", other=scans[i].image)
        for i, j in near_duplicates(scans)
    ]
    way_out = "nothing, if they stay in one split; labelling more different pictures teaches more"
    return found("near", "info", "pairs of pictures that are nearly the same: {n}", examples, way_out)


def _others(scans: Sequence[Scan], others: Sequence[Scan]) -> list[Finding]:
    """Pictures that lie beside the labelled ones without being labelled."""
    labelled = {scan.digest: scan.image for scan in scans if scan.digest}
    repeats = [
        Example(scan.image, "", f"equals {labelled[scan.digest]}", other=labelled[scan.digest])
        for scan in others
        if scan.digest in labelled
    ]
    rest = [Example(scan.image, "", scan.error or "no labels") for scan in others if scan.digest not in labelled]
    return [
        *found(
            "other_identical",
            "info",
            "pictures without labels that repeat a labelled one: {n}",
            repeats,
            "nothing to do",
        ),
        *found(
            "other", "info", "pictures without labels beside the labelled ones: {n}", rest, "label them, or leave them"
        ),
    ]
