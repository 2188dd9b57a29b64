"""The data to evaluate a checkpoint on, from its config or a command line; a checkpoint is not trusted."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from inspect import signature
from pathlib import Path
from typing import Any

from softpoint.data.datamodule import KeypointData
from softpoint.data.labeled import LabeledData
from softpoint.data.loaders import Loader
from softpoint.evaluation.eval_sets import EvaluationSet, labeled_set, split_set
from softpoint.inference import Checkpoint
from softpoint.inference.checkpoint import trained_images
from softpoint.labels.box_files import read_boxes
from softpoint.labels.boxes import BOX_SOURCES
from softpoint.labels.formats import recognize
from softpoint.labels.groups import with_groups
from softpoint.labels.label_sets import as_paths, source_name
from softpoint.labels.load import read_source
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.source import LabelSource
from softpoint.labels.split import Split
from softpoint.metrics.calibration import FRACTION
from softpoint.paths import normalize_path
from softpoint.suggest import did_you_mean, setting

SPLITS = ("train", "val", "test", "all")
# Value of a config key that the checkpoint provides.
STORED = "stored"

# Module of the painters that an untrusted config may build.
_SCENES = "softpoint.data.synthetic"
# Keys that decide which images are tested.
_SPLITTING = ("categories", "splits", "val", "test", "fold", "folds", "group", "split_seed", "seed")

# Keys of paths, and bounds of a checkpoint's own numbers: of subjects in a split, and of the options of a scene.
_PATHS = ("labels", "images", "splits", "folder")
_LISTS = ("labels", "images")  # of these, which may be lists
MAX_SUBJECTS, MAX_SCENE_NUMBER = 100_000, 1 << 16

_log = logging.getLogger(__name__)


def open_set(
    checkpoint: Checkpoint,
    split: str = "test",
    overrides: Mapping[str, Any] | None = None,
    fixed: Collection[str] = (),
    other: Checkpoint | None = None,
) -> EvaluationSet:
    """Return the images of one split, of the data that a checkpoint was trained on or of another set.

    Args:
        split: train, val, test, or all for every image that is labeled.
        overrides: settings of data that replace the stored ones; with `_target_`, those of another set, which is
            cropped and resized as in training unless a key is among `fixed`.
        other: a second checkpoint to compare with: the set is cropped and resized as for that one.

    The stored split is used unless `overrides` decides another. Raises FileNotFoundError and ValueError for missing
    files, and ValueError for a checkpoint whose data is none of softpoint's.
    """
    if split not in SPLITS:
        raise ValueError(f"split={split!r}: {did_you_mean(split, SPLITS)}")
    overrides = dict(overrides or {})
    own = "_target_" in overrides
    config = overrides if own else {**_stored(checkpoint, overrides), **overrides}
    if own or other is not None:
        model = other or checkpoint
        crops = {key: model.crops[key] for key in ("padding", "boxes")} if model.crops else {}
        mode = "multi" if model.finder else "instance" if crops else "image"
        inputs = {"size": list(model.size), "mode": mode, **crops}
        inputs["channels"] = model.channels
        config = {**config, **{key: value for key, value in inputs.items() if key not in fixed}}
    target = config.pop("_target_")
    kind = _data_class(target, checkpoint)
    kept = None if decides_split(overrides) else checkpoint.splits
    if kept and split != "all" and not kept.get(split, [""]):
        raise ValueError(
            f"{checkpoint.path} has no {split} image: it was trained without that split; name labels that it did not"
            " learn, by data=custom data.labels=FILE split=all"
        )
    try:
        if issubclass(kind, LabeledData) and (split == "all" or (kept and split in kept)):
            images = None if split == "all" or kept is None else kept[split]
            chosen = labeled_set(_source(config), config.get("group"), images, bool(config.get("complete", True)))
        else:
            chosen = split_set(_module(kind, config, checkpoint), split)
    except FileNotFoundError as error:
        if own or "labels" in overrides:
            raise
        raise FileNotFoundError(
            f"{error}. {checkpoint.path} was trained on it; name its new place by data.labels=FILE data.images=FOLDER"
        ) from error
    for trained in (checkpoint, other) if split != "train" else ():
        if trained is not None and trained.splits:
            _warn_of_trained_images(trained.path, trained_images(trained.splits), chosen.images)
    return chosen


def split_groups(checkpoint: Checkpoint, overrides: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the groups of the images of each stored split, by their labels; empty where no split of files is stored.

    `overrides` are those of `open_set`, whose errors are raised; where they decide the split, nothing is known of it.
    """
    if not checkpoint.splits or decides_split(overrides):
        return {}
    config = {**_stored(checkpoint, overrides), **overrides}
    if not issubclass(_data_class(config.pop("_target_"), checkpoint), LabeledData):
        return {}
    source = _source(config)
    labels = with_groups(
        read_source(source, RowErrors(source_name(source.labels), "skip", silent=True)), config.get("group")
    )
    groups = dict(zip(labels.paths, labels.groups, strict=True))
    return {
        split: [groups[path] for path in map(normalize_path, images) if path in groups]
        for split, images in checkpoint.splits.items()
    }


