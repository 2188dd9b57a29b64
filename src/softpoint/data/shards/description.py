"""What a packed set says of itself: softpoint.json."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from softpoint.labels.skeleton import Skeleton
from softpoint.labels.split_file import SPLITS

DESCRIPTION, VERSION = "softpoint.json", 1
AGAIN = "copy the set again, or pack it anew"

# A longer one is not ours: a mebibyte of index stands for half a tebibyte of images.
_MAX_BYTES = 1 << 28


@dataclass(frozen=True)
class Description:
    """A set's keypoints and sizes, and how its labels were read."""

    skeleton: Skeleton
    samples: Mapping[str, int]  # of each split
    mode: str  # "image" shows whole images, "instance" each subject's box
    exif: str  # what an orientation in an image means, see `ImageFolder`
    tells_visibility: bool
    contents: str  # differs where samples do
    fingerprint: str = ""  # differs where the text does

    def dumps(self) -> str:
        """The text of softpoint.json."""
        kept = {key: getattr(self, key) for key in ("mode", "exif", "tells_visibility", "contents")}
        head = {"format": "softpoint", "version": VERSION, "skeleton": self.skeleton.to_dict()}
        return json.dumps({**head, "samples": dict(self.samples), **kept}, indent=1)

    @classmethod
    def loads(cls, text: bytes, place: str) -> Description:
        """What `dumps` wrote; ValueError for anything else, quoting `place`."""
        stored = read_json(text, place)
        if stored.get("format") != "softpoint" or stored.get("version") != VERSION:
            found = f"{stored.get('format')!r} version {stored.get('version')!r}"
            raise ValueError(f"{place} is of format {found}, not 'softpoint' version {VERSION}; pack the set anew")
        try:
            return cls._checked(stored, hashlib.sha256(text).hexdigest())
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ValueError(f"{place} is damaged ({type(error).__name__}: {error}); {AGAIN}") from error

    @classmethod
    def _checked(cls, stored: dict[str, Any], fingerprint: str) -> Description:
        skeleton = Skeleton.from_dict(stored["skeleton"])
        samples = {split: stored["samples"][split] for split in SPLITS}
        if not len(skeleton) or not all(type(count) is int and 0 < count < 1 << 40 for count in samples.values()):
            raise ValueError(f"{len(skeleton)} keypoints, samples {samples}")
        mode, exif, tells = (stored[key] for key in ("mode", "exif", "tells_visibility"))
        if mode not in ("image", "instance") or exif not in ("apply", "ignore", "error") or type(tells) is not bool:
            raise ValueError(f"mode {mode!r}, exif {exif!r}, tells_visibility {tells!r}")
        return cls(skeleton, samples, mode, exif, tells, str(stored["contents"]), fingerprint)


def read_short(path: Path, place: str) -> bytes:
    """A description or an index whole; ValueError for one that is too long or cannot be read."""
    try:
        if (length := path.stat().st_size) > _MAX_BYTES:
            raise ValueError(f"{place} has {length} bytes, which no packed set needs; {AGAIN}")
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{place} cannot be read ({error.strerror}); {AGAIN}") from error


def read_json(text: bytes, place: str) -> dict[str, Any]:
    """A JSON object; ValueError for anything else, quoting `place`."""
    try:
        stored = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place} is damaged ({error}); {AGAIN}") from error
    if not isinstance(stored, dict):
        raise ValueError(f"{place} holds a {type(stored).__name__}, not a description; {AGAIN}")
    return stored
