"""What a training decides where its settings say auto: the backbone, the input, the batch, and mirrored images."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from softpoint.cli.run_folder import AUTO

if TYPE_CHECKING:
    from softpoint.training.time_budget import Choice

# Settings of data that a run decides itself, where they are auto.
_OF_DATA = ("pixels", "batch_size")


def keep_decisions(cfg: DictConfig, stored: Mapping[str, Any]) -> None:
    """Put what a run that goes on decided, by its checkpoint `stored`, into its config, where that says auto."""
    before = stored.get("hyper_parameters", {}).get("data")
    if not isinstance(before, dict):
        return
    if before.get("group", "") is None and cfg.data.get("group") == AUTO:
        cfg.data.group = None  # an earlier version found no groups in file names, and so split others
    cfg.data.update({key: before[key] for key in _OF_DATA if key in before and cfg.data.get(key) == AUTO})
    if cfg.get("augment") and cfg.augment.get("flip") == AUTO and before.get("augment"):
        cfg.augment.flip = before["augment"]["flip"]


@dataclass
class Decisions:
    """The decisions of one training, in the order in which they can be taken.

    Args:
        config: of the training, as it is stated, whose references stay.
    """

    config: DictConfig
    notes: list[str] = field(default_factory=list)  # lines that say at the start what was decided, and why
    budget: Choice | None = None  # of minutes: the input and the batch, by the speed of the machine

    def backbone(self, cfg: DictConfig, before: Mapping[str, Any], trainer: Any) -> None:
        """Choose the backbone, before the network is made from `cfg`; `before` is the config it follows, or empty."""
        from hydra.core.hydra_config import HydraConfig

        from softpoint.cli.first_weights import settle_backbone, settle_weights

        self._note(settle_backbone(cfg, HydraConfig.get().runtime.choices.get("backbone"), before, trainer))
        if cfg.get("backbone"):
            self.config.backbone = copy.deepcopy(cfg.backbone)
            settle_weights(cfg, before)

    def input(self, parts: Mapping[str, Any], data: Any, trainer: Any) -> None:
        """Choose the input's size and the batch, before the data are set up, by the speed of the parts of a module."""
        from softpoint.training.growth import growth_of
        from softpoint.training.time_budget import fit_to_minutes

        if parts.get("compile") and (growth := growth_of(trainer)):
            trainer.callbacks.remove(growth)  # inductor fails on sizes that change
            if "pixels" in data.undecided:
                self._note("the input keeps one size, because compile=true compiles the network for one")
        net = partial(parts["net"], in_channels=data.channels)
        self.budget = fit_to_minutes(data, net, parts["loss"], parts["optimizer"], trainer, parts.get("finder_loss"))
        if self.budget:
            self._note(self.budget.line(data.sizes or [data.size]))

    def mirroring(self, data: Any) -> None:
        """Choose augment.flip, once the labels are read.

        Half of the images are mirrored where training labels show that mirrored ones could be among them. Where the
        setting says that none are, a note names it.
        """
        from softpoint.audit.mirror import why_mirrored

        augment, labels = data.augment, getattr(data.sources["train"], "labels", None)
        why = why_mirrored(labels) if augment is not None and labels is not None else ""
        if augment is None or not (augment.flip_is_open or why):
            return
        augment.decide_flip(bool(why))
        if augment.flip_is_open:
            reason = why or "nothing in the labels shows that mirrored ones occur"
            self._note(
                f"augment.flip=auto: {'half of the images are' if why else 'no image is'} mirrored, because {reason}"
            )
        elif not augment.flip:
            self._note(f"no image is mirrored, though {why}: augment.flip=auto would mirror half of them")

    def settled(self, data: Any) -> dict[str, Any]:
        """Values of settings that were decided, and of those that the images decide, for a checkpoint."""
        chosen = {key: getattr(data, key) for key in _OF_DATA if self.config.data.get(key) == AUTO}
        model = _input_of(self.config.model, data)
        if data.scenes and "finder" in self.config.model:
            model |= of_several(self.config.finder)
        settled: dict[str, Any] = {"model": model, "data": data.read_settings | chosen}
        if self.config.get("augment") and self.config.augment.get("flip") == AUTO:
            settled["augment"] = {"flip": data.augment.flip}
        return settled

    def stored(self, settled: Mapping[str, Any]) -> Any:
        """Return the config of a checkpoint: plain values, with those of `settled` in their places."""
        return OmegaConf.to_container(OmegaConf.merge(self.config, settled), resolve=True)

    def _note(self, line: str) -> None:
        self.notes += [line] if line else []


def of_several(finder: DictConfig) -> dict[str, Any]:
    """Return the config of the parts that a network of several subjects has beside those of others."""
    parts = {"decoder": "${decoder}", "backbone": None if finder.share else "${backbone}"}
    mark = {"_target_": "softpoint.layers.SubjectMark", "_partial_": True} if finder.mark else None
    return {"finder": {"_target_": "softpoint.models.Finder", "_partial_": True, **parts}, "mark": mark}


def _input_of(model: DictConfig, data: Any) -> dict[str, Any]:
    """Return the arguments of the network that its images decide: their channels, and what standardizes them."""
    chosen: dict[str, Any] = {"in_channels": data.channels} if data.channels != 3 else {}
    if data.standardizes and model.get("mean") is None and model.get("std") is None:
        chosen |= dict(zip(("mean", "std"), data.color_statistics(), strict=True))
    return chosen
