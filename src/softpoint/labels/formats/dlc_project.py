"""A DeepLabCut project: config.yaml, and under labeled-data one folder a video with its CollectedData file."""

from __future__ import annotations

import logging
import os
import reprlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from softpoint.labels.formats import dlc_csv, dlc_h5
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton, infer_flip_pairs
from softpoint.paths import normalize_path

DESCRIPTION = (
    "the folder of a DeepLabCut project, its labeled-data, or one video's folder in that (CollectedData_*.csv)"
)

_log = logging.getLogger(__name__)


class _Config(NamedTuple):
    """What matters here of config.yaml; nothing where there is none."""

    scorer: str = ""
    bodyparts: tuple[str, ...] = ()
    edges: tuple[tuple[str, str], ...] = ()


def recognize(path: Path, head: bytes) -> bool:
    """Whether it is such a folder, or a config.yaml of one."""
    try:
        if path.name == "config.yaml" and path.is_file():
            return b"bodyparts" in head
        return path.is_dir() and any(map(_files, _folders(_root(path), path)))
    except OSError:
        return False


def read(path: Path, problems: RowErrors) -> Labels:
    """The labels of all its videos, keypoints in the order of config.yaml; paths start from the project's folder.

    Raises ValueError where no video has labels, where several people labeled one, or for a damaged file.
    """
    start = path.parent if path.is_file() else path
    root = _root(start)
    config = _config(root / "config.yaml")
    parts = []
    for folder in _folders(root, start):
        file = _choose(folder, config.scorer)
        if file is None:
            _log.info("%s has no CollectedData file and is passed over", folder)
        else:
            parts.append(_part(root, file, problems))
    if not parts:
        raise ValueError(f"{path}: no folder in its labeled-data has a CollectedData_*.csv or .h5; label frames first")
    names = config.bodyparts or tuple(dict.fromkeys(name for part in parts for name in part.skeleton.names))
    subjects = [subject for part in parts for subject in _in_order(part, names)]
    try:
        skeleton = Skeleton(names, infer_flip_pairs(names), tuple(e for e in config.edges if set(e) <= set(names)))
    except ValueError as error:
        raise ValueError(f"{root / 'config.yaml'}: {error}") from error
    return Labels(str(path), str(root), skeleton, tuple(subjects))


def _root(path: Path) -> Path:
    """The project that a folder belongs to, which may be itself."""
    whole = Path(os.path.normpath(path.absolute()))
    if (path / "config.yaml").is_file() or (path / "labeled-data").is_dir():
        return path
    if whole.name == "labeled-data":
        return whole.parent
    return whole.parent.parent if whole.parent.name == "labeled-data" else path


def _folders(root: Path, path: Path) -> list[Path]:
    """The folders that may hold labels: one video's, or all; else the project's own, as lightning-pose has it."""
    if root != path and path.absolute().name != "labeled-data":
        return [path]
    below = root / "labeled-data"
    videos = sorted(entry for entry in below.iterdir() if entry.is_dir()) if below.is_dir() else []
    return [root] if _files(root) and not any(map(_files, videos)) else videos


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(f for f in folder.glob("CollectedData*") if f.suffix in (".csv", ".h5") and f.is_file())


def _choose(folder: Path, scorer: str) -> Path | None:
    """The file of the scorer that config.yaml names, or the only one; its CSV where there is one."""
    stems = {file.stem: file for file in reversed(_files(folder))}  # the CSV comes last, and stays
    if len(stems) <= 1:
        return next(iter(stems.values()), None)
    if f"CollectedData_{scorer}" not in stems:
        raise ValueError(
            f"{folder} has labels in {', '.join(sorted(stems))}, and config.yaml names scorer {scorer!r}; name one of"
            " them there, or give one of the files"
        )
    return stems[f"CollectedData_{scorer}"]


def _part(root: Path, file: Path, problems: RowErrors) -> Labels:
    """The labels in one file, with paths from `root`: DeepLabCut keeps frames beside the file."""
    folder = Path(os.path.normpath(file.parent.absolute())).relative_to(Path(os.path.normpath(root.absolute())))
    prefix = f"{(folder / file.name).as_posix()} "
    part = (dlc_csv if file.suffix == ".csv" else dlc_h5).read(file, problems, prefix)
    if folder == Path():
        return part
    subjects = [_beside(subject, folder.as_posix()) for subject in part.subjects]
    if moved := sum(new.image != old.image for new, old in zip(subjects, part.subjects, strict=True)):
        _log.info("%s: %d paths lead elsewhere; their images are taken from its folder", file, moved)
    return replace(part, subjects=tuple(subjects))


def _beside(subject: Subject, folder: str) -> Subject:
    name = normalize_path(subject.image)
    if name.startswith(f"{folder}/"):
        return subject
    return replace(subject, image=f"{folder}/{name.rsplit('/', 1)[-1]}")


def _in_order(part: Labels, names: Sequence[str]) -> list[Subject]:
    """The subjects with the keypoints `names`; those that their file lacks are unlabeled."""
    if part.skeleton.names == tuple(names):
        return list(part.subjects)
    if lacking := [name for name in names if name not in part.skeleton.names]:
        _log.warning("%s has no column for %s; unlabeled there", part.source, ", ".join(lacking))
    if extra := [name for name in part.skeleton.names if name not in names]:
        _log.warning("%s: %s are not among the bodyparts of config.yaml and left out", part.source, ", ".join(extra))
    order = [part.skeleton.names.index(name) if name in part.skeleton.names else -1 for name in names]
    return [_reordered(subject, order) for subject in part.subjects]


def _reordered(subject: Subject, order: list[int]) -> Subject:
    keypoints = np.vstack([subject.keypoints, [[np.nan, np.nan]]])[order]  # -1 takes the last
    return replace(subject, keypoints=keypoints, visibility=np.append(subject.visibility, 0)[order])


def _config(path: Path) -> _Config:
    """What config.yaml says, all values as text; ValueError for one that is not understood."""
    if not path.is_file():
        return _Config()
    try:
        # The base loader makes text, lists and dictionaries, and nothing else.
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ValueError(f"{path} is not YAML ({' '.join(str(error).split())}); correct it") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no settings; it is DeepLabCut's config.yaml, with bodyparts")
    several = found.get("multianimalproject") in ("true", "True", "TRUE")
    kinds = ("multianimalbodyparts", "uniquebodyparts") if several else ("bodyparts",)
    names = tuple(name for kind in kinds for name in _texts(path, kind, found.get(kind)))
    pairs = found.get("skeleton")
    edges = [tuple(_texts(path, "skeleton", pair)) for pair in pairs] if isinstance(pairs, list) else []
    scorer = found.get("scorer")
    return _Config(scorer if isinstance(scorer, str) else "", names, tuple((e[0], e[1]) for e in edges if len(e) == 2))


def _texts(path: Path, key: str, value: Any) -> list[str]:
    if value in (None, ""):
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        # The short form, because a few lines of YAML can stand for a list that fills the memory.
        raise ValueError(f"{path}: its {key} is {reprlib.repr(value)}, not a list of names")
    return value
