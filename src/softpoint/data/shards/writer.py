"""Packs the sets that training reads: each subject with its labels and its image, as the file has it."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from softpoint.data.shards.description import DESCRIPTION, Description
from softpoint.data.shards.files import Folder
from softpoint.data.shards.sample import Sample, validate
from softpoint.data.shards.shards import Shards
from softpoint.data.sources import LabeledImages, Source
from softpoint.images import ImageFolder

# How a loop over samples is shown: what to run over, and what it is called.
Progress = Callable[[Iterable[int], str], Iterable[int]]


def pack(
    sources: Mapping[str, Source],
    output: str | Path,
    chunk_mb: float,
    seed: int,
    tells_visibility: bool,
    progress: Progress = lambda numbers, name: numbers,
) -> Description:
    """Writes the sources to a new folder, a sub-folder each, in chunks of up to `chunk_mb` MB.

    The order of train is shuffled by `seed`, so that what stands side by side in a chunk is not one video, and
    any chunk is a fair sample. softpoint.json comes last: a folder without it is incomplete.
    Raises ValueError for a folder that is not empty, and for an image that cannot be read.
    """
    writer = _writer()
    output = _fresh(output)
    if not 0 < chunk_mb <= 2000:
        raise ValueError(f"chunk_mb={chunk_mb} must be above 0 and at most 2000; 64 suits most sets")
    digest = hashlib.blake2b(digest_size=16)
    rng = np.random.default_rng(seed)
    for split, source in sources.items():
        order = (rng.permutation(len(source)) if split == "train" else np.arange(len(source))).tolist()
        samples = _samples(source, progress(order, split))
        # Nothing is cached here, but without a limit litdata logs which one it chose.
        cache = writer(str(output / split), chunk_bytes=int(chunk_mb * 1e6), max_cache_size="1GB")
        _write(cache, samples, digest.update)
    description = _describe(sources, tells_visibility, digest.hexdigest())
    for split in sources:
        _read_back(output, split, description)
    (output / DESCRIPTION).write_text(description.dumps(), encoding="utf-8")
    return description


def _writer() -> Callable[..., Any]:
    try:
        from litdata.streaming import Cache
    except ImportError as error:
        raise ImportError(f'packing needs litdata: pip install -e ".[streaming]" ({error})') from error
    return Cache


def _fresh(output: str | Path) -> Path:
    if "://" in str(output):
        raise ValueError(f"output={output} is no folder of this machine; pack into one, then copy it there")
    folder = Path(output)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"output={folder} exists and is not an empty folder; name a new one")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _samples(source: Source, order: Iterable[int]) -> Iterator[Sample]:
    for index in order:
        sample = _sample(source, index)
        try:
            validate(sample)
        except ValueError as error:
            raise ValueError(f"{sample.path}: {error}") from error
        yield sample


def _sample(source: Source, index: int) -> Sample:
    record = source.describe(index)
    image, path = _encoded(source, index)
    box = record.box
    if box is None and isinstance(source, LabeledImages):
        box = source.labels.boxes[index]
    box = np.full(4, np.nan) if box is None else np.asarray(box, np.float64)
    keypoints, visibility = np.asarray(record.keypoints, np.float64), np.asarray(record.visibility, np.int64)
    return Sample(image, keypoints, visibility, box, record.size, float(record.scale), record.group, path)


def _encoded(source: Source, index: int) -> tuple[bytes, str]:
    """The file of an image, or a PNG of one that is no file of its own; and what the labels call it."""
    if not isinstance(source, LabeledImages):
        return _png(source.load(0, index).image), f"{index:08}"
    image, reader = source.labels.subjects[index].image, source.reader
    pixels = reader.read(image)  # says what is wrong with it now, not in the middle of a training
    if isinstance(reader, ImageFolder) and (path := reader.path(image)).is_file():
        return path.read_bytes(), image
    return _png(pixels), image


def _png(pixels: np.ndarray) -> bytes:
    whole, data = cv2.imencode(".png", pixels[..., ::-1])
    assert whole
    return data.tobytes()


def _write(cache: Any, samples: Iterable[Sample], digest: Callable[[bytes], None]) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "An item was larger than the target chunk size")
        for number, sample in enumerate(samples):
            fields = sample._asdict() | {"size": np.array(sample.size)}
            fields |= {"group": sample.group.encode(), "path": sample.path.encode()}
            for value in fields.values():
                digest(value if isinstance(value, bytes) else np.asarray(value).tobytes())
            cache[number] = fields
        cache.done()
        cache.merge()


def _describe(sources: Mapping[str, Source], tells_visibility: bool, contents: str) -> Description:
    train = sources["train"]
    reader = train.reader if isinstance(train, LabeledImages) else None
    return Description(
        train.skeleton,
        {split: len(source) for split, source in sources.items()},
        "image" if train.describe(0).box is None else "instance",
        reader.exif if isinstance(reader, ImageFolder) else "ignore",
        tells_visibility,
        contents,
    )


def _read_back(output: Path, split: str, description: Description) -> None:
    shards = Shards(Folder(str(output)), split, description)
    for index in {0, len(shards) - 1}:
        shards.read(index)
