"""A DeepLabCut project: config.yaml, and under labeled-data one folder per video with its CollectedData file."""

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
from softpoint.labels.formats.parsing.rows import UniqueRows
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton, infer_flip_pairs
from softpoint.paths import normalize_path

DESCRIPTION = (
    "the folder of a DeepLabCut project, its labeled-data, or one video's folder in that (CollectedData_*.csv)"
)

_log = logging.getLogger(__name__)


_SAME = 0.01  # pixels between coordinates that are equal
_MAX_CONFIG = 1 << 20  # bytes of config.yaml, which YAML's parser takes seconds for


class _Config(NamedTuple):
    """The used part of config.yaml; empty without a file."""

    scorer: str = ""
    bodyparts: tuple[str, ...] = ()
    edges: tuple[tuple[str, str], ...] = ()


def recognize(path: Path, head: bytes) -> bool:
    """Return whether the path is such a folder, or the config.yaml of a project."""
    try:
        if path.name == "config.yaml" and path.is_file():
            return b"bodyparts" in head
        return path.is_dir() and any(map(_label_files, _video_folders(_project(path), path)))
    except OSError:
        return False


def read(path: Path, errors: RowErrors, images: Path | None = None) -> Labels:
    """Return the labels of all videos, keypoints in the order of config.yaml, paths relative to the project's folder.

    Raises ValueError if no video has labels, if several scorers labeled one, or for a damaged file.
    """
    start = path.parent if path.is_file() else path
    root = _project(start)
    config = _read_config(root / "config.yaml")
    parts = []
    for folder in _video_folders(root, start):
        files = _files_of_scorer(folder, config.scorer)
        if files:
            parts.append(_read_video(root, files[0], errors))
        else:
            _log.info("%s has no CollectedData file and is skipped", folder)
        if len(files) > 1:
            _check_equal(parts[-1], files)
    if not parts:
        raise ValueError(f"{path}: no folder in its labeled-data has a CollectedData_*.csv or .h5; label frames first")
    names = config.bodyparts or tuple(dict.fromkeys(name for part in parts for name in part.skeleton.names))
    subjects = [subject for part in parts for subject in _reordered(part, names)]
    try:
        skeleton = Skeleton(names, infer_flip_pairs(names), tuple(e for e in config.edges if set(e) <= set(names)))
    except ValueError as error:
        raise ValueError(f"{root / 'config.yaml'}: {error}") from error
    return Labels(str(path), str(root), skeleton, tuple(subjects))


def _project(path: Path) -> Path:
    """Return the project's folder that contains a folder, or is it."""
    if (path / "config.yaml").is_file() or (path / "labeled-data").is_dir():
        return path
    absolute = Path(os.path.normpath(path.absolute()))
    if absolute.name == "labeled-data":
        return absolute.parent
    return absolute.parent.parent if absolute.parent.name == "labeled-data" else path


