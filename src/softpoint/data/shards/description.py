"""The description of a packed set: softpoint.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from softpoint.labels.skeleton import Skeleton
from softpoint.labels.split_file import SPLITS

DESCRIPTION, VERSION = "softpoint.json", 2
REPAIR = "copy the set again, or pack it again"


@dataclass(frozen=True)
class Description:
    """Keypoints and sizes of a packed set, and how its labels were read."""

    skeleton: Skeleton
    samples: Mapping[str, int]  # of each split
    mode: str  # "image" shows whole images, "instance" each subject's box
    exif: str  # meaning of an EXIF orientation, see `ImageFolder`
    has_hidden_points: bool  # whether training labels have occluded or absent points
    contents: str  # a digest of all samples

    def dumps(self) -> str:
        """Return the text of softpoint.json."""
        head = {"format": "softpoint", "version": VERSION}
        return json.dumps(head | asdict(self) | {"skeleton": self.skeleton.to_dict()}, indent=1)

    @classmethod
    def loads(cls, text: bytes, path: str) -> Description:
        """Return what `dumps` wrote; ValueError for anything else, with `path` in its message."""
        stored = read_json(text, path)
        if stored.get("format") != "softpoint" or stored.get("version") != VERSION:
            found = f"format {stored.get('format')!r} version {stored.get('version')!r}"
            raise ValueError(
                f"{path} has {found}, not 'softpoint' version {VERSION}; pack the set again with softpoint pack"
            )
        try:
            skeleton = Skeleton.from_dict(stored["skeleton"])
            samples = {split: stored["samples"][split] for split in SPLITS}
            if not len(skeleton) or not all(type(count) is int and 0 < count < 1 << 40 for count in samples.values()):
                raise ValueError(f"{len(skeleton)} keypoints, samples {samples}")
            mode, exif, hidden = stored["mode"], stored["exif"], stored["has_hidden_points"]
            if (
                mode not in ("image", "instance")
                or exif not in ("apply", "ignore", "error")
                or type(hidden) is not bool
            ):
                raise ValueError(f"mode {mode!r}, exif {exif!r}, has_hidden_points {hidden!r}")
            return cls(skeleton, samples, mode, exif, hidden, str(stored["contents"]))
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
