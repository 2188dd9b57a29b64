"""What is kept of a validation to be drawn: a few fixed images, the worst ones, and the points of all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from softpoint.evaluation.results import Results
from softpoint.functional import spatial_softmax
from softpoint.labels.partition import evenly_spaced
from softpoint.labels.skeleton import Skeleton
from softpoint.metrics.functional import PointArrays, errors, nme
from softpoint.training.module import original_points
from softpoint.types import AttentionMaps, Batch, Prediction
from softpoint.viz.image_ops import rgb_view

MAX_ATTENTION = 4  # images whose attention is drawn


@dataclass(frozen=True, eq=False)
class Shown:
    """An image that is drawn, with its prediction and labels in pixels of the network's input."""

    title: str
    image: np.ndarray  # uint8 (H, W, 3) RGB
    keypoints: np.ndarray  # (K, 2)
    truth: np.ndarray  # (K, 2), NaN where unlabeled
    confidence: np.ndarray  # (K,)
    covariance: np.ndarray  # (K, 2, 2) in px^2
    heatmaps: np.ndarray | None  # (K, h, w) of the image whose heatmaps are drawn
    attention: dict[str, AttentionMaps]  # of each place of a block


class Validation:
    """One validation, of whose batches are kept the points, the images `fixed` and the `worst` ones.

    The worst are those of the largest mean error over the subject's scale. `source` names the images. Of the fixed ones
    the first has its heatmaps, and the first `MAX_ATTENTION` have their attention.
    """

    def __init__(self, source: Any, fixed: Sequence[int], worst: int) -> None:
        self.fixed: dict[int, Shown] = {}
        self.worst: list[tuple[float, Shown]] = []  # from the largest error on
        self.branches: dict[str, tuple[str, ...]] = {}  # names of the branches at each place of a router
        self._names = getattr(getattr(source, "labels", None), "images", None)
        self._chosen, self._count = sorted(fixed), worst
        self._points: dict[int, tuple[str, PointArrays]] = {}  # group and points of each image
        self._router_weights: dict[str, dict[int, np.ndarray]] = {}  # of each image at each place

    def needs_attention(self, batch: Batch) -> bool:
        """Whether a batch has an image whose attention is drawn."""
        return not set(self._chosen[:MAX_ATTENTION]).isdisjoint(batch["index"].tolist())

    def add(self, prediction: Prediction, batch: Batch, attention: Mapping[str, Sequence[AttentionMaps]]) -> None:
        """Keep what is needed of a batch; `attention` are the maps of each image with branches, where collected."""
        points, indices = original_points(prediction, batch), batch["index"].tolist()
        rows = zip(batch["group"], map(PointArrays, *points[:6]), strict=True)
        first_wins(self._points, zip(indices, rows, strict=True))
        for place, (_, *weights) in prediction.get("attention", {}).items():
            for values in weights:
                first_wins(self._router_weights.setdefault(place, {}), zip(indices, to_numpy(values), strict=True))
        self.branches |= {place: blocks[0].names for place, blocks in attention.items()}
        pixels, relative = _means(errors(points)), _means(nme(points))
        titles = [self._title(index, error) for index, error in zip(indices, pixels, strict=True)]
        for i in [i for i, index in enumerate(indices) if index in self._chosen]:
            shown = show(prediction, batch, i, titles[i])
            if indices[i] in self._chosen[:MAX_ATTENTION]:
                collected = {place: blocks[i] for place, blocks in attention.items()}
                shown = replace(shown, attention=_masks(prediction, i) | collected)
            if indices[i] == self._chosen[0]:
                shown = replace(shown, heatmaps=to_numpy(spatial_softmax(prediction["logits"][i].float())))
            self.fixed.setdefault(indices[i], shown)
        for i in np.argsort(-np.nan_to_num(relative, nan=-1.0))[: self._count].tolist():
            least = self.worst[-1][0] if len(self.worst) == self._count else -1.0
            if relative[i] > least:
                self._keep_worst([(float(relative[i]), show(prediction, batch, i, titles[i]))])

    def join(self, others: Sequence[Validation]) -> None:
        """Add what other processes kept of their images, which come in the order of the processes.

        An image that fills up a later process's share, without its labels, is there before.
        """
        for other in others:
            for name in ("fixed", "branches", "_points"):
                first_wins(getattr(self, name), getattr(other, name).items())
            for place, weights in other._router_weights.items():
                first_wins(self._router_weights.setdefault(place, {}), weights.items())
            self._keep_worst(other.worst)

    def router_weights(self) -> dict[str, np.ndarray]:
        """Return the finite weights of each branch for all images, by "place/branch"."""
        columns: dict[str, np.ndarray] = {}
        for place, rows in self._router_weights.items():
            for i, values in enumerate(np.stack([*rows.values()]).T if rows else ()):
                names = self.branches.get(place, ())
                columns[f"{place}/{names[i] if i < len(names) else f'branch {i}'}"] = values[np.isfinite(values)]
        return {name: values for name, values in columns.items() if len(values)}

    def results(self, skeleton: Skeleton) -> Results:
        """Return the points of all images, in their order in the split, as those of an evaluation."""
        indices = sorted(self._points)
        groups, points = zip(*(self._points[index] for index in indices), strict=True)
        arrays: dict[str, Any] = {
            name: np.stack([getattr(row, name) for row in points]) for name in PointArrays._fields[:6]
        }
        return Results(
            images=[str(index) for index in indices],
            groups=list(groups),
            visibility=2 * np.isfinite(arrays["truth"]).all(-1).astype(np.int64),
            boxes=None,
            skeleton=skeleton,
            **arrays | {"size": arrays["size"].astype(np.int64)},
        )

    def __getstate__(self) -> dict[str, Any]:
        """The names of all images stay in their process."""
        return {**self.__dict__, "_names": None}

    def _keep_worst(self, entries: Sequence[tuple[float, Shown]]) -> None:
        self.worst = sorted([*self.worst, *entries], key=lambda kept: -kept[0])[: self._count]

    def _title(self, index: int, error: float) -> str:
        name = f"image {index}" if self._names is None else "/".join(str(self._names[index]).split("/")[-2:])
        return f"{name}: {error:.1f} px" if np.isfinite(error) else f"{name}: no label"


