"""The tab of Dynamic Spatial Attention: what each branch sees, how the router mixes them, and the mask."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import gradio as gr
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from softpoint.demo.attention import (
    MAX_CELLS,
    TEMPERATURES,
    AttentionSteps,
    attention_steps,
    map_features,
    seeded_module,
)
from softpoint.demo.feature_maps import KINDS
from softpoint.explorer.events import ONCE, follow
from softpoint.explorer.html import code, problem, table
from softpoint.explorer.map_panels import logits_panel
from softpoint.explorer.maps import SAMPLE, UPLOAD, chosen_map, one_thread
from softpoint.explorer.uploads import UploadedMaps, read_maps
from softpoint.layers import DynamicSpatialAttention

TENSOR = "random tensor"
_CHANNELS, _LARGEST_KERNEL, _WIDEST_ROUTER = 64, 31, 64


def build() -> None:
    """Add the tab's controls and its result to the page."""
    with gr.Row(equal_height=False, elem_classes="split"):
        with gr.Column(scale=1, min_width=280):
            upload = gr.State(None)
            kinds = [(name.replace("_", " "), name) for name in (TENSOR, *KINDS, SAMPLE, UPLOAD)]
            kind = gr.Radio(kinds, value="two_peaks", label="Features", elem_id="features")
            button = gr.UploadButton("Upload an image or a .npy file", size="md", elem_id="attention-upload")
            temperature = gr.Slider(0.1, 10, 1, step=0.1, label="Temperature", elem_id="attention-temperature")
            gate = gr.Radio(["sigmoid", "hardsigmoid"], value="sigmoid", label="Gate", elem_id="gate")
            kernels = gr.Textbox("3, 7", label="Kernels", max_length=30, max_lines=1, elem_id="kernels")
            dilation = gr.Slider(0, 4, 2, step=1, label="Dilation", info="Of a further 7 x 7 branch; 0 for none.",
                                 elem_id="dilation")  # fmt: skip
            router = gr.Slider(1, _WIDEST_ROUTER, 8, step=1, label="Router width", elem_id="router")
            size = gr.Slider(8, 96, 56, step=8, label="Size (cells)", elem_id="attention-size")
            seed = gr.Number(0, precision=0, minimum=0, maximum=2**31, label="Seed", elem_id="attention-seed")
        with gr.Column(scale=3, min_width=320):
            result = gr.HTML(show(), elem_id="attention", elem_classes="page-html")
    controls = [kind, temperature, gate, kernels, dilation, router, size, seed]
    follow(controls, show, [upload, *controls], result)
    button.upload(_receive, [button, *controls[1:]], [upload, kind, result], **ONCE)


@one_thread()
def show(
    upload: UploadedMaps | None = None,
    kind: str = "two_peaks",
    temperature: float = 1.0,
    gate: str = "sigmoid",
    kernels: str = "3, 7",
    dilation: int = 2,
    router: int = 8,
    size: int = 56,
    seed: int | None = 0,
) -> str:
    """Return the panels, tables and Python of one module on one input, or the reason why there are none."""
    seed, size = seed or 0, int(size)
    temperatures = tuple(sorted({*TEMPERATURES, float(temperature)}))
    try:
        x, made = features(kind, upload, size, seed)
        settings: dict[str, Any] = {"kernels": parse_kernels(kernels), "use_dilated": dilation > 0}
        settings |= {"dilated_d": int(dilation) or 1, "gate": gate, "router_hidden": _router(router)}
        module = seeded_module(seed, partial(DynamicSpatialAttention, temperature=float(temperature), **settings))
        steps = attention_steps(x, module, temperatures)
    except ValueError as error:
        return problem(error)
    names = module.branch_maps(x)[2]
    settings["temperature"] = float(temperature)
    return _panels(steps, names) + _tables(steps, names) + _python(made, settings, seed)


