"""What is to be predicted: an image, a folder, a glob, videos, or the images that labels name."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from softpoint.images import ImageFolder
from softpoint.images.containers import find
from softpoint.images.decode import SUFFIXES
from softpoint.images.video_play import Playback
from softpoint.images.video_seek import VIDEO_SUFFIXES
from softpoint.inference.batch.stream import Shot
from softpoint.labels.formats import read_labels, recognize
from softpoint.labels.schema import Labels
from softpoint.paths import normalize_path

# Boxes (N, 4) of the subjects of each image or frame, by its path.
Boxes = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Album:
    """Images below one folder, predicted together."""

    folder: Path
    names: tuple[str, ...]  # relative to the folder
    labels: Path | None = None  # the label file that names them
    place: str = field(default="", init=False)  # its results lie in the folder of the job itself
    kind: str = field(default="image", init=False)

    @property
    def path(self) -> Path:
        """What it is called in messages."""
        return self.labels or (self.folder / self.names[0] if len(self.names) == 1 else self.folder)

    def with_boxes(self, boxes: Boxes) -> Album:
        """Those of its images that have boxes; ValueError where none has."""
        names = tuple(name for name in self.names if normalize_path(name) in boxes)
        if not names:
            raise ValueError(f"boxes: there is no box in any image of source={self.path}; paths start at {self.folder}")
        return Album(self.folder, names, self.labels)

    def shots(self, exif: str, max_pixels: int, boxes: Boxes | None, start: int = 0) -> Iterator[Shot]:
        """Its images from number `start` on; one that cannot be read comes without image."""
        image_folder = ImageFolder(self.folder, exif, max_pixels)
        for index in range(start, len(self.names)):
            name = self.names[index]
            where = None if boxes is None else boxes[normalize_path(name)]
            try:
                yield Shot(index, name, float("nan"), image_folder.read(name), where)
            except (ValueError, FileNotFoundError) as error:
                yield Shot(index, name, float("nan"), None, where, str(error))


@dataclass(frozen=True)
class Clip:
    """A video, predicted frame by frame."""

    path: Path
    name: str  # relative to the folder that paths of boxes start from
    place: str = ""  # the folder of its results, below that of the job
    kind: str = field(default="frame", init=False)

    @property
    def base(self) -> Path:
        """The folder that its name starts from."""
        return self.path.parents[len(Path(self.name).parts) - 1]

    def shots(self, playback: Playback, boxes: Boxes | None, start: int = 0) -> Iterator[Shot]:
        """Its frames from number `start` on; one that cannot be decoded comes without image.

        With boxes, a frame that has none has no subject.
        """
        mine = None if boxes is None else self._mine(boxes)
        for one in playback.play(start):
            where = None if mine is None else mine.get(one.number, np.empty((0, 4)))
            yield Shot(one.number, str(one.number), one.time, one.pixels, where, one.error)

    def most_boxes(self, boxes: Boxes) -> int:
        """The most boxes that a frame has; ValueError where none has any."""
        if not (mine := self._mine(boxes)):
            raise ValueError(
                f"boxes: there is no box in any frame of {self.name}; name its frames as {self.name}/000012, counted"
                " from 0"
            )
        return max(map(len, mine.values()))

    def _mine(self, boxes: Boxes) -> dict[int, np.ndarray]:
        """The boxes by frame number."""
        parts = ((path.rpartition("/"), where) for path, where in boxes.items())
        return {
            int(number): where
            for (video, _, number), where in parts
            if video == normalize_path(self.name) and number.isascii() and number.isdigit()
        }


def find_sources(source: str, output: Path | None = None) -> list[Album | Clip]:
    """What `source` names: all images together as one album, and each video for itself.

    A folder is searched below, a pattern may have ** for that, a label file stands for the images that it names;
    CLIP.mp4/000012 is a single frame. Hidden files are passed over, and below the source `output` and whatever holds a
    job.json, as a job leaves it. Raises FileNotFoundError where there is nothing of that name, and ValueError where
    nothing there can be predicted or `output` is the source itself.
    """
    path = Path(source)
    if path.is_dir():
        return _sorted_out(path, _below(path, path.rglob("*"), output), f"{source} holds")
    if path.is_file():
        return [_file(path)]
    if glob.has_magic(source):
        found = [Path(name) for name in glob.glob(source, recursive=True)]  # noqa: PTH207, it may be absolute
        if not found:
            raise FileNotFoundError(f"source={source} matches nothing; quote it, so that the shell leaves it as it is")
        folder = _fixed_part(path)
        return _sorted_out(folder, _below(folder, found, output), f"source={source} matches")
    if (frame := find(path)) is not None:
        return [Album(frame.container.parent, (f"{frame.container.name}/{frame.inside}",))]
    raise FileNotFoundError(
        f"source={source} does not exist; name an image, a video, a folder, a pattern such as 'day1/*.mp4', or a"
        " label file"
    )


def boxes_labels(file: Path, source: Album | Clip) -> Labels:
    """The labels that say where the subjects of a source, and of others beside it, are."""
    return read_labels(file, images=source.folder if isinstance(source, Album) else source.base)


def _file(path: Path) -> Album | Clip:
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return Album(path.parent, (path.name,))
    if suffix in VIDEO_SUFFIXES:
        return Clip(path, path.name)
    try:
        recognize(path)
    except ValueError:
        raise ValueError(
            f"{path} is no image ({' '.join(SUFFIXES)}), no video ({' '.join(VIDEO_SUFFIXES)}), and in no known"
            " label format"
        ) from None
    labels = read_labels(path)
    folder = Path(labels.folder)
    return Album(folder, tuple(dict.fromkeys(_within(folder, image) for image in labels.images)), path)


def _within(folder: Path, image: str) -> str:
    """The path of an image relative to the folder, so that results of it lie below theirs."""
    path = Path(normalize_path(image))
    inside = path.is_absolute() and path.is_relative_to(folder.resolve())
    return path.relative_to(folder.resolve()).as_posix() if inside else normalize_path(image)


def _below(folder: Path, paths: Iterable[Path], output: Path | None) -> list[Path]:
    """The files among them that are neither hidden nor results of an earlier job, sorted."""
    top, results = folder.resolve(), None if output is None else output.resolve()
    if results == top:
        raise ValueError(f"output={output} is the folder of what is predicted; name another")

    @cache
    def of_a_job(place: Path) -> bool:
        if top not in place.parents:
            return False
        return place == results or (place / "job.json").is_file() or of_a_job(place.parent)

    found = []
    for path in paths:
        hidden = any(part.startswith(".") and part != ".." for part in path.relative_to(folder).parts)
        if not hidden and not of_a_job(path.resolve().parent) and path.is_file():
            found.append(path)
    return sorted(found)


def _fixed_part(pattern: Path) -> Path:
    """The folders of a pattern up to the first that is one itself.

    >>> _fixed_part(Path("data/day*/clip.mp4")).as_posix(), _fixed_part(Path("*.png")).as_posix()
    ('data', '.')
    """
    parts = pattern.parts
    end = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:end])


def _sorted_out(folder: Path, paths: list[Path], begin: str) -> list[Album | Clip]:
    image_folder = tuple(path.relative_to(folder).as_posix() for path in paths if path.suffix.lower() in SUFFIXES)
    videos = [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES]
    if not image_folder and not videos:
        raise ValueError(
            f"{begin} no image and no video; looked for {' '.join(SUFFIXES)} and {' '.join(VIDEO_SUFFIXES)}"
        )
    album: list[Album | Clip] = [Album(folder, image_folder)] if image_folder else []
    return [
        *album,
        *(Clip(path, path.relative_to(folder).as_posix(), place) for path, place in _places(folder, videos)),
    ]


def _places(folder: Path, videos: list[Path]) -> Iterator[tuple[Path, str]]:
    """Where the results of each video go: a folder of its name, with the ending where two would share it."""
    bare = [path.relative_to(folder).with_suffix("").as_posix() for path in videos]
    for path, place in zip(videos, bare, strict=True):
        yield path, place if bare.count(place) == 1 else path.relative_to(folder).as_posix()