def _video_folders(root: Path, path: Path) -> list[Path]:
    """Return the folders that may hold labels: one video's, or all; or the project's own, as in lightning-pose."""
    if root != path and path.absolute().name != "labeled-data":
        return [path]
    folder = root / "labeled-data"
    videos = sorted(entry for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
    return [root] if _label_files(root) and not any(map(_label_files, videos)) else videos


def _label_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(f for f in folder.glob("CollectedData*") if f.suffix in (".csv", ".h5") and f.is_file())


def _files_of_scorer(folder: Path, scorer: str) -> list[Path]:
    """Return the CSV and HDF5 file, or one of them, of the scorer in config.yaml, or of the only one."""
    files = _label_files(folder)
    names = sorted({file.stem for file in files})
    if len(names) > 1 and f"CollectedData_{scorer}" not in names:
        raise ValueError(
            f"{folder} has labels in {', '.join(names)}, but config.yaml names scorer {scorer!r}; name one of"
            " these scorers there, or give one of the files"
        )
    return [file for file in files if len(names) == 1 or file.stem == f"CollectedData_{scorer}"]


def _check_equal(labels: Labels, files: list[Path]) -> None:
    """Raise ValueError unless the HDF5 file, the second of `files`, holds the labels of the first."""
    try:
        other = dlc_h5.read(files[1], RowErrors(str(files[1]), "skip", silent=True))
    except ImportError as error:
        _log.warning("%s is read without comparing it to the HDF5 file that DeepLabCut reads: %s", files[0], error)
        return
    one, two = (
        {
            (normalize_path(s.image).rpartition("/")[2], s.name, name): s.keypoints[k]
            for s in part.subjects
            for k, name in enumerate(part.skeleton.names)
            if s.visibility[k]
        }
        for part in (labels, other)
    )
    nowhere = np.full(2, np.inf)
    differing = [key for key in one | two if np.abs(one.get(key, nowhere) - two.get(key, nowhere)).max() > _SAME]
    if differing:
        image, individual, name = differing[0]
        raise ValueError(
            f"{files[0]} and {files[1].name} differ in {len(differing)} points, first {name} of"
            f" {' in '.join(filter(None, (individual, image)))}. DeepLabCut reads the .h5: remove the file that is"
            " outdated, or name the right one in data.labels"
        )


def _read_video(root: Path, file: Path, errors: RowErrors) -> Labels:
    """Return the labels in one file, with paths relative to `root`: DeepLabCut keeps frames beside the file."""
    folder = Path(os.path.normpath(file.parent.absolute())).relative_to(Path(os.path.normpath(root.absolute())))
    read_file = dlc_csv.read if file.suffix == ".csv" else dlc_h5.read
    labels = read_file(file, errors, prefix=f"{(folder / file.name).as_posix()} ")
    if folder == Path():
        return labels
    unique, subjects, moved = UniqueRows(), [], 0
    for subject in labels.subjects:
        name = normalize_path(subject.image)
        own = f"{folder.as_posix()}/{name.rpartition('/')[2]}"
        outside = not name.startswith(f"{folder.as_posix()}/")
        elsewhere = outside and (root / name).is_file()
        if outside and not elsewhere:
            moved += own != subject.image
            subject = replace(subject, image=own)
        with errors.row(subject.place, subject.image):
            if elsewhere and (root / own).is_file():
                raise ValueError(f"names {name}, but the folder of the labels holds {own}")
            unique.add((normalize_path(subject.image), subject.name), subject.place, subject.image)
            subjects.append(subject)
    if moved:
        _log.info("%s: %d paths lead to another folder; the images in its own folder are used", file, moved)
    return replace(labels, subjects=tuple(subjects))


def _reordered(labels: Labels, names: Sequence[str]) -> list[Subject]:
    """Return the subjects with the keypoints `names`, unlabeled if their file has no column for them."""
    own = labels.skeleton.names
    if own == tuple(names):
        return list(labels.subjects)
    if missing := [name for name in names if name not in own]:
        _log.warning("%s has no column for %s; they are unlabeled there", labels.source, ", ".join(missing))
    if extra := [name for name in own if name not in names]:
        _log.warning("%s: %s are not bodyparts of config.yaml and are left out", labels.source, ", ".join(extra))
    order = [own.index(name) if name in own else -1 for name in names]  # -1 is the row appended below
    return [
        replace(
            subject,
            keypoints=np.vstack([subject.keypoints, [[np.nan, np.nan]]])[order],
            visibility=np.append(subject.visibility, 0)[order],
        )
        for subject in labels.subjects
    ]


def _read_config(path: Path) -> _Config:
    """Return the settings in config.yaml, all values as text; raise ValueError for a file without settings."""
    if not path.is_file():
        return _Config()
    if (size := path.stat().st_size) > _MAX_CONFIG:
        raise ValueError(f"{path} has {size} bytes, more than {_MAX_CONFIG}; remove entries that are not of bodyparts")
    try:
        # The base loader makes only text, lists and dictionaries.
        config = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ValueError(f"{path} is not YAML ({' '.join(str(error).split())}); correct it") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds no settings; it must be DeepLabCut's config.yaml, with bodyparts")
    several = config.get("multianimalproject") in ("true", "True", "TRUE")
    keys = ("multianimalbodyparts", "uniquebodyparts") if several else ("bodyparts",)
    names = tuple(name for key in keys for name in _names(path, key, config.get(key)))
    pairs = config.get("skeleton")
    edges = [tuple(_names(path, "skeleton", pair)) for pair in pairs] if isinstance(pairs, list) else []
    scorer = config.get("scorer")
    return _Config(scorer if isinstance(scorer, str) else "", names, tuple((e[0], e[1]) for e in edges if len(e) == 2))


def _names(path: Path, key: str, value: Any) -> list[str]:
    if value in (None, ""):
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        # Shortened, because a few lines of YAML can stand for a list that fills the memory.
        raise ValueError(f"{path}: {key} is {reprlib.repr(value)}; it must be a list of names")
    return value
