"""Calibration on the validation split: after a training, or of a checkpoint that a stopped training left."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning_fabric.utilities import move_data_to_device
from pytorch_lightning.callbacks import Callback
from torch.utils.data import Subset

from softpoint.data.dataset import KeypointDataset, input_pixel
from softpoint.data.loaders import collate
from softpoint.data.sources import Source
from softpoint.data.watched_loader import WatchedLoader
from softpoint.evaluation.bootstrap import count_units, find_units
from softpoint.inference.compatibility import upgrade
from softpoint.inference.predictor import BATCH_SIZE
from softpoint.inference.regions import check_map
from softpoint.inference.safe_load import read_torch_file
from softpoint.labels.partition import evenly_spaced
from softpoint.layers.calibration import FEW_UNITS, REGION_LEVELS
from softpoint.metrics.calibration import FRACTION
from softpoint.metrics.conformal import needed_units
from softpoint.models import KeypointNet, Network
from softpoint.training.best import best_checkpoint
from softpoint.training.calibration_errors import flip_change, measure
from softpoint.training.calibration_fit import fit_calibration
from softpoint.training.checkpoint_io import replace_checkpoint
from softpoint.training.finder_fit import calibrate_finder
from softpoint.training.processes import on_first_process
from softpoint.training.region_fit import fit_regions, fit_sets
from softpoint.types import Batch


class Calibrate(Callback):
    """After training, fits `net.calibration` to the validation split and writes it into the best checkpoint.

    The first process fits while the others wait; the new checkpoint replaces the old one when it is complete.

    Args:
        fraction: of a subject's scale: the confidence is the probability of an error up to this. It is applied to the
            typical subject, so that the distance in input pixels is a fixed number.
        images: largest number of validation images that are used.
        heatmap_sets: also fit heatmap sets, beside the ellipses.
    """

    def __init__(self, fraction: float, images: int, heatmap_sets: bool = False) -> None:
        if not fraction > 0 or images < 1:
            raise ValueError(
                f"callbacks.calibrate.fraction={fraction} must be positive, and callbacks.calibrate.images={images} at"
                " least 1; drop the callback with '~callbacks.calibrate'"
            )
        self.fraction, self.images, self.heatmap_sets = fraction, images, heatmap_sets

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        best = best_checkpoint(trainer)
        if best is None or trainer.datamodule is None:
            return
        message = on_first_process(trainer, lambda: self._calibrate(trainer, pl_module, best.path))
        if trainer.is_global_zero:
            print(message)

    def _calibrate(self, trainer: Any, module: Any, path: Path) -> str:
        """Write the fitted values into the checkpoint, and return a sentence about the fit."""
        stored = read_stored(path)
        net: KeypointNet = copy.deepcopy(whole_net(trainer, module)).eval().to(trainer.strategy.root_device)
        weights = {key.removeprefix("net."): value for key, value in stored["state_dict"].items() if key[:4] == "net."}
        net.load_state_dict({**net.calibration.state_dict(prefix="calibration."), **weights})
        held_out = "val" if trainer.limit_val_batches else None
        samples = trainer.datamodule.dataset(held_out or "train", unrounded=True)  # as a predictor gets them
        samples = replace(samples, size=tuple(stored["size"]))  # the input may have grown since
        rows = new_rows(groups_of(trainer.datamodule)) if held_out else None
        options = partial(calibrate, learned=held_out is None, rows=rows, heatmap_sets=self.heatmap_sets)
        fit = options(net, samples, self.fraction, self.images)
        said = [str(fit)]
        if net.finder is not None and held_out and len(trainer.datamodule.scenes[held_out]):
            said.append(calibrate_finder(net, trainer.datamodule.scene_samples(held_out), self.images))
        if fit.radius:
            write_calibration(path, stored, net, fit.facts)
        return "\n".join(said)


def whole_net(trainer: Any, module: Any) -> KeypointNet:
    """Return the network of a module, or where processes have divided it, one like it without its weights."""
    net: KeypointNet = getattr(trainer.strategy, "whole", None) or module.net
    return net


class Fit(NamedTuple):
    """The outcome of a calibration."""

    fraction: float  # of a subject's scale
    radius: float  # in input pixels; 0 without a labeled point
    pixel: float  # length of an input pixel in the original images
    size: tuple[int, int]  # of the input
    images: int
    units: int  # groups of them, or images of a single group; 0 where the priors remain
    kind: str  # "groups" or "images"
    of_new: str = ""  # words for the images of groups that are not trained on, where there are others
    flip: tuple[float, float] | None = None  # `flip_change` on these images; None where it was not measured
    heatmap_sets: bool = False  # whether they were fitted, too

    @property
    def facts(self) -> dict[str, Any]:
        """What the record of the run keeps of it; the radius is in pixels of the original images."""
        facts = {"calibration_units": self.units, "calibration_radius": self.radius * self.pixel}
        return {**facts, "calibrated_by": "val", "flip_change": None if self.flip is None else list(self.flip)}

    def __str__(self) -> str:
        if not self.radius:
            return "not calibrated, as no point of the validation split is labeled: confidence is the head's own"
        fitted = f"fitted on {self.images} images; independent units: {count_units(self.units, self.kind)}"
        if not self.units:
            fitted = f"as it usually is on other sets, since no image{self.of_new} is left to fit it on"
        fitted += ", and so are heatmap sets" * bool(self.heatmap_sets and self.units)
        few = f"; fewer than {FEW_UNITS} can correct the confidence only in part: validate on more {self.kind}"
        return (
            f"confidence: the probability that a point is within {self.radius * self.pixel:.1f} px"
            f" ({100 * self.fraction:g} % of the usual subject's size; {self.radius:.1f} px of the"
            f" {self.size[0]}x{self.size[1]} input), {fitted}{few * (0 < self.units < FEW_UNITS)}{self._regions()}"
            f"{self._flip()}"
        )

    def _flip(self) -> str:
        """A line on test-time averaging with mirror images; empty where it was not measured."""
        if self.flip is None:
            return ""
        changes = "tta=flip changes their errors by {:+.2f} to {:+.2f} px (95 % interval)".format(*self.flip)
        return f"\n{changes}: tta=auto {'averages with the mirror image' if self.flip[1] < 0 else 'leaves it out'}"

    def _regions(self) -> str:
        """A line on regions that so few units do not allow; empty where they do."""
        needed = {level: needed_units(level) for level in REGION_LEVELS if self.units < needed_units(level)}
        if not self.units or not needed:
            return ""
        levels = ", ".join(f"{100 * level:g} % takes {count} {self.kind}" for level, count in needed.items())
        return f"\nno region that holds a point whatever its error is like: {levels}"


def calibrate(
    net: Network,
    samples: KeypointDataset,
    fraction: float,
    images: int,
    batch_size: int = BATCH_SIZE,
    learned: bool = False,
    rows: Sequence[int] | None = None,
    heatmap_sets: bool = False,
) -> Fit:
    """Fit `net.calibration` to unrounded samples, at most `images` of them, and return the outcome.

    Only those of `rows` are used, where they are given and not empty. Samples that were `learned`, or of which rows
    leave none, say how large subjects are, but nothing of errors on others: the priors remain. Raises ValueError where
    `heatmap_sets` are wanted of a head without heatmaps.
    """
    if heatmap_sets:
        check_map(net.head, "heatmap_sets=true")
    none_new = rows is not None and not rows
    device, groups = net.calibration.radius.device, []
    chosen = [(rows or range(len(samples)))[i] for i in evenly_spaced(len(rows or samples), images)]

    def batches() -> Iterator[Batch]:
        for batch in WatchedLoader(Subset(samples, chosen), batch_size, collate_fn=collate):
            groups.extend(batch["group"])
            yield move_data_to_device(batch, device)

    none = torch.zeros_like(net.calibration.region_radii)
    net.calibration.set(radius=torch.tensor(0.0), region_radii=none, set_tails=none)  # measured before any calibration
    result = measure(net, batches(), fraction, heatmap_sets)
    labels = getattr(samples.source, "labels", None)
    names = [_image_of(samples.source, index) for index in chosen]
    unit, kind = find_units(names, groups, getattr(labels, "has_groups", False))
    units, radius = int(unit.max()) + 1, 0.0
    if result is not None:
        measured, within, absent = result
        units = 0 if learned or none_new else units
        weight = min(1.0, units / FEW_UNITS)
        net.calibration.set(**fit_calibration(measured, within, absent, weight))
        if units:
            net.calibration.set(region_radii=fit_regions(measured, unit, within, absent, weight))
        if units and heatmap_sets:
            net.calibration.set(set_tails=fit_sets(measured, unit))
        radius = float(within)
    mirrors = units and samples.source.skeleton.can_mirror and not samples.size[1] % net.stride
    flip = flip_change(net, batches(), samples.source.skeleton, unit) if mirrors else None
    of_new = " of a group that was not trained on"
    pixel = input_pixel(samples.source, samples.size, samples.padding)
    return Fit(fraction, radius, pixel, samples.size, len(chosen), units, kind, of_new * none_new, flip, heatmap_sets)


def _image_of(source: Source, index: int) -> str:
    """Return what tells the image of a sample from others, of which it may be one of several crops."""
    if (labels := getattr(source, "labels", None)) is not None:
        return str(labels.images[index])
    places = getattr(source, "places", None)  # of painted subjects
    return str(index if places is None else places[index][0])


def new_rows(groups: Mapping[str, Sequence[str]]) -> list[int] | None:
    """Return the validation samples of groups that are not trained on; None where those of all count.

    `groups` has that of each sample of train, val and test; nothing is known of a split that it lacks. All count where
    there are no groups, where val shares none with train, and where the test split shares some with it, too. Else
    errors on such validation images say little about those on new groups, as where there were too few groups.
    """
    train, val, test = (groups.get(split, ()) for split in ("train", "val", "test"))
    trained = set(train)
    if len(trained) < 2 or trained & set(test) or not trained & set(val):
        return None
    return [row for row, group in enumerate(val) if group not in trained]


def groups_of(data: Any) -> dict[str, Sequence[str]]:
    """Return the group of each sample of each split of a data module; empty where it has no labels of images."""
    return {split: source.labels.groups for split, source in data.sources.items() if hasattr(source, "labels")}


def read_stored(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint under today's names; one of a resumed run may be from an earlier version."""
    return upgrade(read_torch_file(path))


def write_calibration(path: Path, stored: dict[str, Any], net: Network, facts: Mapping[str, Any]) -> None:
    """Replace a checkpoint with the content `stored` by one with the calibration of `net`, atomically.

    `facts` of the fit are added to the record.
    """
    fitted = net.calibration.state_dict(prefix="net.calibration.")
    if isinstance(net, KeypointNet) and net.finder is not None:
        fitted["net.finder.calibration"] = net.finder.calibration
    for name, value in fitted.items():
        stored["state_dict"][name] = value.cpu()
    stored["record"] = {**stored.get("record", {}), **facts}
    replace_checkpoint(path, stored)


def confidence_fraction(trainer: Any) -> float:
    """Return the fraction of a subject's scale that the confidences of a training are about."""
    return next((callback.fraction for callback in trainer.callbacks if isinstance(callback, Calibrate)), FRACTION)
