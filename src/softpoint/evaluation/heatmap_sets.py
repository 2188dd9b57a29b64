"""Heatmap sets on images with labels: where in its heatmap a label is, and how large the sets are."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from softpoint.functional import heatmap_set, image_to_grid, pixel_length, spatial_softmax, tail_mass_at
from softpoint.inference.heatmap_sets import count_parts
from softpoint.inference.regions import Regions
from softpoint.types import Prediction


@torch.inference_mode()
def set_measures(
    sets: Regions, prediction: Prediction, labels: Float[Tensor, "B K 2"], matrix: Float[Tensor, "B 3 3"], stride: int
) -> dict[str, np.ndarray]:
    """Return `set_tails` (B, K), the `tail_mass_at` each label, and `set_sizes` (B, K, levels, 2).

    A size is the area of the set of a level, in original px^2, and the number of its parts; 0 without a set. `labels`
    are in pixels of the network's input, which `matrix` maps to original ones.
    """
    heatmap = spatial_softmax(prediction["logits"].float()).cpu()
    tails = tail_mass_at(heatmap, image_to_grid(labels.float().cpu(), stride))
    cell = (stride * pixel_length(matrix).cpu()).square()[:, None]
    sizes = []
    for bounds in sets.bounds[:, :-1]:
        cells = heatmap_set(heatmap, torch.from_numpy(np.where(bounds > 0, bounds, np.nan)))
        sizes.append(np.stack(((cells.sum((-2, -1)) * cell).numpy(), count_parts(cells.numpy())), -1))
    return {"set_tails": tails.numpy(), "set_sizes": np.stack(sizes, 2)}
