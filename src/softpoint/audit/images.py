"""Findings about images: unreadable, rotated by EXIF, of another size, duplicated, or shared by two splits."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from softpoint.audit.report import Example, Finding, finding_of
from softpoint.images import ImageFolder
from softpoint.images.duplicates import across_splits, identical, near_duplicates
from softpoint.images.listing import SUFFIXES
from softpoint.images.scan import Scan, unused_bits
from softpoint.labels.formats.parsing.path_search import LikelyNames
from softpoint.labels.groups import divided_groups, own_name_groups
from softpoint.labels.schema import Labels
from softpoint.labels.split import Split

_SAME_POINT = 2.0  # pixels within which two labels of one image count as equal
_NEWER = 3600.0  # seconds between images and labels that were not written together


def image_findings(
    labels: Labels,
    image_folder: ImageFolder,
    scans: Sequence[Scan],
    others: Sequence[Scan],
    splits: Mapping[str, Sequence[int]],
    severity: str,
) -> list[Finding]:
    """Return the findings about the subjects' images, one scan per subject, and about the unlabeled `others`.

    `severity` is that of a row that training cannot use.
    """
    return [
        *_unusable(labels, image_folder, scans, severity),
        *_size_mismatch(labels, scans, severity),
        *_replaced(labels, image_folder),
        *_duplicates(labels, scans),
        *_shared_by_splits(labels, scans, splits),
        *_near_duplicates(labels, scans),
        *_unlabeled(scans, others),
    ]


def unlabeled_images(labels: Labels, image_folder: ImageFolder, refused: Collection[str] = ()) -> list[str]:
    """Return the images without labels in the folders of labeled ones, relative to `image_folder.folder`.

    Those of rows that are `refused` are not among them.
    """
    labeled, folders = set(), set()
    for image in {*labels.images, *refused}:
        with suppress(ValueError):  # a path outside the folder, which is reported as unreadable
            labeled.add(path := image_folder.path(image))
            folders.add(path.parent)
    unlabeled: list[str] = []
    for folder in sorted(folders):
        with suppress(OSError):
            files = (path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES and path.is_file())
            unlabeled += [path.relative_to(image_folder.folder).as_posix() for path in files if path not in labeled]
    return unlabeled


def _unusable(labels: Labels, image_folder: ImageFolder, scans: Sequence[Scan], severity: str) -> list[Finding]:
    """Return the findings about images that cannot be read, that EXIF rotates, or of another depth or several pages."""
    first: dict[str, tuple[str, Scan]] = {}
    for path, place, scan in zip(labels.paths, labels.places, scans, strict=True):
        first.setdefault(path, (place, scan))
    likely = LikelyNames(image_folder.folder, labels.paths)
    unreadable, rotated = [], []
    for place, scan in first.values():
        if scan.orientation != 1:
            rotated.append(Example(scan.image, place, f"EXIF orientation {scan.orientation}"))
        elif scan.error is not None:
            unreadable.append(Example(scan.image, place, f"{scan.error}{likely.hint(scan.image)}"))
    copy_again = "copy them again, remove their rows, or leave them out by data.on_error=skip"
    rotation = "set data.exif=apply if the labels were made on upright images, data.exif=ignore if not"
    refused = image_folder.options.exif == "error"
    scans = [scan for _, scan in first.values()]
    dark = unused_bits(scans) if image_folder.options.bits is None else ""
    wide = [Example(scan.image, place, f"{scan.bits} bits") for place, scan in first.values() if scan.bits]
    paged = [Example(scan.image, place, f"{scan.pages} pages") for place, scan in first.values() if scan.pages > 1]
    if not refused:
        rotation = f"data.exif={image_folder.options.exif} is set: check in images.png that the labels fit"
    return [
        *finding_of("unreadable", severity, "images that cannot be read", unreadable, copy_again),
        *finding_of("bits", severity, "images of 16 bits that use fewer", wide if dark else [], dark),
        *finding_of(
            "pages",
            "info",
            "images with several pages or frames, of which the first is read",
            paged,
            "name another page as IMAGE/000001",
        ),
        *finding_of("exif", severity if refused else "info", "images with an EXIF orientation", rotated, rotation),
    ]


def _size_mismatch(labels: Labels, scans: Sequence[Scan], severity: str) -> list[Finding]:
    examples = []
    for index, (subject, scan) in enumerate(zip(labels.subjects, scans, strict=True)):
        if any(subject.size) and any(scan.size) and subject.size != scan.size:
            (height, width), (actual_height, actual_width) = subject.size, scan.size
            value = f"labeled at {width}x{height}, but the image is {actual_width}x{actual_height}"
            examples.append(Example(subject.image, subject.place, value, index))
    advice = "use the images that were labeled, or scale the labels to these"
    return finding_of("size_mismatch", severity, "subjects labeled on an image of another size", examples, advice)


def _replaced(labels: Labels, image_folder: ImageFolder) -> list[Finding]:
    """Return the finding about images that are newer than their labels, unless most are, as after a copy of the set."""
    source, newer = Path(labels.source), []
    images = dict(zip(labels.paths, range(len(labels)), strict=True))
    for index in images.values() if source.is_file() else []:
        with suppress(OSError, ValueError):  # an image that cannot be read is another finding
            seconds = image_folder.path(labels.images[index]).stat().st_mtime - source.stat().st_mtime
            if seconds > _NEWER:
                value = f"changed {seconds / 3600:.0f} h after the labels"
                newer.append(Example(labels.images[index], labels.places[index], value, index))
    advice = "if frames were extracted again, check in images.png that the labels are still about them"
    message = "images that changed after the labels were saved, unlike most others"
    return finding_of("replaced", "info", message, newer if 2 * len(newer) <= len(images) else [], advice)


def _duplicates(labels: Labels, scans: Sequence[Scan]) -> list[Finding]:
    equal, different = [], []
    poses = _poses_by_image(labels)
    for first, *copies in identical(scans):
        for copy in copies:
            example = Example(scans[copy].image, labels.places[copy], "", copy, other=scans[first].image)
            if difference := _label_difference(labels, poses, first, copy):
                different.append(example._replace(value=difference))
            else:
                equal.append(example._replace(value=f"equals {example.other}"))
    keep = "keep the better labels and remove the other rows; the difference shows the annotators' error"
    remove = "remove them: they count twice, and two splits may share them"
    message = "images identical to an earlier one"
    return [
        *finding_of("duplicate_labels_differ", "warning", f"{message} but labeled differently", different, keep),
        *finding_of("duplicate", "warning", message, equal, remove),
    ]


def _label_difference(labels: Labels, poses: Mapping[str, np.ndarray], first: int, copy: int) -> str:
    """Return how the labels of two identical images differ, or "" if they agree."""
    original, repeated = (poses[labels.paths[index]] for index in (first, copy))
    if len(original) != len(repeated):
        return f"{len(repeated)} subjects, {len(original)} in {labels.images[first]}"
    # Each subject against the most similar one; a point labeled in only one of the two is infinitely far.
    distance = np.linalg.norm(repeated[:, None] - original[None], axis=3)
    distance[np.isnan(repeated[:, None, :, 0]) != np.isnan(original[None, :, :, 0])] = np.inf
    distance = np.nan_to_num(distance, nan=0.0, posinf=np.inf)
    nearest = distance[np.arange(len(repeated)), distance.max(axis=2).argmin(axis=1)]
    if not len(repeated) or nearest.max() <= _SAME_POINT:
        return ""
    name = labels.skeleton.names[int(np.unravel_index(nearest.argmax(), nearest.shape)[1])]
    if np.isinf(nearest.max()):
        return f"{name} is labeled in only one of this image and {labels.images[first]}"
    return f"{name} is {nearest.max():.1f} px from its position in {labels.images[first]}"


def _poses_by_image(labels: Labels) -> dict[str, np.ndarray]:
    """Return the points (n, K, 2) of the labeled subjects in each image."""
    poses: dict[str, list[np.ndarray]] = {}
    for subject, path in zip(labels.subjects, labels.paths, strict=True):
        in_image = poses.setdefault(path, [])
        if subject.visibility.any():
            in_image.append(subject.keypoints)
    return {image: np.array(rows).reshape(len(rows), len(labels.skeleton), 2) for image, rows in poses.items()}


def _shared_by_splits(labels: Labels, scans: Sequence[Scan], splits: Mapping[str, Sequence[int]]) -> list[Finding]:
    place = dict(zip(labels.images, labels.places, strict=True))
    exact: list[Example] = []
    near: list[Example] = []
    for leak in across_splits(scans, splits):
        relation = "identical to" if leak.identical else f"{leak.distance} of 255 bits from"
        value = f"{leak.split}, {relation} {leak.twin} in {leak.twin_split}"
        (exact if leak.identical else near).append(Example(leak.image, place[leak.image], value, other=leak.twin))
    advice = "keep such images in one split: name the splits in data.splits, or use one folder per video"
    message = "held-out images that are {} an image of an earlier split"
    return [
        *finding_of("split_duplicate", "warning", message.format("identical to"), exact, advice),
        *finding_of("split_near_duplicate", "warning", message.format("nearly identical to"), near, advice),
    ]


def name_group_findings(labels: Labels, splits: Mapping[str, Sequence[int]], split: Split) -> list[Finding]:
    """Return a finding about groups that file names show: whole, or with held-out images that are of one that trains.

    `split` holds the rules that led to `splits`; where it states groups, names are not asked.
    """
    if split.group == "auto" and (found := own_name_groups(labels)) and found.certain:
        message, advice = f"groups by file names, such as {found.example}", "none needed; data.group=none divides them"
        whole = [Finding("name_groups", "info", message, [], advice, found.number)]
    else:
        whole = []
    if not splits or (divided := divided_groups(labels, splits, split)) is None:
        return whole
    row, twin = divided.example
    other = labels.images[twin]
    example = Example(
        labels.images[row], labels.places[row], f"by its name of one group with {other} in train", row, other=other
    )
    count, severity = sum(divided.held_out.values()), "warning" if divided.found.certain else "info"
    advice = divided.advice(split.splits)
    return [*whole, Finding("split_name_group", severity, divided.message, [example], advice, count)]


def _near_duplicates(labels: Labels, scans: Sequence[Scan]) -> list[Finding]:
    examples = [
        Example(scans[j].image, labels.places[j], f"nearly equals {scans[i].image}", other=scans[i].image)
        for i, j in near_duplicates(scans)
    ]
    advice = "none needed while they are in one split; labels of more varied images teach more"
    return finding_of("near_duplicate", "info", "pairs of nearly identical images", examples, advice)


def _unlabeled(scans: Sequence[Scan], others: Sequence[Scan]) -> list[Finding]:
    labeled = {scan.digest: scan.image for scan in scans if scan.digest}
    copies, rest = [], []
    for scan in others:
        if twin := labeled.get(scan.digest):
            copies.append(Example(scan.image, "", f"equals {twin}", other=twin))
        else:
            rest.append(Example(scan.image, "", scan.error or "no labels"))
    message = "images without labels that equal a labeled one"
    return [
        *finding_of("unlabeled_duplicate", "info", message, copies, "none needed"),
        *finding_of("unlabeled", "info", "images without labels beside labeled ones", rest, "label or ignore them"),
    ]
