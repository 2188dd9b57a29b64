"""The data.yaml of a YOLO pose data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from softpoint.labels.formats.parsing import json_values
from softpoint.labels.formats.parsing.known_skeletons import numbered
from softpoint.labels.formats.parsing.rows import read_head
from softpoint.labels.skeleton import Skeleton, infer_flip_pairs

# Limits of bytes, nested brackets, keypoints and classes: a larger file is no description of a data set but keeps the
# YAML parser busy for hours.
_MAX_BYTES, _MAX_DEPTH, _MAX_KEYPOINTS, _MAX_CLASSES = 1 << 18, 50, 1000, 10_000
_MAX_ENTRIES = 20_000  # of a mapping, into which a few lines can merge others again and again

_Mapping = dict[str, Any]


@dataclass(frozen=True)
class Config:
    """The description of a data set; every class has `count` keypoints with `dimensions` numbers each."""

    count: int
    dimensions: int
    classes: dict[int, str]
    keypoints: dict[int, tuple[str, ...]]  # the names of each class's keypoints
    skeleton: Skeleton  # of all classes together
    entries: tuple[tuple[str, str], ...]  # split, and a folder or list of its images
    root: str  # the value of `path`: the folder that the entries are relative to

    def categories(self) -> dict[str, tuple[str, ...]]:
        """Return the keypoints of each class, by its name."""
        return {name: self.keypoints[number] for number, name in self.classes.items()}

    def parts(self) -> dict[str, range]:
        """Return the places of the numbers of each keypoint in a line of labels, after class and box."""
        names = next(iter(self.keypoints.values())) if len(set(self.keypoints.values())) == 1 else numbered(self.count)
        return {name: range(5 + k * self.dimensions, 5 + (k + 1) * self.dimensions) for k, name in enumerate(names)}

    def entry_names(self) -> list[str]:
        """Return the folders and lists of images as written."""
        return list(dict.fromkeys(entry for _, entry in self.entries))


class _Loader(yaml.SafeLoader):  # type: ignore[misc] # PyYAML has no types
    """Plain values, as of `yaml.safe_load`."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge the mappings that `<<` names; raise ValueError for too many entries."""
        super().flatten_mapping(node)
        if len(node.value) > _MAX_ENTRIES:
            raise ValueError(f"a mapping has more than {_MAX_ENTRIES} entries")


def find_config(folder: Path) -> Path | None:
    """Return the YAML file with kpt_shape in a folder; data.yaml if there are several, None without one."""
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".yaml", ".yml"))
        files = [path for path in files if path.is_file() and b"kpt_shape" in read_head(path)]
    except OSError:
        return None
    return next((path for path in files if path.stem == "data"), files[0] if files else None)


def read_config(file: Path) -> Config:
    """Return the description in `file`; raise a ValueError that names the file if it is invalid."""
    content = _load(file)
    try:
        count, dimensions = _shape(content.get("kpt_shape"))
        classes = _classes(content)
        keypoints = _keypoints(content.get("kpt_names"), classes, count)
        names = tuple(dict.fromkeys(name for own in keypoints.values() for name in own))
        skeleton = Skeleton(names, _flip_pairs(content.get("flip_idx"), keypoints, names))
        root = content.get("path") or ""
        if not isinstance(root, str):
            raise ValueError(f"path {_quote(root)} is not the path of a folder")
        return Config(count, dimensions, classes, keypoints, skeleton, _entries(content), root)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _load(file: Path) -> _Mapping:
    try:
        with file.open("rb") as stream:
            text = stream.read(_MAX_BYTES + 1)
        steps = np.array([(byte in b"[{") - (byte in b"]}") for byte in text], int)
        if len(text) > _MAX_BYTES or steps.cumsum().max(initial=0) > _MAX_DEPTH:
            raise ValueError("it is too long or too deeply nested for a description of data")
        content = yaml.load(text, Loader=_Loader)
    except Exception as error:  # hostile YAML makes the parser raise nearly anything
        raise ValueError(f"{file} cannot be read as YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} is not a mapping of kpt_shape, names, train, val; name a YOLO data.yaml")
    return content