def first_wins(mapping: dict[Any, Any], items: Iterable[tuple[Any, Any]]) -> None:
    """Add the items whose keys a mapping lacks."""
    for key, value in items:
        mapping.setdefault(key, value)


def choose_images(groups: Sequence[str], seen: Sequence[int], count: int) -> list[int]:
    """Return up to `count` of the indices `seen`, shared out evenly over their groups and spread within each.

    `groups` are those of all images; the choice depends on nothing else.

    >>> choose_images(["a", "a", "a", "a", "b", "b", "c"], range(7), 5)
    [0, 3, 4, 5, 6]
    """
    rows: dict[str, list[int]] = {}
    for index in seen:
        rows.setdefault(groups[index], []).append(index)
    parts = list(rows.values())
    parts = [parts[i] for i in evenly_spaced(len(parts), count)] if parts else []
    shares, left = [0] * len(parts), min(count, sum(map(len, parts)))
    while left:
        for i, part in enumerate(parts):
            if left and shares[i] < len(part):
                shares[i], left = shares[i] + 1, left - 1
    return sorted(part[i] for part, n in zip(parts, shares, strict=True) for i in evenly_spaced(len(part), n))


def show(prediction: Prediction, batch: Batch, i: int, title: str) -> Shown:
    """Return sample `i` of a batch on the CPU, without heatmaps and attention."""
    truth = batch["keypoints"][i].where(batch["visibility"][i, :, None] > 0, float("nan"))
    image = to_numpy(batch["image"][i].permute(1, 2, 0))
    return Shown(
        title,
        image=np.ascontiguousarray(
            rgb_view(image if image.dtype == np.uint8 else np.round(255 * image).astype(np.uint8))
        ),
        keypoints=to_numpy(prediction["keypoints"][i]),
        truth=to_numpy(truth),
        confidence=to_numpy(prediction["confidence"][i]),
        covariance=to_numpy(prediction["covariance"][i]),
        heatmaps=None,
        attention={},
    )


def _masks(prediction: Prediction, i: int) -> dict[str, AttentionMaps]:
    """Return the mask of each place for sample `i`, where the prediction has them."""
    return {
        place: AttentionMaps.of_mask(to_numpy(mask[i, 0]))
        for place, (mask, *_) in prediction.get("attention", {}).items()
    }


def to_numpy(tensor: Tensor) -> np.ndarray:
    """Return a tensor as an array, of float32 where it has another precision."""
    tensor = tensor.detach().cpu()
    array: np.ndarray = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return array


def _means(values: np.ndarray) -> np.ndarray:
    """Return the mean (N,) of the finite values (N, K) of each row; NaN where there are none."""
    finite = np.isfinite(values)
    means: np.ndarray = np.where(finite, values, 0).sum(1) / np.where(finite.any(1), finite.sum(1), np.nan)
    return means
