"""Packing: the subjects of each split, with their labels and image files, into shards."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np

from softpoint.data.shards.packed_format import DESCRIPTION, Description, PackedSample, seal, validate
from softpoint.data.shards.reader import Shards, streaming_library
from softpoint.data.sources import LabeledImages, Source
from softpoint.images import ImageFolder
from softpoint.images.channels import are_bands
from softpoint.images.read_options import ReadOptions
from softpoint.paths import is_new, write_text

# Progress of a loop: takes an iterable of samples and its name, and yields the samples.
Progress = Callable[[Iterable[int], str], Iterable[int]]


def pack(
    sources: Mapping[str, Source],
    output: str | Path,
    chunk_mb: float,
    seed: int,
    has_hidden_points: bool,
    progress: Progress = lambda numbers, name: numbers,
) -> Description:
    """Write the sources to a new folder, a subfolder each, in shards of up to `chunk_mb` MB.

    The order of train is shuffled by `seed`, so that its first samples represent all. softpoint.json is written last:
    a folder without it is incomplete. Raises ValueError for a folder that is not empty and an unreadable image.
    """
    library = streaming_library()
    if not 0 < chunk_mb <= 2000:
        raise ValueError(f"chunk_mb={chunk_mb} must be above 0 and at most 2000; 64 suits most sets")
    output = Path(output)
    if not is_new(output):
        raise ValueError(f"output={output} exists and is not an empty folder; choose a new one")
    digest, rng = hashlib.blake2b(digest_size=16), np.random.default_rng(seed)
    for split, source in sources.items():
        order = (rng.permutation(len(source)) if split == "train" else np.arange(len(source))).tolist()
        # Nothing is cached here, but without a limit litdata logs which one it chose.
        shards = library.Cache(str(output / split), chunk_bytes=int(chunk_mb * 1e6), max_cache_size="1GB")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "An item was larger than the target chunk size")
            for number, index in enumerate(progress(order, split)):
                sample = _sample(source, index)
                label = sample.label()
                digest.update(sample.image + label)
                shards[number] = {"image": sample.image, "label": seal(sample.image, label)}
            shards.done()
            shards.merge()
    train = sources["train"]
    options = _options(train)
    description = Description(
        train.skeleton,
        {split: len(source) for split, source in sources.items()},
        "image" if train.describe(0).box is None else "instance",
        options.exif,
        has_hidden_points,
        digest.hexdigest(),
        True,
        options.bits,
        options.channels,
    )
    for split in sources:
        (packed := Shards(str(output), split, description)).read(len(packed) - 1)
    write_text(output / DESCRIPTION, description.dumps())
    return description


def _sample(source: Source, index: int) -> PackedSample:
    """Return the subject at `index` of a source; ValueError if its labels contradict its image."""
    record = source.describe(index)
    image, path = _encoded(source, index)
    box = record.box
    if box is None and isinstance(source, LabeledImages):
        box = source.labels.boxes[index]
    box = np.full(4, np.nan) if box is None else np.asarray(box, np.float64)
    keypoints, visibility = np.asarray(record.keypoints, np.float64), np.asarray(record.visibility, np.int64)
    sample = PackedSample(image, keypoints, visibility, box, record.size, float(record.scale), record.group, path)
    try:
        validate(sample)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return sample


def _options(source: Source) -> ReadOptions:
    """Return how the packed images of a source are to be read: files as they were, and pixels as they are."""
    reader = source.reader if isinstance(source, LabeledImages) else None
    if isinstance(reader, ImageFolder):
        return reader.options
    return ReadOptions(channels=3 if reader is None else reader.channel_count)


def _encoded(source: Source, index: int) -> tuple[bytes, str]:
    """Return an image's file, or its pixels as one where it is none of its own, and its path in the labels."""
    if not isinstance(source, LabeledImages):
        return _as_file(source.load(0, index).image), f"{index:08}"
    path, reader = source.labels.images[index], source.reader
    pixels = reader.read(path)  # a damaged image is an error now, not in the middle of a training
    if not isinstance(reader, ImageFolder):
        return _as_file(pixels), path
    if (file := reader.path(path)).is_file():
        return file.read_bytes(), path
    if are_bands(reader.options.channels):  # of a frame, from which they will be selected
        pixels = replace(reader, options=replace(reader.options, channels=3)).read(path)
    return _as_file(pixels), path


def _as_file(pixels: np.ndarray) -> bytes:
    """Return pixels uint8 (H, W, C) as a PNG, or as an array of NumPy where that has other channels."""
    if pixels.shape[2] not in (1, 3):
        np.save(file := BytesIO(), pixels)
        return file.getvalue()
    success, data = cv2.imencode(".png", pixels[..., ::-1])
    assert success
    return data.tobytes()