def confidence_fraction(checkpoint: Checkpoint) -> float:
    """Return the fraction of a subject's scale within which a confidence is the probability of the point."""
    fraction = calibration_settings(checkpoint).get("fraction")
    return float(fraction) if isinstance(fraction, (int, float)) and 0 < fraction < 1 else FRACTION


def calibration_settings(checkpoint: Checkpoint) -> Mapping[str, Any]:
    """Return the settings `callbacks.calibrate` of a training; empty without any."""
    callbacks = checkpoint.config.get("callbacks")
    settings = callbacks.get("calibrate") if isinstance(callbacks, Mapping) else None
    return settings if isinstance(settings, Mapping) else {}


def decides_split(overrides: Mapping[str, Any]) -> bool:
    """Return whether replaced settings, or another set, decide the split in place of the stored one.

    >>> decides_split({"labels": "elsewhere.csv"}), decides_split({"fold": 1, "folds": 5})
    (False, True)
    """
    return "_target_" in overrides or bool(set(overrides) & set(_SPLITTING))


def held_out_of_all(checkpoints: Sequence[Checkpoint], split: str) -> set[str] | None:
    """Return the images, by `normalize_path`, of the first's stored split that no other was trained or chosen on.

    None means any image. Raises ValueError where there is none.
    """
    first, *others = checkpoints
    if split not in ("val", "test") or not first.splits:
        return None
    kept = {normalize_path(image) for image in first.splits.get(split, ())}
    for other in others:
        for name, images in (other.splits or {}).items():
            kept -= {normalize_path(image) for image in images} if name != split else set()
        if other.splits and not kept:
            raise ValueError(
                f"{other.path} was trained or chosen on every {split} image of {first.path} that is left; compare them"
                " on images that are new to all of them, by data=NAME split=all"
            )
    return kept if any(other.splits for other in others) else None


