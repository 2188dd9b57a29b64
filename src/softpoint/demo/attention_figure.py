"""The figure of Dynamic Spatial Attention step by step."""

from __future__ import annotations

import numpy as np

from softpoint.demo.attention import BRANCHES, AttentionSteps
from softpoint.demo.panels import Drawing, bare, show_logits
from softpoint.viz.figures import new_figure, styled

_INPUTS = ("channel 0", "channel 1", "mean of all channels", "maximum of all")


@styled
def attention_figure(steps: AttentionSteps) -> Drawing:
    """Return three rows: channels and their statistics, logits of branches and their sum, masks by temperature."""
    columns = max(4, len(steps.masks))
    figure, panels = new_figure(columns, (2.75 * columns, 8.2), 3)
    first, second, third = (panels[i * columns : (i + 1) * columns] for i in range(3))
    for axes, image, name in zip(first, (*steps.channels, *steps.statistics), _INPUTS, strict=False):
        show_logits(axes, image, bar=True)
        axes.set_title(name)
    for axes, image, name, weight in zip(second, steps.branches, BRANCHES, steps.weights, strict=False):
        show_logits(axes, image, bar=True)
        axes.set(title=name, xlabel=f"router weight {weight:.3f}")
    show_logits(second[len(steps.branches)], steps.mixed, bar=True)
    second[len(steps.branches)].set_title("weighted sum")
    masks = np.stack(list(steps.masks.values()))
    for axes, temperature, mask in zip(third, steps.masks, masks, strict=False):
        show_logits(axes, mask, True, (float(masks.min()), float(masks.max())))
        axes.set(title=f"mask, T = {temperature:g}", xlabel=f"mean {mask.mean():.3f}, std {mask.std():.3f}")
    for axes in panels:
        bare(axes)
        axes.set_visible(bool(axes.images))
    listed = ", ".join(f"{mask.std():.3f} at T = {temperature:g}" for temperature, mask in steps.masks.items())
    text = (
        "Dynamic Spatial Attention from top to bottom: two channels, mean and maximum over all channels; the logits of "
        f"{len(steps.branches)} branches, of router weights {', '.join(f'{w:.3f}' for w in steps.weights)}, and their "
        f"weighted sum; and the masks, whose standard deviation is {listed}."
    )
    return Drawing(figure, text)
