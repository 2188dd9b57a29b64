"""The table of metrics: name, unit, which values are better, format, and the function that defines each.

TensorBoard, metrics.json, the console, the model card and the studies read it. To add a metric, write a function that
returns a value per point (see `functional`) and add one row here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from softpoint.metrics import functional as F
from softpoint.metrics.calibration import ece, error_rank_correlation
from softpoint.metrics.functional import Points
from softpoint.metrics.visibility import visibility_score


@dataclass(frozen=True)
class Column:
    """One metric.

    A metric of points has `values`, one per point; it is their mean or, with `quantile`, that quantile. A metric of a
    whole set has `of_set` instead, called with the points and the fraction of the scale that confidences are about.
    What needs more than points has neither: COCO's evaluator computes OKS, and `evaluation.intervals` the others.
    """

    name: str
    unit: str  # "px", "mm", or "" for a fraction
    lower_is_better: bool
    description: str
    format: str = ".3f"
    values: Callable[[Points], np.ndarray] | None = None
    quantile: float | None = None
    of_set: Callable[[Points, float], float] | None = None
    unmeasured: str = "too few labeled points"  # why `of_set` returns NaN, where it does
    ideal: float | None = None  # the best value, where neither lower nor higher is better
    brief: bool = False  # also a column of tables that show parts of a set, such as keypoints
    in_batch: bool = True  # a validation batch holds all that it needs

    @property
    def logged(self) -> bool:
        """True if it is measured after each validation, as a mean that processes can share."""
        return self.values is not None and self.quantile is None and self.in_batch

    def summarize(self, values: np.ndarray) -> float | None:
        """The metric of point values of any shape; None where no point is measured.

        >>> values = np.array([1.0, np.nan, 3.0, 8.0])
        >>> COLUMNS["epe"].summarize(values), COLUMNS["median"].summarize(values)
        (4.0, 3.0)
        """
        measured = values[np.isfinite(values)]
        if not len(measured):
            return None
        return float(measured.mean() if self.quantile is None else np.quantile(measured, self.quantile))

    def text(self, value: float, sign: str = "") -> str:
        """The value as tables show it; `sign` is "+" for a difference.

        >>> COLUMNS["epe"].text(12.3456), COLUMNS["nme_box"].text(0.012345, "+")
        ('12.35', '+0.0123')
        """
        return format(value, sign + self.format)

    def loss(self, values: np.ndarray) -> np.ndarray:
        """The values on a scale on which less is better."""
        if self.ideal is not None:
            return np.abs(values - self.ideal)
        return values if self.lower_is_better else -values


# What `pck@...`, `auc` and `nme` measure errors by.
SCALE = "diagonal of the subject's box: the labels' box, else that around its labeled points, else the image"

_NO_VISIBILITY = "the network predicts no visibility, or no keypoint has labels of both states"

_ROWS = [
    Column("epe", "px", True, "mean Euclidean error", ".2f", F.errors, brief=True),
    Column("median", "px", True, "median Euclidean error", ".2f", F.errors, quantile=0.5, brief=True),
    Column("p95", "px", True, "95th percentile of the Euclidean error", ".2f", F.errors, quantile=0.95, brief=True),
    Column("pck@5px", "", False, "fraction of points within 5 px", values=partial(F.pck_pixels, limit=5)),
    Column("pck@10px", "", False, "fraction of points within 10 px", values=partial(F.pck_pixels, limit=10)),
    Column("pck@0.05", "", False, "fraction of points within 5 % of the subject's scale",
           values=partial(F.pck, alpha=0.05), brief=True),
    Column("pck@0.1", "", False, "fraction of points within 10 % of the subject's scale",
           values=partial(F.pck, alpha=0.1), brief=True),
    Column("pck@0.2", "", False, "fraction of points within 20 % of the subject's scale",
           values=partial(F.pck, alpha=0.2)),
    Column("auc", "", False, "area under PCK over thresholds from 0 to 20 % of the subject's scale, as a fraction",
           values=partial(F.auc, end=0.2)),
    Column("nme", "", True, "mean error over the subject's scale", ".4f", F.nme),
    Column("nme_box", "", True, "mean error over sqrt(width x height) of the subject's box", ".4f", F.nme_box,
           brief=True, in_batch=False),
    Column("nme_diagonal", "", True, "mean error over the diagonal of the image", ".4f", F.nme_diagonal),
    Column("nme_pair", "", True, "mean error over the labeled distance of the two keypoints of nme_pair", ".4f"),
    Column("epe_mm", "mm", True, "mean error on the plane that the images show", ".3f", brief=True),
    Column("median_mm", "mm", True, "median error on the plane that the images show", ".3f", quantile=0.5),
    Column("p95_mm", "mm", True, "95th percentile of the error on the plane that the images show", ".3f",
           quantile=0.95),
    Column("oks_ap", "", False, "COCO's average precision over OKS from 0.50 to 0.95, one detection per subject scored"
           " by mean confidence"),
    Column("oks_ap50", "", False, "COCO's average precision at OKS 0.50"),
    Column("oks_ap75", "", False, "COCO's average precision at OKS 0.75"),
    Column("oks_ar", "", False, "COCO's average recall over OKS from 0.50 to 0.95"),
    Column("ece", "", True, "expected calibration error of the confidence as the probability of an error up to"
           " a fraction (5 % by default) of the subject's scale", of_set=ece),
    Column("coverage_50", "", False, "fraction of points inside the 50 % ellipse of their covariance",
           values=partial(F.coverage, level=0.5), ideal=0.5, brief=True, in_batch=False),
    Column("coverage_90", "", False, "fraction of points inside the 90 % ellipse of their covariance",
           values=partial(F.coverage, level=0.9), ideal=0.9, brief=True, in_batch=False),
    Column("rank_correlation", "", False, "Spearman's rank correlation of predicted and real error",
           of_set=error_rank_correlation),
    *(
        Column(name, "", False, description, of_set=partial(visibility_score, name=name), unmeasured=_NO_VISIBILITY)
        for name, description in (
            ("balanced_accuracy", "mean recall of the visibility states absent, occluded and visible"),
            ("absent_auroc", "area under the ROC curve of absent against present, mean over keypoints"),
            ("absent_ap", "average precision of absent against present, mean over keypoints"),
            ("occluded_auroc", "area under the ROC curve of occluded against visible, mean over keypoints"),
            ("occluded_ap", "average precision of occluded against visible, mean over keypoints"),
        )
    ),
]  # fmt: skip
COLUMNS = {column.name: column for column in _ROWS}
