"""The mean of several predictions of one image, such as those of several networks, or of the image and its mirror."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from softpoint.types import Prediction


def average(predictions: Sequence[Prediction], head: Any) -> Prediction:
    """Return the prediction that `head` reads from the mean of the distributions that predictions of its kind hold.

    Probabilities are averaged, not logits: the second moment of the mean heatmap is the mean of those of the heatmaps
    and the scatter of their means. A head of 1-D distributions averages those. A head of coordinates averages them,
    and the scatter of the points is added to the covariance.
    """
    parts: dict[str, Tensor] = {}
    for name in predictions[0]:
        parts[name] = torch.stack([cast(Mapping[str, Tensor], one)[name].float() for one in predictions])
    means = {name: values.mean(0) for name, values in parts.items()}
    means["logits"] = _mean_logits(parts["logits"], (-2, -1))
    if "visibility" in parts:
        means["visibility"] = _mean_logits(parts["visibility"], (-1,))
    if "axis_x" in parts:
        axes = (_mean_logits(parts[name], (-1,)) for name in ("axis_x", "axis_y"))
        return cast(Prediction, {**means, **head.read_axes(*axes), "logits": means["logits"]})
    if "classes" in parts:
        means["classes"] = _mean_logits(parts["classes"], (-3,))
        logits = means["classes"][:, :-1]
        return cast(Prediction, {**means, **head.read(logits), "confidence": logits.amax((-2, -1)).exp()})
    if "mean" not in parts:
        return cast(Prediction, {**means, **head.read(means["logits"])})
    off = parts["keypoints"] - means["keypoints"]
    means["covariance"] = means["covariance"] + (off[..., :, None] * off[..., None, :]).mean(0)
    return cast(Prediction, means)


def _mean_logits(logits: Tensor, dim: tuple[int, ...]) -> Tensor:
    """Logits of the mean of distributions over `dim`, which the first dimension counts."""
    logs = logits - logits.logsumexp(dim, keepdim=True)
    return logs.logsumexp(0) - math.log(len(logits))
