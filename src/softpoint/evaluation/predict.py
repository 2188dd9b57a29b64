"""A network's answers for a whole set, in original pixels."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from softpoint.data.crops import input_matrix
from softpoint.data.geometry import warp
from softpoint.data.sources import Record
from softpoint.evaluation.eval_sets import EvaluationSet, common_keypoints
from softpoint.evaluation.results import Results
from softpoint.functional import transform_covariance, transform_points
from softpoint.inference import Checkpoint
from softpoint.inference.flip_tta import flip_average
from softpoint.labels.skeleton import Skeleton

_log = logging.getLogger(__name__)

# What a network answered for one subject, beside what is true of it.
Answer = tuple[Record, dict[str, np.ndarray]]


def predict_with(
    checkpoint: Checkpoint, given: EvaluationSet, *, tta: str | None = None, unpaired: bool = False, **options: Any
) -> Results:
    """Predictions of a checkpoint for a set, whose labels may name pairs that it does not know.

    `tta` is "flip" to average over each image and its mirror, see `flip_average`; `options` are those of `predict`.
    """
    if tta not in (None, "flip"):
        raise ValueError(f"tta={tta!r} is unknown; choose flip, or null")
    net: nn.Module = checkpoint.net
    if tta:
        skeleton = checkpoint.skeleton
        pairs = skeleton.flip_pairs or _pairs_among(skeleton.names, given.skeleton)
        net = flip_average(checkpoint.net, replace(skeleton, flip_pairs=pairs), unpaired)
        if not _trained_with_flips(checkpoint):
            _log.warning("%s was trained without mirrored images (augment.flip): tta=flip may harm it", checkpoint.path)
    return predict(net, checkpoint.skeleton, given=given, **{"size": checkpoint.size, **options})


def _pairs_among(names: Sequence[str], labels: Skeleton) -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in labels.flip_pairs if set(pair) <= set(names))


def _trained_with_flips(checkpoint: Checkpoint) -> bool:
    data = checkpoint.config.get("data")
    augment = data.get("augment") if isinstance(data, Mapping) else None
    return isinstance(augment, Mapping) and bool(augment.get("flip"))


def predict(
    net: nn.Module,
    skeleton: Skeleton,
    given: EvaluationSet,
    size: tuple[int, int],
    *,
    device: str | torch.device = "cpu",
    batch_size: int = 8,
    num_workers: int = 0,
    missing: str = "error",
    progress: Callable[[Any], Iterable] = iter,
) -> Results:
    """Predictions of `net` for every subject of a set, seen as in training and never augmented.

    Args:
        skeleton: of the network's keypoints, which are matched with those of the labels by name.
        size: (height, width) of its input.
        missing: "skip" to leave out keypoints that the labels lack, see `common_keypoints`.
        progress: what the batches are counted by, such as `rich.progress.track`.

    Raises ValueError for a set without subjects.
    """
    if not len(given):
        raise ValueError("there is nothing to evaluate: the split has no image")
    names = common_keypoints(skeleton.names, given.skeleton.names, missing)
    net = net.eval().to(device).to(memory_format=torch.channels_last)
    loader = DataLoader(_Samples(given, size), batch_size, num_workers=num_workers, collate_fn=_together)
    answers = [answer for batch in progress(loader) for answer in _answers(net, batch, device)]
    _check_finite(answers)
    columns = [[s.index(name) for name in names] for s in (skeleton, given.skeleton)]
    return _results(given, answers, skeleton.subset(names), *columns)


class _Samples(Dataset):
    """Each subject's record without its pixels, the input (H, W, 3) made of them, and its matrix."""

    def __init__(self, given: EvaluationSet, size: tuple[int, int]) -> None:
        self.given, self.size = given, size

    def __len__(self) -> int:
        return len(self.given)

    def __getitem__(self, index: int) -> tuple[Record, np.ndarray, np.ndarray]:
        record = self.given.source.load(0, index)
        matrix = input_matrix(record.size, record.box, self.size, self.given.padding)
        return record._replace(image=record.image[:0]), warp(record.image, matrix, self.size), matrix


def _together(samples: list[tuple[Record, np.ndarray, np.ndarray]]) -> tuple[list[Record], torch.Tensor, torch.Tensor]:
    records, images, matrices = zip(*samples, strict=True)
    back = torch.from_numpy(np.linalg.inv(np.stack(matrices))).float()
    return list(records), torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), back


@torch.inference_mode()
def _answers(net: nn.Module, batch: tuple, device: str | torch.device) -> list[Answer]:
    records, images, back = batch
    found, back = net(images.to(device)), back.to(device)
    answer = {
        "keypoints": transform_points(found["keypoints"].float(), back),
        "confidence": found["confidence"].float(),
        "covariance": transform_covariance(found["covariance"].float(), found["keypoints"].float(), back),
    }
    arrays = {name: value.double().cpu().numpy() for name, value in answer.items()}
    return [(record, {name: value[i] for name, value in arrays.items()}) for i, record in enumerate(records)]


def _check_finite(answers: list[Answer]) -> None:
    """ValueError for answers that are no numbers: left out, they would flatter a network that diverged."""
    for record, answer in answers:
        if wrong := [name for name, value in answer.items() if not np.isfinite(value).all()]:
            raise ValueError(
                f"the network answers NaN or infinity as {wrong[0]} of an image of group {record.group!r}; its weights"
                " or its calibration are damaged, or its training diverged"
            )


def _results(
    given: EvaluationSet, answers: list[Answer], skeleton: Skeleton, ours: list[int], theirs: list[int]
) -> Results:
    records = [record for record, _ in answers]
    found = {name: np.stack([answer[name] for _, answer in answers])[:, ours] for name in answers[0][1]}
    visibility = np.stack([record.visibility for record in records])[:, theirs]
    truth = np.stack([record.keypoints for record in records])[:, theirs]
    return Results(
        images=given.images,
        groups=[record.group for record in records],
        **found,
        truth=np.where((visibility > 0)[..., None], truth, np.nan),
        visibility=visibility,
        scale=np.array([record.scale for record in records]),
        boxes=given.boxes,
        size=np.array([record.size for record in records]),
        skeleton=skeleton,
        areas=given.areas,
    )