def features(kind: str, upload: UploadedMaps | None, size: int, seed: int) -> tuple[Float[Tensor, "1 C H W"], str]:
    """Return 64 channels of random numbers, or those that a map makes, and the Python that makes them again."""
    if kind == TENSOR:
        if size * size > MAX_CELLS:
            raise ValueError(f"attention is shown on maps of up to {MAX_CELLS} cells, got {size} x {size}")
        made = f"x = torch.randn(1, {_CHANNELS}, {size}, {size}, generator=torch.Generator().manual_seed({seed}))"
        return torch.randn(1, _CHANNELS, size, size, generator=torch.Generator().manual_seed(seed)), made
    source = chosen_map(kind, upload, size, seed, 0, 0)
    needs = f"{source.needs}\n" if source.needs else ""
    return map_features(source.logits, seed), f"{needs}x = demo.map_features({source.code}, seed={seed})"


def parse_kernels(words: str) -> list[int]:
    """Return the sides of kernels that are written as "3, 7"; ValueError for another text and for large ones.

    >>> parse_kernels("3, 7"), parse_kernels("")
    ([3, 7], [])
    """
    if not re.fullmatch(r"\s*(\d{1,3}((?:\s*,\s*|\s+)\d{1,3})*)?\s*", words):
        raise ValueError(f"kernels {words!r}: write their sides as 3, 7")
    sides = [int(side) for side in re.findall(r"\d+", words)]
    if len(sides) > 6 or max(sides, default=1) > _LARGEST_KERNEL:
        raise ValueError(f"kernels {words!r}: give up to 6 sides of up to {_LARGEST_KERNEL}")
    return sides


def _router(width: float) -> int:
    if width > _WIDEST_ROUTER:
        raise ValueError(f"the router's width is up to {_WIDEST_ROUTER}, got {width:g}")
    return int(width)


def _panels(steps: AttentionSteps, names: tuple[str, ...]) -> str:
    """Return rows of panels: the input's statistics, what the branches make of them, and the masks on one scale."""
    of_channels = zip(steps.statistics, ("mean", "maximum"), strict=True)
    inputs = [logits_panel(image, f"{name} of all channels") for image, name in of_channels]
    branches = [
        logits_panel(image, f"{name}: weight {weight:.3f}")
        for image, name, weight in zip(steps.branches, names, steps.weights, strict=True)
    ]
    branches.append(logits_panel(steps.mixed, "weighted sum"))
    values = np.stack(list(steps.masks.values()))
    limits = float(values.min()), float(values.max())
    masks = [logits_panel(mask, f"T = {t:g}", limits) for t, mask in steps.masks.items()]
    rows = {
        "Every branch sees two maps": inputs,
        "Logits of the branches, weighted by the router": branches,
        "Mask over temperatures": masks,
    }
    return "".join(f'<h3>{title}</h3><div class="panels strip">{"".join(row)}</div>' for title, row in rows.items())


def _tables(steps: AttentionSteps, names: tuple[str, ...]) -> str:
    masks: list[tuple[str, ...]] = [("mask", "mean", "std", "min", "max")]
    for temperature, mask in steps.masks.items():
        numbers = (mask.mean(), mask.std(), mask.min(), mask.max())
        masks.append((f"T = {temperature:g}", *(f"{number:.5f}" for number in numbers)))
    weights: list[tuple[str, ...]] = [("branch", "router weight")]
    weights += [(name, f"{weight:.5f}") for name, weight in zip(names, steps.weights, strict=True)]
    return f'<div class="tables">{table(masks)}{table(weights)}</div>'


def _python(made: str, settings: dict[str, Any], seed: int) -> str:
    arguments = "".join(f"    {name}={value!r},\n" for name, value in settings.items())
    lines = f"""\
import torch

from softpoint import DynamicSpatialAttention, demo
{made}
torch.manual_seed({seed})
attention = DynamicSpatialAttention(
{arguments}    return_router_weights=True,
)
y, mask, weights = attention(x)  # y is x * mask
branches, _, names = attention.branch_maps(x)  # the mask that each branch alone would make
mask.mean(), mask.std(correction=0), mask.min(), mask.max()
"""
    return "<h3>The same in Python</h3>" + code(lines, "Python code of the attention")


def _receive(path: str, *values: Any) -> list[Any]:
    """Return the upload, the choice of it and its result; of a file that cannot be used, the message alone."""
    try:
        upload = read_maps(path)
    except (ValueError, OSError) as error:
        return [gr.skip(), gr.skip(), problem(error)]
    return [upload, UPLOAD, show(upload, UPLOAD, *values)]
