"""What the data.yaml of a YOLO pose data set says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from softpoint.labels.skeleton import Skeleton, infer_flip_pairs

# A longer file, or one with more brackets in brackets, is no description of a data set but keeps the YAML parser
# busy for hours; nor has one more keypoints or classes.
_BYTES, _DEPTH, _KEYPOINTS, _CLASSES = 1 << 18, 50, 1000, 10_000


@dataclass(frozen=True)
class Config:
    """The description of a data set; every class has `count` keypoints with `dimensions` numbers each."""

    count: int
    dimensions: int
    classes: dict[int, str]
    parts: dict[int, tuple[str, ...]]  # the names of each class's keypoints
    skeleton: Skeleton  # of all classes together
    entries: tuple[tuple[str, str], ...]  # split, and a folder or list of images that it consists of
    root: str  # what it calls `path`: where these start from

    def categories(self) -> dict[str, tuple[str, ...]]:
        """The keypoints of each class, by its name."""
        return {name: self.parts[number] for number, name in self.classes.items()}

    def entry_names(self) -> list[str]:
        """The folders and lists as they are written."""
        return list(dict.fromkeys(entry for _, entry in self.entries))


def yaml_in(folder: Path) -> Path | None:
    """The YAML file of a folder that states kpt_shape; data.yaml where there are several, None without one."""
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".yaml", ".yml"))
        found = [path for path in found if path.is_file() and b"kpt_shape" in _head(path)]
    except OSError:
        return None
    return next((path for path in found if path.stem == "data"), found[0] if found else None)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1 << 16)


def read_config(file: Path) -> Config:
    """The description in `file`; ValueError that names it for one that is not understood."""
    stated = _load(file)
    try:
        count, dimensions = _shape(stated.get("kpt_shape"))
        classes = _classes(stated)
        parts = _parts(stated.get("kpt_names"), classes, count)
        names = tuple(dict.fromkeys(name for part in parts.values() for name in part))
        skeleton = Skeleton(names, _flip_pairs(stated.get("flip_idx"), parts, names))
        root = stated.get("path") or ""
        if not isinstance(root, str):
            raise ValueError(f"path {_short(root)} is not the path of a folder")
        return Config(count, dimensions, classes, parts, skeleton, _entries(stated), root)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _load(file: Path) -> dict:
    try:
        with file.open("rb") as stream:
            text = stream.read(_BYTES + 1)
        steps = np.array([(byte in b"[{") - (byte in b"]}") for byte in text], int)
        if len(text) > _BYTES or steps.cumsum().max(initial=0) > _DEPTH:
            raise ValueError("it is longer or deeper than a description of data can be")
        stated = yaml.safe_load(text)
    except Exception as error:  # hostile YAML makes the parser raise nearly anything
        raise ValueError(f"{file} cannot be read as YAML: {error}") from error
    if not isinstance(stated, dict):
        raise ValueError(f"{file} is not a mapping of kpt_shape, names, train, val; is it a data.yaml?")
    return stated


def _shape(stated: Any) -> tuple[int, int]:
    if isinstance(stated, list) and [type(value) for value in stated] == [int, int]:
        count, dimensions = stated
        if 0 < count <= _KEYPOINTS and dimensions in (2, 3):
            return count, dimensions
    raise ValueError(
        f"kpt_shape {_short(stated)} must be [K, 2] or [K, 3]: keypoints, and numbers a keypoint (x, y and a flag)"
    )


def _classes(stated: dict) -> dict[int, str]:
    names, count = stated.get("names"), stated.get("nc")
    if names is None and type(count) is int and 0 < count <= _CLASSES:
        names = [f"class_{number}" for number in range(count)]
    found = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(found, dict) or not found or not all(_is_number(key) for key in found):
        raise ValueError(f"names {_short(names)} must list the classes, as in names: [person]")
    classes = {int(key): _name("names", name) for key, name in found.items()}
    if len(set(classes.values())) < len(found):
        raise ValueError(f"names {_short(names)} repeats a class")
    return classes


def _is_number(key: Any) -> bool:
    return type(key) is int or (isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 9)


def _name(key: str, value: Any) -> str:
    if type(value) not in (str, int, float) or not str(value).strip():
        raise ValueError(f"{key}: {_short(value)} is not a name")
    return str(value).strip()


def _parts(stated: Any, classes: dict[int, str], count: int) -> dict[int, tuple[str, ...]]:
    """The keypoint names of each class; one list serves all, and numbers serve where there is none."""
    if stated is None:
        stated = [f"keypoint_{number}" for number in range(1, count + 1)]
    given = stated if isinstance(stated, dict) else {0: stated}
    if not all(_is_number(key) for key in given):
        raise ValueError(f"kpt_names {_short(stated)} must list names for each class, as in kpt_names: {{0: [nose]}}")
    lists = {int(key): _names(value, count) for key, value in given.items()}
    if len(lists) == 1:
        lists = dict.fromkeys(classes, next(iter(lists.values())))
    if missing := [name for number, name in classes.items() if number not in lists]:
        raise ValueError(f"kpt_names has no names for class {missing[0]}")
    return {number: lists[number] for number in classes}


def _names(stated: Any, count: int) -> tuple[str, ...]:
    if not isinstance(stated, list) or len(stated) != count:
        raise ValueError(f"kpt_names {_short(stated)} must be a list of {count} names, as kpt_shape says")
    names = tuple(_name("kpt_names", value) for value in stated)
    if len(set(names)) < count:
        raise ValueError(f"kpt_names {_short(stated)} repeats a name")
    return names


def _flip_pairs(stated: Any, parts: dict[int, tuple[str, ...]], names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    if stated is None:
        return infer_flip_pairs(names)
    count = len(next(iter(parts.values())))
    if not isinstance(stated, list) or any(type(value) is not int for value in stated):
        raise ValueError(f"flip_idx {_short(stated)} must be a list of {count} numbers")
    if sorted(stated) != list(range(count)) or any(stated[j] != i for i, j in enumerate(stated)):
        raise ValueError(f"flip_idx {_short(stated)} must exchange pairs of the keypoints 0 to {count - 1}")
    pairs = ((part[i], part[j]) for part in parts.values() for i, j in enumerate(stated) if i < j)
    return tuple(dict.fromkeys(pairs))


def _entries(stated: dict) -> tuple[tuple[str, str], ...]:
    found = []
    for key, split in (("train", "train"), ("val", "val"), ("validation", "val"), ("test", "test")):
        value = stated.get(key)
        for entry in value if isinstance(value, list) else [value] if value is not None else []:
            if not isinstance(entry, str) or not entry.strip() or "\0" in entry:
                raise ValueError(f"{key}: {_short(entry)} is not the path of a folder or list of images")
            found.append((split, entry.strip().replace("\\", "/")))
    if not found:
        raise ValueError("has none of train, val and test; each names a folder of images or a list of them")
    return tuple(found)


def _short(value: Any) -> str:
    # Aliases let a short file stand for a list of lists that would print for hours.
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    nested = any(isinstance(part, (list, dict, set, tuple)) for part in inside)
    return f"of {len(value)} entries" if nested or isinstance(value, (set, tuple)) else repr(value)[:80]
