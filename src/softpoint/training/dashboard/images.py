"""The drawings of a validation: points, heatmaps, attention, curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from softpoint.evaluation.plots import pck_figure
from softpoint.evaluation.reliability_plots import reliability_figure
from softpoint.evaluation.results import Results
from softpoint.labels.partition import evenly_spaced
from softpoint.labels.skeleton import Skeleton
from softpoint.training.dashboard.samples import MAX_ATTENTION, Shown
from softpoint.training.finder_fit import subject_predictor
from softpoint.viz import attention_panel, contact_sheet, draw_tile, heatmap_panels, legend
from softpoint.viz.explain import stack
from softpoint.viz.figures import figure_image
from softpoint.viz.subjects import draw_found

_TILE = 320  # pixels of an image's longer side
_MAX_HEATMAPS = 36
_MAX_LEGEND = 24  # names
_GRAY = 128  # beyond an image


def points_sheet(samples: Sequence[Shown], skeleton: Skeleton) -> np.ndarray:
    """Return the images with their predicted points, ellipses of two standard deviations, labels and skeleton.

    An ellipse wider than half of the image, which would hide it, is left out.
    """
    height, width = samples[0].image.shape[:2]
    scale = _TILE / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    tiles = [
        draw_tile(
            sample.image, sample.keypoints[None], size, skeleton, truth=sample.truth[None],
            confidence=sample.confidence[None], covariance=_drawable(sample.covariance, max(height, width) / 8)[None],
        )
        for sample in samples
    ]  # fmt: skip
    sheet = contact_sheet(tiles, 4, [sample.title for sample in samples])
    return stack([sheet, legend(skeleton.names[:_MAX_LEGEND], sheet.shape[1], 11)])


def found_sheet(module: Any, data: Any, count: int) -> np.ndarray:
    """Return up to `count` whole validation images with the subjects that the network finds there, and the labels."""
    scenes, find, tiles = data.scenes["val"], subject_predictor(module, data), []
    for index in evenly_spaced(len(scenes), count):
        scene = scenes.load_scene(0, index)
        tiles.append(draw_found(scene.image, find(scene.image), scene, module.skeleton, size=(_TILE, _TILE)))
    return contact_sheet(tiles, 4)


def heatmaps_sheet(sample: Shown, skeleton: Skeleton) -> np.ndarray:
    """Return the heatmap of each keypoint over an image; of many keypoints, of some along the list."""
    chosen = evenly_spaced(len(skeleton), _MAX_HEATMAPS)
    points = sample.keypoints
    assert sample.heatmaps is not None
    return heatmap_panels(sample.image, sample.heatmaps, skeleton.names, sample.confidence, points, chosen=chosen)


def attention_sheet(samples: Sequence[Shown], stride: int) -> np.ndarray:
    """Return the masks of the attention blocks over the first images, their branches, and their router's weights.

    Masks span an image as a network of this stride extends it.
    """
    panels = []
    for sample in samples[:MAX_ATTENTION]:
        below, right = (-side % stride for side in sample.image.shape[:2])
        image = np.pad(sample.image, ((0, below), (0, right), (0, 0)), constant_values=_GRAY)
        panels.append(attention_panel(image, sample.attention))
    return stack(panels)


def _drawable(covariance: np.ndarray, limit: float) -> np.ndarray:
    """Return covariances (K, 2, 2), NaN for those of a standard deviation above a limit along some axis."""
    deviation = np.sqrt(np.linalg.eigvalsh(np.nan_to_num(covariance, nan=0, posinf=0, neginf=0))[:, -1].clip(0))
    return np.where((deviation <= limit)[:, None, None], covariance, np.nan)


def curves(results: Results, fraction: float) -> dict[str, np.ndarray]:
    """Return the PCK curve and the reliability diagram, by name; {} where no finite point is labeled.

    Confidences are about errors up to this `fraction` of the subject's scale.
    """
    finite = np.isfinite(results.errors) & np.isfinite(results.confidence) & np.isfinite(results.covariance).all((2, 3))
    if not finite.any() or (results.labeled & ~finite).any():
        return {}
    reliability = reliability_figure(results, fraction)
    return {"pck_curve": figure_image(pck_figure(results)), "reliability": figure_image(reliability)}
