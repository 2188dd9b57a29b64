"""Calibrate a model on its validation split: softpoint calibrate ckpt=RUN/checkpoints/best.ckpt"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from softpoint.cli.faults import calibration_command
from softpoint.cli.overrides import whole_number
from softpoint.cli.run_folder import lock

if TYPE_CHECKING:
    from softpoint.inference import Checkpoint
    from softpoint.training.calibrate import Fit
    from softpoint.training.cross_fit import CrossFit


def main(cfg: DictConfig) -> None:
    """Fit confidence, covariance and regions to errors on images that were not learned, and write them."""
    from dataclasses import replace
    from pathlib import Path

    from softpoint.evaluation.eval_data import STORED, calibration_settings
    from softpoint.inference import read_checkpoint, save_pretrained
    from softpoint.inference.predictor import check_device
    from softpoint.inference.regions import SETS, Regions
    from softpoint.training.calibrate import read_stored, write_calibration
    from softpoint.training.cross_fit import cross_fitted

    check_device(cfg.device)
    checkpoint = read_checkpoint(cfg.ckpt, cfg.trust)
    if checkpoint.address is not None:
        raise ValueError(
            f"{checkpoint.address} is a model of the Hub, and its copy in the cache is not changed; calibrate one of"
            f" your own: {calibration_command(checkpoint)}"
        )
    if checkpoint.path.parent.name == "checkpoints":  # of a run, which may still be writing a better one
        lock(checkpoint.path.absolute().parents[1])
    fit: Fit | CrossFit
    found = ""
    overrides = {str(key): value for key, value in cfg.data.items() if value != STORED}
    if cfg.crossval is None:
        before = Regions.of(checkpoint.net.calibration, checkpoint.skeleton.names, SETS)
        usual = before is not None or calibration_settings(checkpoint).get("heatmap_sets") is True
        fit = fit_to_validation(cfg, checkpoint, overrides, usual if cfg.heatmap_sets is None else cfg.heatmap_sets)
        found = fit_finder(cfg, checkpoint, overrides)
    else:
        if cfg.heatmap_sets:
            raise ValueError(
                f"heatmap_sets=true: crossval={cfg.crossval} keeps no heatmaps; fit them on a validation split, without"
                " crossval="
            )
        fit = cross_fitted(checkpoint, Path(cfg.crossval))
        checkpoint.net.calibration.set(**fit.values)
    if checkpoint.path.is_dir():
        record = {**checkpoint.record, **fit.facts}
        save_pretrained(replace(checkpoint, net=checkpoint.net.cpu(), record=record), checkpoint.path)
    else:
        write_calibration(checkpoint.path, read_stored(checkpoint.path), checkpoint.net, fit.facts)
    print(*filter(None, [str(fit), found]), f"written into {checkpoint.path}", sep="\n")


def fit_finder(cfg: DictConfig, checkpoint: Checkpoint, overrides: Mapping[str, Any]) -> str:
    """Fit the score of a network's finder to its validation split, and return a line about it; "" without a finder."""
    from softpoint.data.scene_samples import SceneSamples
    from softpoint.evaluation.eval_data import open_set
    from softpoint.models import KeypointNet
    from softpoint.training.finder_fit import calibrate_finder

    net, finder = checkpoint.net, checkpoint.finder
    if finder is None or not isinstance(net, KeypointNet):
        return ""
    scenes = open_set(checkpoint, "val", overrides).scenes
    if scenes is None or not len(scenes):
        return "the score of finds is as before: there is no image to find subjects in"
    samples = SceneSamples(scenes, finder["size"], finder["anchor"])
    return calibrate_finder(net.to(cfg.device), samples, whole_number(cfg, "images", 1))


def fit_to_validation(cfg: DictConfig, checkpoint: Checkpoint, overrides: Mapping[str, Any], heatmap_sets: bool) -> Fit:
    """Fit the calibration of the network to its validation split, and return the outcome.

    `overrides` are those of `open_set`; the settings `images`, `batch_size` and `device` are those of the command.
    """
    from softpoint.data.dataset import KeypointDataset
    from softpoint.data.sources import LabeledImages
    from softpoint.evaluation.eval_data import confidence_fraction, open_set, split_groups
    from softpoint.training.calibrate import calibrate, new_rows

    images, batch_size = (whole_number(cfg, key, 1) for key in ("images", "batch_size"))
    val = open_set(checkpoint, "val", overrides)
    if val.skeleton.names != checkpoint.skeleton.names:
        raise ValueError(
            f"the labels name {', '.join(val.skeleton.names)}, and the model {', '.join(checkpoint.skeleton.names)};"
            " give labels of the same keypoints"
        )
    samples = KeypointDataset(val.source, checkpoint.size, (0,), padding=val.padding, unrounded=True)
    groups = split_groups(checkpoint, overrides)
    if groups and isinstance(val.source, LabeledImages):
        groups["val"] = list(val.source.labels.groups)  # of each sample, in their order
    net, fraction = checkpoint.net.to(cfg.device), confidence_fraction(checkpoint)
    fit = calibrate(net, samples, fraction, images, batch_size, rows=new_rows(groups), heatmap_sets=heatmap_sets)
    if not fit.radius:
        raise ValueError(f"{fit}; nothing was written")
    return fit
