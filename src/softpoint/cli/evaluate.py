"""Measure a trained model on held-out images: softpoint evaluate ckpt=RUN/checkpoints/best.ckpt"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from softpoint.cli.faults import warn_of_faults
from softpoint.cli.overrides import whole_number

if TYPE_CHECKING:
    from softpoint.evaluation import Results
    from softpoint.evaluation.eval_sets import EvaluationSet
    from softpoint.inference import Checkpoint, Predictor


def main(cfg: DictConfig) -> None:
    """Write metrics.json and the files it is made of; for two checkpoints comparison.json."""
    from pathlib import Path

    from rich.console import Console

    from softpoint.data.dataset import input_pixel
    from softpoint.evaluation import compare, evaluate
    from softpoint.evaluation.console import comparison_tables, metrics_tables
    from softpoint.evaluation.eval_data import confidence_fraction, decides_split, held_out_of_both
    from softpoint.evaluation.files import write_comparison, write_evaluation
    from softpoint.evaluation.summary import check_settings
    from softpoint.inference import read_checkpoint
    from softpoint.inference.predictor import check_device
    from softpoint.paths import normalize_path

    paths, output, console = checkpoint_paths(cfg), Path(cfg.output), Console()
    if output.exists() and not output.is_dir():
        raise ValueError(f"output={output} is a file; name a folder")
    check_device(cfg.device)
    draws: dict[str, Any] = {key: whole_number(cfg, key) for key in ("draws", "seed")}
    first, *others = [read_checkpoint(path, list(cfg.trust)) for path in paths]
    for checkpoint in (first, *others) if cfg.warn else ():
        warn_of_faults(checkpoint)
    settings = {"oks_sigmas": _plain(cfg.oks_sigmas), "nme_pair": _plain(cfg.nme_pair)}
    if cfg.missing == "error":  # then all keypoints will be there, and an error need not wait for the predictions
        check_settings(first.skeleton, **settings)
    results, eval_set, predictor = predicted(cfg, first)
    labels = getattr(eval_set.source, "labels", None)
    data = labels.source if labels else cfg.get("name") or "that of the run"
    about = {"data": data, "split": cfg.split, "tta": cfg.tta, "group": cfg.group}
    if others:
        # Where the command line decides what is tested, the splits of the runs do not.
        fair = None if decides_split(_overridden_data(cfg)) else held_out_of_both(first, others[0], cfg.split)
        a = results.select(i for i, image in enumerate(results.images) if fair is None or normalize_path(image) in fair)
        b, *_ = predicted(cfg, first, others[0])
        fractions = [confidence_fraction(checkpoint) for checkpoint in (first, others[0])]
        about = {"a": paths[0], "b": paths[1], **about, "confidence_fractions": fractions}
        fraction = fractions[0] if fractions[0] == fractions[1] else None
        comparison = compare(a, b, **settings, **draws, fraction=fraction, about=about)
        write_comparison(output, a, b, comparison)
        console.print(comparison_tables(comparison), f"A is {paths[0]}\nB is {paths[1]}")
    else:
        fraction = confidence_fraction(first)
        radius = float(first.net.calibration.radius) or None  # in input pixels; 0 where it was not calibrated
        original = radius and radius * input_pixel(eval_set.source, predictor.size, eval_set.padding)
        radii = {"confidence_radius": radius, "confidence_radius_original": original, "confidence_fraction": fraction}
        metrics = evaluate(
            results, **settings, **draws, fraction=fraction, about={"checkpoint": paths[0], **about, **radii}
        )
        write_evaluation(output, results, metrics, eval_set if cfg.figures else None)
        console.print(metrics_tables(metrics))
        if original:
            print(f"confidence: the probability of an error of at most {original:.1f} px in these images")
    print(f"written to {output}")


def checkpoint_paths(cfg: DictConfig) -> list[str]:
    """Return the paths of one checkpoint or two; ValueError for anything else."""
    paths = list(cfg.ckpt) if OmegaConf.is_list(cfg.ckpt) else [cfg.ckpt]
    if not all(isinstance(path, str) for path in paths) or len(paths) not in (1, 2):
        raise ValueError(f"ckpt={cfg.ckpt}: give the path of one checkpoint, or [A,B] to compare two")
    return paths


def predicted(
    cfg: DictConfig, checkpoint: Checkpoint, other: Checkpoint | None = None
) -> tuple[Results, EvaluationSet, Predictor]:
    """Return the predictions of a checkpoint, or of the other one, on the data of the first; the set; the predictor."""
    from dataclasses import replace
    from functools import partial

    from hydra.core.hydra_config import HydraConfig
    from rich.progress import track

    from softpoint.data.datamodule import check_size
    from softpoint.evaluation.eval_data import open_set
    from softpoint.evaluation.predict import evaluation_predictor, predict
    from softpoint.labels.split import group_names

    keys = [word.lstrip("+").split("=")[0] for word in HydraConfig.get().overrides.task]
    fixed = [key.removeprefix("data.") for key in keys if key.startswith("data.")]
    eval_set = open_set(checkpoint, cfg.split, _overridden_data(cfg), fixed, other)
    groups = None if cfg.group is None else group_names(eval_set.images, cfg.group, "group")
    size = check_size(_plain(cfg.data.size)) if "size" in fixed and cfg.data.size is not None else None
    options = {"device": cfg.device, "tta": cfg.tta, "unpaired": cfg.tta_unpaired, "size": size}
    predictor = evaluation_predictor(other or checkpoint, eval_set, **options)
    loading = {key: cfg[key] for key in ("batch_size", "num_workers", "missing")}
    results = predict(predictor, eval_set, progress=partial(track, description="predicting"), **loading)
    return replace(results, groups=groups or results.groups), eval_set, predictor


def _overridden_data(cfg: DictConfig) -> dict[str, Any]:
    """The keys of data that the command line sets, directly or by a choice of data=NAME."""
    from softpoint.evaluation.eval_data import STORED

    changes = {key: value for key, value in _plain(cfg.data).items() if value != STORED}
    return changes | ({"_target_": cfg.datamodule._target_} if "datamodule" in cfg else {})


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True, throw_on_missing=True) if OmegaConf.is_config(value) else value
