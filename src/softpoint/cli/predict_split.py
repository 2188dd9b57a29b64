"""Predictions of a checkpoint on one split of its data, or of those that the command line sets."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from softpoint.evaluation import Results
    from softpoint.evaluation.eval_sets import EvaluationSet
    from softpoint.inference import Checkpoint, Predictor


def predict_split(
    cfg: DictConfig, checkpoint: Checkpoint, other: Checkpoint | None = None
) -> tuple[Results, EvaluationSet, Predictor]:
    """Return the predictions of a checkpoint, or of the other one, on the data of the first; the set; the predictor."""
    from dataclasses import replace

    from hydra.core.hydra_config import HydraConfig

    from softpoint.data.crops import check_size
    from softpoint.evaluation.eval_data import open_set
    from softpoint.evaluation.predict import evaluation_predictor, predict
    from softpoint.evaluation.repeats import repeat_names
    from softpoint.inference.regions import SETS, Regions
    from softpoint.labels.groups import group_names
    from softpoint.progress import track

    keys = [word.lstrip("+").split("=")[0] for word in HydraConfig.get().overrides.task]
    fixed = [key.removeprefix("data.") for key in keys if key.startswith("data.")]
    if checkpoint.finder and "finding_pixels" in fixed:
        height, width = checkpoint.finder["size"]
        raise ValueError(
            f"data.finding_pixels={cfg.data.finding_pixels}: a model finds subjects in inputs of the size that it was"
            f" trained with, {height}x{width}; for another one train on, by softpoint train init={checkpoint.path}"
        )
    eval_set = open_set(checkpoint, cfg.split, overridden_data(cfg), fixed, other)
    groups = None if cfg.group is None else group_names(eval_set.images, cfg.group, "group")
    if cfg.repeat is not None:  # an error need not wait for the predictions
        repeat_names(eval_set.images, str(cfg.repeat))
    size = check_size(plain_value(cfg.data.size)) if "size" in fixed and cfg.data.size is not None else None
    options = {"device": cfg.device, "tta": cfg.tta, "unpaired": cfg.tta_unpaired, "size": size}
    predictor = evaluation_predictor(other or checkpoint, eval_set, **options)
    loading = {key: cfg[key] for key in ("batch_size", "num_workers", "missing")}
    sets = Regions.of(predictor.net.calibration, predictor.skeleton.names, SETS)
    results = predict(predictor, eval_set, sets=sets, progress=partial(track, description="predicting"), **loading)
    results = results if groups is None else replace(results, groups=groups, has_groups=False)
    return results, eval_set, predictor


def overridden_data(cfg: DictConfig) -> dict[str, Any]:
    """The keys of data that the command line sets, directly or by a choice of data=NAME."""
    from softpoint.evaluation.eval_data import STORED

    changes = {key: value for key, value in plain_value(cfg.data).items() if value != STORED}
    return changes | ({"_target_": cfg.datamodule._target_} if "datamodule" in cfg else {})


def plain_value(value: Any) -> Any:
    """Return the content of a config, resolved; any other value as it is."""
    return OmegaConf.to_container(value, resolve=True, throw_on_missing=True) if OmegaConf.is_config(value) else value
