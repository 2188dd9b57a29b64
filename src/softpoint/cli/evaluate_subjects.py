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
    from softpoint.evaluation.eval_sets import common_keypoints
    from softpoint.evaluation.subjects.predict import LEAST_SCORE, find_subjects
    from softpoint.inference.batch.stream import predict_subjects
    from softpoint.inference.subjects import subject_finder
    from softpoint.labels.groups import group_names
    from softpoint.progress import track

    least = min(LEAST_SCORE, cfg.subject_threshold)
    finder, scenes = subject_finder(checkpoint, least, cfg.max_subjects), eval_set.scenes
    if finder is None or scenes is None:
        return None
    images, model = eval_set.scene_images, predictor.skeleton
    found = find_subjects(
        partial(predict_subjects, predictor, finder, batch_size=cfg.batch_size),
        model,
        scenes,
        images,
        names=common_keypoints(model.names, scenes.skeleton.names, cfg.missing),
        has_groups=eval_set.has_groups,
        progress=partial(track, description="finding", total=len(images)),
    )
    return found if cfg.group is None else found.with_groups(group_names(images, cfg.group, "group"))


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
    return {"finding": measure_subjects(found, threshold=float(cfg.subject_threshold), **options)}
