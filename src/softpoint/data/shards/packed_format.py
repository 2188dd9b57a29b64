"""The format of a packed set: its description softpoint.json, and samples of an image file and its labels as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from softpoint.images.channels import Channels
from softpoint.images.read_options import ReadOptions
from softpoint.labels.skeleton import Skeleton
from softpoint.labels.split import SPLITS
from softpoint.labels.validate import BORDER

DESCRIPTION, VERSION = "softpoint.json", 2
_READ_OTHERWISE = 3  # version of a set that an earlier softpoint would read as RGB, or with all bits
REPAIR = "copy the set again, or pack it again"

# No image is longer, and no box smaller or farther away, in pixels.
_LONGEST, _SMALLEST = 1 << 24, 0.01


@dataclass(frozen=True)
class Description:
    """Keypoints and sizes of a packed set, and how its labels were read."""

    skeleton: Skeleton
    samples: Mapping[str, int]  # of each split
    mode: str  # "image" shows whole images, "instance" each subject's box
    exif: str  # meaning of an EXIF orientation, see `ReadOptions`
    has_hidden_points: bool  # whether training labels have occluded or absent points
    contents: str  # a digest of all samples
    checksums: bool = False  # whether each label ends with a checksum, see `seal`; earlier versions wrote none
    bits: int | None = None  # that the values of 16-bit files use, see `ReadOptions`
    channels: Channels = 3  # see `ReadOptions`

    def dumps(self) -> str:
        """Return the text of softpoint.json."""
        version = VERSION if (self.bits, self.channels) == (None, 3) else _READ_OTHERWISE
        head = {"format": "softpoint", "version": version}
        return json.dumps(head | asdict(self) | {"skeleton": self.skeleton.to_dict()}, indent=1)

    @classmethod
    def loads(cls, text: bytes, path: str) -> Description:
        """Return what `dumps` wrote; ValueError for anything else, with `path` in its message."""
        stored = read_json(text, path)
        if stored.get("format") != "softpoint" or stored.get("version") not in (VERSION, _READ_OTHERWISE):
            raise ValueError(
                f"{path} has format {stored.get('format')!r} version {stored.get('version')!r}, not 'softpoint' version"
                f" {VERSION} or {_READ_OTHERWISE}; pack the set again with softpoint pack"
            )
        try:
            skeleton = Skeleton.from_dict(stored["skeleton"])
            samples = {split: stored["samples"][split] for split in SPLITS}
            if not len(skeleton) or not all(type(count) is int and 0 < count < 1 << 40 for count in samples.values()):
                raise ValueError(f"{len(skeleton)} keypoints, samples {samples}")
            mode, exif, hidden = stored["mode"], stored["exif"], stored["has_hidden_points"]
            checksums = stored.get("checksums", False)
            options = ReadOptions(exif, bits=stored.get("bits"), channels=stored.get("channels", 3))
            if mode not in ("image", "instance") or not type(hidden) is type(checksums) is bool:
                raise ValueError(f"mode {mode!r}, hidden points {hidden!r}, checksums {checksums!r}")
            contents, how = str(stored["contents"]), (options.bits, options.channels)
            return cls(skeleton, samples, mode, exif, hidden, contents, checksums, *how)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ValueError(f"{path} is damaged ({type(error).__name__}: {error}); {REPAIR}") from error


def read_json(text: bytes, path: str) -> dict[str, Any]:
    """Return a JSON object; ValueError for anything else, with `path` in its message."""
    try:
        stored = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}); {REPAIR}") from error
    if not isinstance(stored, dict):
        raise ValueError(f"{path} holds a {type(stored).__name__}, not an object; {REPAIR}")
    return stored


class PackedSample(NamedTuple):
    """One packed subject; lengths in pixels of its image."""

    image: bytes  # an image file, as it was, or a PNG or array
    keypoints: np.ndarray  # float64 (K, 2), NaN where unlabeled
    visibility: np.ndarray  # int64 (K,)
    box: np.ndarray  # float64 left, top, right, bottom; NaN for none
    size: tuple[int, int]  # height, width
    scale: float
    group: str
    path: str  # the image's path in the labels

    def label(self) -> bytes:
        """Return everything but the image as JSON; NaN is null.

        >>> nothing = np.full((1, 2), np.nan), np.zeros(1), np.full(4, np.nan)
        >>> PackedSample(b"", *nothing, (8, 9), 1.0, "a", "b.png").label()
        b'{"keypoints": [null], "visibility": [0], "box": null, "size": [8, 9], "scale": 1.0, "group": "a", ...}'
        """
        fields = self._asdict()
        del fields["image"]
        fields["keypoints"] = [None if np.isnan(point).any() else point.tolist() for point in self.keypoints]
        fields["visibility"] = self.visibility.astype(int).tolist()
        fields["box"] = None if np.isnan(self.box).all() else self.box.tolist()
        return json.dumps(fields).encode()


def seal(image: bytes, label: bytes) -> bytes:
    """Return a label with the CRC-32 of the image and of itself as its last member.

    >>> seal(b"image", b'{"scale": 1.0}')
    b'{"scale": 1.0, "crc32": "7dbf51ce"}'
    """
    return label[:-1] + b', "crc32": "%08x"}' % crc32(label, crc32(image))


def unseal(image: bytes, label: bytes) -> bytes:
    """Return the label that `seal` got; ValueError where a byte of the image or the label is another since then."""
    inner = label[: -len(b', "crc32": "01234567"}')] + b"}"
    if seal(image, inner) != label:
        raise ValueError("its image or label is damaged: the checksum is not that of the packing")
    return inner


def parse(image: bytes, label: bytes, num_keypoints: int) -> PackedSample:
    """Return the sample with this `label()`; ValueError for anything that packing validated labels cannot write."""
    try:
        stored = json.loads(label, parse_constant=_refuse_constant)
        points = [[math.nan, math.nan] if point is None else point for point in stored["keypoints"]]
        sample = PackedSample(
            image,
            _numbers(points, np.float64, (num_keypoints, 2)),
            _numbers(stored["visibility"], np.int64, (num_keypoints,)),
            np.full(4, np.nan) if stored["box"] is None else _numbers(stored["box"], np.float64, (4,)),
            (int(stored["size"][0]), int(stored["size"][1])),
            float(stored["scale"]),
            str(stored["group"]),
            str(stored["path"]),
        )
    except (KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"its label is damaged ({type(error).__name__}: {error})") from error
    validate(sample)
    return sample


def validate(sample: PackedSample) -> None:
    """Raise ValueError if labels and image contradict each other."""
    (height, width), box = sample.size, sample.box.tolist()
    if not 0 < height < _LONGEST or not 0 < width < _LONGEST or not 0 < sample.scale < math.inf:
        raise ValueError(f"its height and width are {height} and {width}, its scale {sample.scale}")
    for (x, y), state in zip(sample.keypoints.tolist(), sample.visibility.tolist(), strict=True):
        labeled = math.isfinite(x) and math.isfinite(y)
        if state not in (-1, 0, 1, 2) or (state > 0) != labeled or not (labeled or (math.isnan(x) and math.isnan(y))):
            raise ValueError(f"the visibility of its point ({x:g}, {y:g}) is {state}")
        if state > 0 and not (-BORDER <= x <= width - 1 + BORDER and -BORDER <= y <= height - 1 + BORDER):
            raise ValueError(f"its point ({x:g}, {y:g}) is outside its {width} x {height} pixels")
    left, top, right, bottom = box
    finite = all(abs(edge) < _LONGEST for edge in box)
    if not (finite and min(right - left, bottom - top) > _SMALLEST) and not all(map(math.isnan, box)):
        raise ValueError(f"its box is {box}")


def _numbers(values: Any, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    array: np.ndarray = np.array(values, dtype)
    if array.shape != shape:
        raise ValueError(f"its label has numbers of shape {array.shape}, not {shape}")
    return array


def _refuse_constant(name: str) -> None:
    raise ValueError(f"its label has the number {name}")
