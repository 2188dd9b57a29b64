"""Chosen images as a folder, with their predictions as labels to correct, in the formats of tools for labeling."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from softpoint.images.scan import scan
from softpoint.images.video import Video
from softpoint.inference.batch.predictions import Predictions, Row
from softpoint.inference.batch.sources import VideoSource
from softpoint.inference.batch.writers import dlc, slp
from softpoint.labels.formats import coco, dlc_csv
from softpoint.labels.schema import OCCLUDED, UNLABELED, VISIBLE, Labels, Subject
from softpoint.labels.skeleton import Skeleton
from softpoint.selection.candidates import Candidate, Reading
from softpoint.viz import write_image

IMAGES, LABELED_DATA = "images", "labeled-data"
COCO, SLEAP = "labels_coco.json", "labels.slp"
_MARGIN = 0.1  # of the extent of the points, around their box


class Copy(NamedTuple):
    """A chosen image, and the path of its copy below `images`."""

    file: str  # FOLDER/NAME
    candidate: Candidate


def copy_images(chosen: Sequence[Candidate], output: Path, reading: Reading) -> Iterator[tuple[Copy, np.ndarray]]:
    """Copy the chosen images to `output`/images, and yield each with its pixels.

    A file stays as it is; frames, pages and images that an EXIF orientation turns become PNG. Frames of a video are
    decoded again, in their order.
    """
    taken: set[str] = set()
    video: Video | None = None
    for one in sorted(chosen, key=lambda one: (str(one.source.path), one.number)):
        file, original = _file(one), None
        if isinstance(one.source, VideoSource):
            if video is None or video.path != one.source.path:
                video = Video(one.source.path, reading.max_pixels)
            pixels = video.read(one.number)
        else:
            folder = reading.folder(one.source.folder)
            pixels = folder.read(one.name)
            if folder.path(one.name).is_file() and scan(folder, [one.name])[0].orientation == 1:
                original = folder.path(one.name)
            else:
                file = str(PurePosixPath(file).with_suffix(".png"))
        file = _unique(file, taken)
        path = output / IMAGES / file
        if path.exists():
            raise FileExistsError(f"{path} exists, and is not overwritten; name a new folder by output=FOLDER")
        path.parent.mkdir(parents=True, exist_ok=True)
        if original is None:
            write_image(path, pixels)
        else:
            shutil.copyfile(original, path)
        yield Copy(file, one), pixels


def _file(one: Candidate) -> str:
    """Return FOLDER/NAME of a copy: tools for labeling have one folder per video."""
    path = PurePosixPath(one.name)
    if path.name.isdigit():  # a frame or a page
        return f"{'_'.join([*path.parts[:-2], PurePosixPath(path.parts[-2]).stem])}/img{int(path.name):06d}.png"
    return f"{'_'.join(path.parts[:-1]) or one.source.folder.resolve().name}/{path.name}"


def _unique(file: str, taken: set[str]) -> str:
    path = PurePosixPath(file)
    names = (str(path.with_stem(path.stem + (f"_{n}" if n > 1 else ""))) for n in count(1))
    name = next(name for name in names if name.lower() not in taken)
    taken.add(name.lower())
    return name


def write_prelabels(
    copies: Sequence[Copy], output: Path, skeleton: Skeleton, threshold: float, scorer: str
) -> tuple[list[str], list[str]]:
    """Write the predictions of the copied images as labels; return the files, and remarks on those that are not there.

    Keypoints of less confidence than `threshold`, and those outside their image, are unlabeled. All files hold the same
    points: COCO with boxes, SLEAP's project, and one folder of DeepLabCut per video with the labels of `scorer`.
    """
    subjects = [subject for copy in copies for subject in subjects_of(copy, threshold)]
    labels = Labels(str(output), str(output), skeleton, tuple(subjects))
    sizes = np.array([subject.size for subject in subjects])
    coco.write(labels, output / COCO, sizes)
    written, remarks = [COCO], list[str]()
    _write_dlc(labels, output, scorer, remarks)
    written.append(f"{LABELED_DATA}/")
    try:
        slp.write(output / SLEAP, _as_predictions(copies, output, skeleton, threshold), placed=True)
        written.append(SLEAP)
    except ImportError as error:
        remarks.append(f"no {SLEAP}: {error}")
    return written, remarks


def subjects_of(copy: Copy, threshold: float) -> list[Subject]:
    """Return the labels of an image: its subjects that have a point, or an empty one."""
    labeled = [_subject(copy, i, threshold) for i in range(len(copy.candidate.predictions))]
    return [subject for subject in labeled if (subject.visibility > 0).any()] or [replace(labeled[0], box=None)]


def _subject(copy: Copy, index: int, threshold: float) -> Subject:
    one, prediction = copy.candidate, copy.candidate.predictions[index]
    points = np.round(prediction["keypoints"].astype(np.float64), 3)
    inside = ((points >= -0.5) & (points <= np.array(one.size[::-1]) - 0.5)).all(1)
    keep = inside & (prediction["confidence"] >= threshold)
    states = np.where(keep, VISIBLE, UNLABELED)
    if "visibility" in prediction:
        states[keep & (prediction["visibility"][:, 1] > prediction["visibility"][:, 2])] = OCCLUDED
    points = np.where(keep[:, None], points, np.nan)
    edges = None
    if keep.any():
        left, top, right, bottom = _box(points, one.size) if one.boxes is None else one.boxes[index].tolist()
        edges = (left, top, right, bottom)
    area = float("nan") if edges is None else (right - left) * (bottom - top)
    return Subject(f"{IMAGES}/{copy.file}", copy.file, points, states, edges, area=area, size=one.size)


def _box(points: np.ndarray, size: tuple[int, int]) -> list[float]:
    """Return the edges of the box about points (K, 2), some of which are not NaN, with a margin within the image."""
    low, high = np.nanmin(points, 0) - 0.5, np.nanmax(points, 0) + 0.5
    margin = _MARGIN * float((high - low).max())
    edges = np.array([-0.5, -0.5]), np.array(size[::-1]) - 0.5
    return [*np.maximum(low - margin, edges[0]).tolist(), *np.minimum(high + margin, edges[1]).tolist()]


def _write_dlc(labels: Labels, output: Path, scorer: str, remarks: list[str]) -> None:
    """Write a folder per video with its images, linked where the disk can, and CollectedData as CSV and HDF5."""
    folders: dict[str, list[Subject]] = {}
    for subject in labels.subjects:
        folder, _, name = subject.place.partition("/")
        path = output / LABELED_DATA / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # a subject before had the same image
        try:
            os.link(output / subject.image, path)
        except OSError:
            shutil.copyfile(output / subject.image, path)
        plain = replace(subject, image=f"{LABELED_DATA}/{subject.place}", box=None, area=float("nan"), size=(0, 0))
        folders.setdefault(folder, []).append(plain)
    for folder, subjects in folders.items():
        own = replace(labels, subjects=tuple(subjects))
        path = output / LABELED_DATA / folder / f"CollectedData_{scorer}.csv"
        dlc_csv.write(own, path, np.zeros((len(subjects), 2)), scorer)
        try:
            dlc.write_labels_h5(path.with_suffix(".h5"), path)
        except ImportError as error:
            remarks.append(f"no HDF5 beside {path.name}, which deeplabcut.convertcsv2h5 makes: {error}")


def _as_predictions(copies: Sequence[Copy], output: Path, skeleton: Skeleton, threshold: float) -> Predictions:
    """Return the labels of the copies in the form of a writer of predictions."""
    K = len(skeleton)

    def rows() -> Iterator[Row]:
        for number, copy in enumerate(copies):
            for i, subject in enumerate(subjects_of(copy, threshold)):
                has_points = bool((subject.visibility > 0).any())
                nothing = np.full((K, 2, 2), np.nan)
                yield Row(
                    number, i, has_points, float("nan"), subject.size, "", np.full(4, np.nan),
                    subject.keypoints, np.ones(K), nothing, None,
                )  # fmt: skip

    return Predictions(skeleton, output / IMAGES, tuple(copy.file for copy in copies), rows)