def _shape(value: Any) -> tuple[int, int]:
    if isinstance(value, list) and [type(number) for number in value] == [int, int]:
        count, dimensions = value
        if 0 < count <= _MAX_KEYPOINTS and dimensions in (2, 3):
            return count, dimensions
    raise ValueError(
        f"kpt_shape {_quote(value)} must be [K, 2] or [K, 3]: keypoints, and numbers per keypoint (x, y and a flag)"
    )


def _classes(content: _Mapping) -> dict[int, str]:
    names, count = content.get("names"), content.get("nc")
    if names is None and type(count) is int and 0 < count <= _MAX_CLASSES:
        names = [f"class_{number}" for number in range(count)]
    by_number = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(by_number, dict) or not by_number or not all(map(_is_number, by_number)):
        raise ValueError(f"names {_quote(names)} must list the classes, as in names: [person]")
    classes = {int(key): _name("names", name) for key, name in by_number.items()}
    if len(set(classes.values())) < len(by_number):
        raise ValueError(f"names {_quote(names)} repeats a class; rename one of the two")
    return classes


def _is_number(key: Any) -> bool:
    return type(key) is int or (isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 9)


def _name(key: str, value: Any) -> str:
    if type(value) not in (str, int, float) or not str(value).strip():
        raise ValueError(f"{key}: {_quote(value)} is not a name")
    return str(value).strip()


def _keypoints(value: Any, classes: dict[int, str], count: int) -> dict[int, tuple[str, ...]]:
    """Return the keypoint names of each class; one list serves all classes, and numbers replace missing names."""
    if value is None:
        value = [f"keypoint_{number}" for number in range(1, count + 1)]
    lists = value if isinstance(value, dict) else {0: value}
    if not all(map(_is_number, lists)):
        raise ValueError(f"kpt_names {_quote(value)} must list names for each class, as in kpt_names: {{0: [nose]}}")
    keypoints: dict[int, tuple[str, ...]] = {}
    for key, names in lists.items():
        if not isinstance(names, list) or len(names) != count:
            raise ValueError(f"kpt_names {_quote(names)} must be a list of {count} names, as in kpt_shape")
        keypoints[int(key)] = tuple(_name("kpt_names", name) for name in names)
        if len(set(keypoints[int(key)])) < count:
            raise ValueError(f"kpt_names {_quote(names)} repeats a name; rename one of the two")
    if len(keypoints) == 1:
        keypoints = dict.fromkeys(classes, next(iter(keypoints.values())))
    if missing := [name for number, name in classes.items() if number not in keypoints]:
        raise ValueError(f"kpt_names has no names for class {missing[0]}; add them")
    return {number: keypoints[number] for number in classes}


def _flip_pairs(value: Any, keypoints: dict[int, tuple[str, ...]], names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    if value is None:
        return infer_flip_pairs(names)
    if value == []:  # no keypoint has a partner
        return ()
    count = len(next(iter(keypoints.values())))
    if not isinstance(value, list) or any(type(number) is not int for number in value):
        raise ValueError(f"flip_idx {_quote(value)} must be a list of {count} numbers")
    if sorted(value) != list(range(count)) or any(value[j] != i for i, j in enumerate(value)):
        raise ValueError(f"flip_idx {_quote(value)} must exchange pairs of the keypoints 0 to {count - 1}")
    pairs = ((own[i], own[j]) for own in keypoints.values() for i, j in enumerate(value) if i < j)
    return tuple(dict.fromkeys(pairs))


def _entries(content: _Mapping) -> tuple[tuple[str, str], ...]:
    entries = []
    for key, split in (("train", "train"), ("val", "val"), ("validation", "val"), ("test", "test")):
        value = content.get(key)
        for entry in value if isinstance(value, list) else [value] if value is not None else []:
            if not isinstance(entry, str) or not entry.strip() or "\0" in entry:
                raise ValueError(f"{key}: {_quote(entry)} is not the path of a folder or list of images")
            entries.append((split, entry.strip().replace("\\", "/")))
    if not entries:
        raise ValueError("it has none of train, val and test; each names a folder of images or a list of them")
    return tuple(entries)


def _quote(value: Any) -> str:
    # Shortened before it is cut, because aliases let a short file stand for a list that would print for hours.
    return json_values.quote(value)[:80]