def _stored(checkpoint: Checkpoint, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stored settings and their `_target_`, with the size of the network's input.

    Raises ValueError for settings that would open another machine's data, or paint without bound.
    """
    stored, module = checkpoint.config.get("data"), checkpoint.config.get("datamodule")
    node = module if isinstance(module, Mapping) else stored  # earlier versions kept the class beside the settings
    if not isinstance(stored, Mapping) or not isinstance(node, Mapping) or "_target_" not in node:
        raise ValueError(
            f"{checkpoint.path} does not state the data that it was trained on; name labels by data=custom"
            " data.labels=FILE data.images=FOLDER, or a public set by data=NAME"
        )
    folder = stored.get("folder")
    if "folder" not in overrides and isinstance(folder, str) and ("://" in folder or folder.startswith("local:")):
        raise ValueError(
            f"{checkpoint.path} names data at {folder}, which is not opened for a checkpoint's sake; set"
            " data.folder=ADDRESS yourself"
        )
    for key in set(_PATHS) & stored.keys() - overrides.keys():
        listed = isinstance(stored[key], list) and key in _LISTS
        values = stored[key] if listed else [stored[key] or ""]
        if not all(isinstance(value, str) and not value.startswith(("//", "\\\\")) for value in values):
            raise ValueError(
                f"{checkpoint.path}: its data.{key} is no path on this machine; set data.{key}=PATH yourself"
            )
    for key in {"train", "val", "test"} & stored.keys() - overrides.keys():
        if isinstance(value := stored[key], int | float) and not value <= MAX_SUBJECTS:
            raise ValueError(
                f"{checkpoint.path}: its data.{key}={value} is more than {MAX_SUBJECTS}; set data.{key}=NUMBER yourself"
            )
    if "labels" not in overrides and stored.get("labels") is not None:
        for path in as_paths(stored["labels"]):
            _check_recognized(path, checkpoint)
    if "splits" not in overrides and stored.get("splits") is not None:
        if not checkpoint.splits:
            raise ValueError(
                f"{checkpoint.path} keeps no split, and a split file is opened only where you name it: set"
                f" {setting('data.splits', stored['splits'])}"
            )
        stored = {**stored, "splits": None}
    if isinstance(stored.get("homography"), str) or {"mm_per_pixel", "homography"} & overrides.keys():
        stored = {**stored, "mm_per_pixel": None, "homography": None}  # no file is opened, and one replaces the other
    if "boxes" not in overrides and stored.get("boxes") not in BOX_SOURCES:
        _check_boxes(stored["boxes"], checkpoint)
    local = ("cache_dir", "max_cache_gb", "max_pixels", "window")
    settings = {key: value for key, value in stored.items() if key not in local}
    return settings | {"size": list(checkpoint.size), "_target_": node["_target_"]}


def _check_boxes(boxes: Any, checkpoint: Checkpoint) -> None:
    """Raise ValueError, which quotes nothing of its content, for a file that a checkpoint names and that has no box."""
    try:
        usable = isinstance(boxes, str) and not boxes.startswith(("//", "\\\\"))
        if usable and Path(boxes).exists():
            read_boxes(Path(boxes), checkpoint.skeleton.names)
    except (OSError, ValueError):
        usable = False
    if not usable:
        raise ValueError(f"{checkpoint.path}: its data.boxes is no file of boxes; set data.boxes=FILE yourself")


def _check_recognized(labels: Path, checkpoint: Checkpoint) -> None:
    """Raise ValueError for a file that a checkpoint names as its labels and that has the content of none.

    The message of a reader would quote that content: any file of this machine, by a checkpoint that may be anyone's.
    """
    try:
        if labels.exists():
            recognize(labels)
    except ValueError:
        raise ValueError(
            f"{checkpoint.path} names {labels} as its labels, which is in no known label format and therefore not"
            " opened; if it is yours, set data.labels=FILE"
        ) from None


def _data_class(target: Any, checkpoint: Checkpoint) -> type[KeypointData]:
    """Return the data module that a target names; ValueError unless it is one of softpoint's."""
    package, _, name = str(target).rpartition(".")
    kind = getattr(importlib.import_module("softpoint.data"), name, None) if package == "softpoint.data" else None
    if not (isinstance(kind, type) and issubclass(kind, KeypointData)):
        raise ValueError(f"{checkpoint.path}: the data is a {target!r}, and only classes of softpoint.data are built")
    return kind


def _fields(kind: type[Any], settings: Mapping[str, Any]) -> Any:
    """Return a dataclass with those of the settings that it has."""
    return kind(**{field.name: settings[field.name] for field in fields(kind) if field.name in settings})


def _source(settings: Mapping[str, Any]) -> LabelSource:
    if "labels" not in settings:
        raise ValueError("there are no labels to evaluate: give data.labels=FILE data.images=FOLDER")
    # Every image is predicted anyway: decoding them all first only serves to leave damaged ones out.
    source: LabelSource = _fields(LabelSource, {**settings, "verify": settings.get("on_error") == "skip"})
    return source


def _module(kind: type[KeypointData], settings: Mapping[str, Any], checkpoint: Checkpoint) -> KeypointData:
    """Return the data module, set up to read its splits; ValueError for settings that it does not have."""
    loader = Loader(settings.get("batch_size", 8), 0)
    try:
        if issubclass(kind, LabeledData):
            split = _fields(Split, {**settings, "limit": None, "limit_groups": None})
            sizes = {key: settings[key] for key in ("size", "pixels", "complete") if key in settings}
            data: KeypointData = LabeledData(_source(settings), split, loader, settings.get("seed", 0), **sizes)
        else:
            known = signature(kind.__init__).parameters
            arguments = {key: value for key, value in {**settings, "augment": None}.items() if key in known}
            children = {key: _scene(value) for key, value in arguments.items() if isinstance(value, Mapping)}
            data = kind(**{**arguments, **children, "loader": loader})
    except TypeError as error:
        raise ValueError(f"{checkpoint.path}: its data cannot be opened: {error}; choose data=NAME") from error
    data.setup("test")
    return data


def _scene(node: Mapping[str, Any]) -> Any:
    if "_target_" not in node:
        return dict(node)
    package, _, name = str(node["_target_"]).rpartition(".")
    scenes = importlib.import_module(_SCENES)
    if package != _SCENES or name not in scenes.__all__:
        raise ValueError(f"the data names {node['_target_']!r}, and only scenes of {_SCENES} are built")
    if wrong := [
        key for key, value in node.items() if isinstance(value, int | float) and not value <= MAX_SCENE_NUMBER
    ]:
        raise ValueError(f"{node['_target_']}: {wrong[0]}={node[wrong[0]]} is more than {MAX_SCENE_NUMBER}")
    return getattr(scenes, name)(**{key: value for key, value in node.items() if key != "_target_"})


def _warn_of_trained_images(path: Path, trained: set[str], images: Sequence[str]) -> None:
    """Warn where the images have names of images that the network was trained on."""
    names = dict.fromkeys(normalize_path(image) for image in images)
    if seen := [image for image in names if image in trained]:
        message = (
            "%d of %d images have the names of images that %s was trained on, first %s; if they are the same images,"
            " the metrics are better than on new ones"
        )
        _log.warning(message, len(seen), len(names), path, seen[0])
