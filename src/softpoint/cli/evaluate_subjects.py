"""What a model finds by itself in the images of an evaluation, for `softpoint evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

if TYPE_CHECKING:
    from softpoint.evaluation.eval_sets import EvaluationSet
    from softpoint.evaluation.subjects import SubjectResults
    from softpoint.inference import Checkpoint, Predictor


def found_subjects(
    cfg: DictConfig, checkpoint: Checkpoint, eval_set: EvaluationSet, predictor: Predictor
) -> SubjectResults | None:
    """Return what is found in the images of a set; None for a model or a set of single subjects."""
    from softpoint.evaluation.subjects.predict import LEAST_SCORE, find_in_set
    from softpoint.labels.groups import group_names
    from softpoint.progress import track

    options: dict[str, Any] = {key: cfg[key] for key in ("max_subjects", "batch_size", "missing")}
    least = min(LEAST_SCORE, cfg.subject_threshold)
    options["progress"] = partial(track, description="finding subjects", total=len(eval_set.scene_images))
    found = find_in_set(checkpoint, eval_set, predictor, threshold=least, **options)
    if found is None or cfg.group is None:
        return found
    return found.with_groups(group_names(eval_set.scene_images, cfg.group, "group"))


def why_not_found(checkpoint: Checkpoint, found: SubjectResults | None) -> dict[str, str]:
    """Return the reason why nothing is searched for by a model that could, under "finding"; empty where it is."""
    if checkpoint.finder is None or found is not None:
        return {}
    return {"finding": "the images are evaluated with one subject each; leave data.mode as it is"}


def finding_metrics(cfg: DictConfig, found: SubjectResults | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what metrics.json has about found subjects under "finding"; empty without any."""
    from softpoint.evaluation.subjects import measure_subjects

    if found is None:
        return {}
    options = {key: settings[key] for key in ("oks_sigmas", "draws", "seed")}
    return {"finding": measure_subjects(found, **_limits(cfg), **options)}


def check_finding(cfg: DictConfig) -> None:
    """Raise ValueError for settings of found subjects that are no numbers from 0 to 1, before anything is predicted."""
    from softpoint.evaluation.subjects.summary import check_limits

    check_limits(**_limits(cfg))


def _limits(cfg: DictConfig) -> dict[str, Any]:
    limits = {"level": cfg.finding.oks, "distance": cfg.finding.distance, "overlap": cfg.finding.overlap}
    return {"threshold": cfg.subject_threshold, **limits}
