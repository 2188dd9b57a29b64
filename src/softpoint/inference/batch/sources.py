"""Sources of predictions: an image, a folder, a pattern, videos, or the images of a label file."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np

from softpoint.images import ImageFolder
from softpoint.images.channels import Channels, are_bands
from softpoint.images.containers import find, page_names, page_paths
from softpoint.images.listing import ARRAY, SUFFIXES, image_files
from softpoint.images.live import SCHEMES
from softpoint.images.video import VIDEO_SUFFIXES, Video
from softpoint.inference.batch.stream import Item
from softpoint.labels.formats import read_labels, recognize
from softpoint.paths import natural_key, normalize_path
from softpoint.suggest import without_data

# Boxes (N, 4) of the subjects in each image or frame, by its path.
Boxes = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class ImageSource:
    """Images below one folder, predicted together."""

    folder: Path
    names: tuple[str, ...]  # relative to the folder
    labels: Path | None = None  # the label file that names them
    output: ClassVar[str] = ""  # folder of the results, relative to that of the job
    kind: ClassVar[str] = "image"

    @property
    def path(self) -> Path:
        """The path for messages."""
        if self.labels is not None:
            return self.labels
        if len(self.names) == 1:
            return self.folder / self.names[0]
        parents = {(self.folder / name).parent for name in self.names}
        shared = parents.pop()
        return shared if not parents and shared.is_file() else self.folder

    def states(self) -> Iterator[str]:
        """Yield size and time of change of the file of each image; nothing for one that is missing."""
        for name in self.names:
            yield _state(str(self.folder / name))

    def with_boxes(self, boxes: Boxes) -> ImageSource:
        """Return the images that have boxes; ValueError if none has."""
        names = tuple(name for name in self.names if normalize_path(name) in boxes)
        if not names:
            raise ValueError(f"boxes: no image of source={self.path} has a box; paths in it start at {self.folder}")
        return ImageSource(self.folder, names, self.labels)

    def items(self, image_folder: ImageFolder, boxes: Boxes | None, start: int = 0) -> Iterator[Item]:
        """Yield the images from number `start` on; one that cannot be read has an error instead."""
        for number, name in enumerate(self.names[start:], start):
            own = None if boxes is None else boxes[normalize_path(name)]
            try:
                yield Item(number, name, float("nan"), image_folder.read(name), own)
            except (ValueError, FileNotFoundError) as error:
                yield Item(number, name, float("nan"), None, own, without_data(str(error)))


@dataclass(frozen=True)
class VideoSource:
    """A video, predicted frame by frame."""

    path: Path
    name: str  # relative to the folder that paths of boxes start at
    output: str = ""  # folder of the results, relative to that of the job
    kind: ClassVar[str] = "frame"

    @property
    def folder(self) -> Path:
        """The folder that its name starts at."""
        return self.path.parents[len(Path(self.name).parts) - 1]

    def items(self, video: Video, boxes: Boxes | None, start: int = 0) -> Iterator[Item]:
        """Yield the frames from number `start` on; one that cannot be decoded has an error instead.

        With boxes, a frame without any has no subject.
        """
        by_frame = None if boxes is None else self._by_frame(boxes)
        for frame in video.play(start):
            own = None if by_frame is None else by_frame.get(frame.number, np.empty((0, 4)))
            yield Item(frame.number, str(frame.number), frame.time, frame.pixels, own, frame.error)

    def max_boxes(self, boxes: Boxes) -> int:
        """Return the largest number of boxes in a frame; ValueError if no frame has one."""
        if not (by_frame := self._by_frame(boxes)):
            raise ValueError(
                f"boxes: no frame of {self.name} has a box; name frames {self.name}/000012, counted from 0"
            )
        return max(map(len, by_frame.values()))

    def _by_frame(self, boxes: Boxes) -> dict[int, np.ndarray]:
        """Return the boxes by frame number."""
        video, result = normalize_path(self.name), {}
        for path, own in boxes.items():
            parent, _, number = path.rpartition("/")
            if parent == video and number.isascii() and number.isdigit():
                result[int(number)] = own
        return result


Source = ImageSource | VideoSource


def find_sources(source: str, output: Path | None = None, channels: Channels = 3) -> list[Source]:
    """Return the sources at a path or pattern: all its images together, and each video.

    Folders are searched recursively, and patterns where they have **; a label file stands for the images it names;
    CLIP.mp4/000012 is a single frame. Hidden files are skipped, and folders with results: `output` and those that
    hold a job.json. Where images are read with their bands as `channels`, pages are these, and there is no video.
    Raises FileNotFoundError for a path that does not exist, and ValueError where nothing can be predicted or `output`
    is the source itself.
    """
    sources = _found(source, output, channels)
    if are_bands(channels) and (video := next((one for one in sources if isinstance(one, VideoSource)), None)):
        raise ValueError(colors_for_bands(f"the frames of {video.path}", channels))
    return sources


def colors_for_bands(what: str, channels: Channels) -> str:
    """Return the message that something has colors where a model reads bands."""
    bands = f"bands {list(channels)}" if isinstance(channels, tuple) else f"{channels} bands"
    return f"{what} have colors, and this model reads the {bands} of images; name a folder or pattern of such images"


def _found(source: str, output: Path | None, channels: Channels) -> list[Source]:
    path = Path(source)
    if path.is_dir():
        return _group(path, _visible_files(path, path.rglob("*"), output), f"{source} holds", channels)
    if path.is_file():
        return [_file_source(path, channels)]
    if glob.has_magic(source):
        matches = [Path(name) for name in glob.glob(source, recursive=True)]  # noqa: PTH207, it may be absolute
        if not matches:
            raise FileNotFoundError(f"source={source} matches nothing; quote it, so that the shell does not expand it")
        # The folders of the pattern before the first that is a pattern itself.
        depth = next(i for i, part in enumerate(path.parts) if glob.has_magic(part))
        folder = Path(*path.parts[:depth])
        return _group(folder, _visible_files(folder, matches, output), f"source={source} matches", channels)
    if (frame := find(path)) is not None:
        return [ImageSource(frame.container.parent, (f"{frame.container.name}/{frame.inside}",))]
    raise FileNotFoundError(
        f"source={source} does not exist; name an image, a video, a folder, a pattern such as 'day1/*.mp4', a label"
        f" file, the number of a camera, or an address {SCHEMES[0]}://... or http://..."
    )


def _file_source(path: Path, channels: Channels) -> Source:
    suffix = path.suffix.lower()
    if suffix in (*SUFFIXES, ARRAY):
        return ImageSource(path.parent, tuple(page_names(path, channels)))
    if suffix in VIDEO_SUFFIXES:
        return VideoSource(path, path.name)
    try:
        recognize(path)
    except ValueError:
        raise ValueError(
            f"{path} is no image ({' '.join(SUFFIXES)}), no video ({' '.join(VIDEO_SUFFIXES)}), and in no known"
            " label format"
        ) from None
    labels = read_labels(path)
    folder = Path(labels.folder)
    names = dict.fromkeys(map(ImageFolder(folder).relative, labels.images))
    return ImageSource(folder, tuple(names), path)


def _visible_files(folder: Path, paths: Iterable[Path], output: Path | None) -> list[Path]:
    """Return the files that are neither hidden nor results of an earlier job, numbers in order."""
    top, results = folder.resolve(), None if output is None else output.resolve()
    if results == top:
        raise ValueError(f"output={output} is the folder that is predicted; name another")

    @cache
    def is_result(place: Path) -> bool:
        if top not in place.parents:
            return False
        return place == results or (place / "job.json").is_file() or is_result(place.parent)

    def is_hidden(path: Path) -> bool:
        return any(part.startswith(".") and part != ".." for part in path.relative_to(folder).parts)

    shown = (p for p in paths if not is_hidden(p) and not is_result(p.resolve().parent) and p.is_file())
    return sorted(shown, key=natural_key)


def _state(path: str) -> str:
    """Return size and time of change of a file, or of the one that holds the page; "" for none.

    >>> _state(__file__) == _state(f"{__file__}/video0/000012"), _state("missing.png")
    (True, '')
    """
    try:
        status = os.stat(path)  # noqa: PTH116, of 100,000 files
    except NotADirectoryError:
        return _state(os.path.dirname(path))  # noqa: PTH120
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"


def _group(folder: Path, paths: list[Path], begin: str, channels: Channels) -> list[Source]:
    """Return the images among the paths as one source, and each video as one."""
    images = tuple(page_paths(folder, image_files(paths), channels))
    videos = [path.relative_to(folder).as_posix() for path in paths if path.suffix.lower() in VIDEO_SUFFIXES]
    if not images and not videos:
        suffixes = f"{' '.join(SUFFIXES)} and {' '.join(VIDEO_SUFFIXES)}"
        raise ValueError(f"{begin} no image and no video; looked for {suffixes}")
    sources: list[Source] = [ImageSource(folder, images)] if images else []
    # Results of a video go to a folder of its name.
    outputs = without_suffixes(videos)
    return sources + [VideoSource(folder / v, v, o) for v, o in zip(videos, outputs, strict=True)]


def without_suffixes(names: Sequence[str]) -> list[str]:
    """Return the paths without their suffixes, but with them where two would then be the same.

    >>> without_suffixes(["a.png", "day1/b.jpg", "day1/b.png", "film.tif/000001"])
    ['a', 'day1/b.jpg', 'day1/b.png', 'film.tif/000001']
    """
    stems = [str(PurePosixPath(name).with_suffix("")) for name in names]
    counts, taken = Counter(stems), set(names)
    return [stem if counts[stem] == 1 and stem not in taken else name for name, stem in zip(names, stems, strict=True)]
