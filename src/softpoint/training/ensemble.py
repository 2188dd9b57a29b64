"""Trained models joined to one, which predicts from the mean of their heatmaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from softpoint.data.stored_splits import pack_splits
from softpoint.evaluation.eval_data import confidence_fraction
from softpoint.inference import Checkpoint, read_checkpoint
from softpoint.inference.build_model import build_model
from softpoint.inference.model_card import write_card
from softpoint.inference.run_record import number
from softpoint.machine import library_versions
from softpoint.models import Ensemble
from softpoint.paths import normalize_path
from softpoint.training.checkpoint_io import BEST, LAST, find_in_run, replace_checkpoint
from softpoint.training.cross_fit import fold_checkpoints
from softpoint.training.record import describe_hardware

# Parts of the config of a training that say what its model is of, and facts of its record that all members share.
_CONFIG = ("name", "data", "datamodule")
_SHARED = ("data", "labels", "data_title", "data_license", "checksums", "git", "splits", "mean_position_epe")
_HELD_OUT = ("val", "test")


def find_members(places: Sequence[str]) -> tuple[list[str], Path | None]:
    """Return the checkpoints at `places`, and the folder of the cross-validation whose folds they are, or None.

    A place is the folder of a run or what `read_checkpoint` reads; one alone is the output of `softpoint crossval`.
    Raises ValueError for a single model.
    """
    if len(places) == 1:
        folds = fold_checkpoints(Path(places[0]))
        if not folds:
            raise ValueError(
                f"runs={places[0]} is one model, or no finished softpoint crossval; name several as runs=[RUN,RUN], or"
                " the output folder of softpoint crossval"
            )
        return [str(path) for path in folds], Path(places[0])
    return [find_in_run(place, [BEST]) for place in places], None


def check_output(output: Path, members: Sequence[str] = ()) -> Path:
    """Return the path of the ensemble in its folder; ValueError where another model is there."""
    path = output / "checkpoints" / BEST
    if path.with_name(LAST).exists() or path.resolve() in [Path(member).resolve() for member in members]:
        raise ValueError(f"output={output} holds a training run, whose model the ensemble would replace; name another")
    return path


def join(members: Sequence[Checkpoint], path: Path, folds: bool = False) -> Checkpoint:
    """Return trained models as one, not calibrated, which `path` is to hold.

    With `folds` of a cross-validation, whose members together learned every image, none is left as held out. Raises
    ValueError for models that differ in keypoints or input, and where one learned what another holds out.
    """
    first, *others = members
    for other in others:
        _check_alike(first, other)
    splits = _joined_splits(members, folds)
    model = {
        "_target_": "softpoint.models.Ensemble",
        "_partial_": True,
        "members": [member.config["model"] for member in members],
    }
    config = {key: first.config[key] for key in _CONFIG if key in first.config} | {"model": model}
    config["callbacks"] = {"calibrate": {"fraction": confidence_fraction(first)}}
    trust = tuple(dict.fromkeys(package for member in members for package in member.trust))
    net = build_model(model, len(first.skeleton), trust)
    state = net.calibration.state_dict(prefix="calibration.")
    for i, member in enumerate(members):
        of_member = member.net.state_dict(prefix=f"members.{i}.")
        state |= {name: value for name, value in of_member.items() if f".{i}.calibration." not in name}
    net.load_state_dict(state)
    return replace(
        first, net=net.eval(), config=config, path=path, splits=splits, record=_record(members),
        versions=library_versions(), trust=trust, address=None,
    )  # fmt: skip


def write_ensemble(ensemble: Checkpoint) -> None:
    """Write an ensemble to its path, and its model card to the folder above, each completely or not at all."""
    stored = {
        "state_dict": ensemble.net.cpu().state_dict(prefix="net."),
        "hyper_parameters": ensemble.config,
        "skeleton": ensemble.skeleton.to_dict(),
        "size": list(ensemble.size),
        "crops": ensemble.crops,
        "splits": None if ensemble.splits is None else pack_splits(ensemble.splits),
        "record": ensemble.record,
        "versions": ensemble.versions,
    }
    ensemble.path.parent.mkdir(parents=True, exist_ok=True)
    replace_checkpoint(ensemble.path, stored)
    write_card(read_checkpoint(ensemble.path, ensemble.trust), ensemble.path.parents[1] / "model_card.md")


def _check_alike(first: Checkpoint, other: Checkpoint) -> None:
    if isinstance(first.net, Ensemble) or isinstance(other.net, Ensemble):
        path = first.path if isinstance(first.net, Ensemble) else other.path
        raise ValueError(f"{path} is an ensemble itself; name its members")
    for what, own, of_other in (
        ("keypoints", ", ".join(first.skeleton.names), ", ".join(other.skeleton.names)),
        ("input size", "{}x{}".format(*first.size), "{}x{}".format(*other.size)),
        ("channels", first.channels, other.channels),
        ("bits", first.bits, other.bits),
        ("crops", first.crops, other.crops),
    ):
        if own != of_other:
            raise ValueError(
                f"{other.path} has other {what} than {first.path}: {of_other}, not {own}; members of an ensemble"
                " agree in it: train them with the same settings of data, such as data.size="
            )


def _joined_splits(members: Sequence[Checkpoint], folds: bool) -> dict[str, list[str]] | None:
    """Return the images that any member learned as train, and those that all hold out."""
    every = [member.splits for member in members]
    known = [splits for splits in every if splits is not None]
    if not known:
        return None
    if len(known) < len(every):
        raise ValueError(f"{members[every.index(None)].path} keeps no split of its images, and other members do")
    names = {name for splits in known for name in splits}
    united = {name: [*dict.fromkeys(image for splits in known for image in splits.get(name, ()))] for name in names}
    if folds:
        return {"train": [*dict.fromkeys(i for name in ("train", *sorted(names)) for i in united.get(name, ()))],
                "val": [], "test": []}  # fmt: skip
    first, *others = members
    for other in others:
        for a, b in ((first, other), (other, first)):
            _check_held_out(a, b)
    return united


def _check_held_out(a: Checkpoint, b: Checkpoint) -> None:
    """Raise ValueError where `b` does not hold out what `a` does."""
    held, learned = _images(a, _HELD_OUT), _images(b, ("train",))
    way = (
        "; train the members with the same split, by data.splits= or data.split_seed=, or name the output folder of one"
        " softpoint crossval as runs="
    )
    if leaked := sorted(held & learned):
        raise ValueError(
            f"{b.path} learned {len(leaked)} images that {a.path} holds out to validate and test it, first"
            f" {leaked[0]}, so that an ensemble of both would seem better than it is{way}"
        )
    for split in _HELD_OUT:
        if missing := sorted(_images(a, (split,)) - _images(b, (split,))):
            raise ValueError(f"{missing[0]} is in the {split} split of {a.path} and not in that of {b.path}{way}")


def _images(checkpoint: Checkpoint, splits: Sequence[str]) -> set[str]:
    return {normalize_path(image) for split in splits for image in (checkpoint.splits or {}).get(split, ())}


def _record(members: Sequence[Checkpoint]) -> dict[str, Any]:
    """Return the facts that the members share, and a list of them."""
    first, *others = (member.record for member in members)
    shared = {key: first[key] for key in _SHARED if key in first and all(r.get(key) == first[key] for r in others)}
    networks = dict.fromkeys(str(member.record.get("network", "a network")) for member in members)
    facts: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": describe_hardware(torch.device("cpu"), 1),
        "network": f"ensemble of {len(members)} models ({'; '.join(networks)})",
        "versions": library_versions(),
        "members": [_member(member) for member in members],
    }
    if all(minutes := [number(member.record.get("minutes")) for member in members]):
        facts["minutes"] = sum(filter(None, minutes))
    if known := [count for member in members if (count := number(member.record.get("known_held_out")))]:
        facts["known_held_out"] = max(known)
    return shared | _starting_weights([member.record for member in members]) | facts


def _starting_weights(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the weights that models started from and their licenses, each once; empty where one records none."""
    if not all("starting_weights" in record for record in records):
        return {}
    started = [record for record in records if record["starting_weights"] is not None]
    licenses = dict.fromkeys(
        str(record.get("weights_license") or "a license that is not recorded") for record in started
    )
    weights = dict.fromkeys(str(record["starting_weights"]) for record in started)
    return {"starting_weights": "; ".join(weights) or None, "weights_license": "; ".join(licenses) or None}


def _member(member: Checkpoint) -> dict[str, Any]:
    metrics = member.record.get("metrics")
    return {
        "checkpoint": member.address or "/".join(member.path.parts[-3:]),
        "command": member.record.get("command"),
        "epe": number(metrics.get("epe")) if isinstance(metrics, Mapping) else None,
    }
