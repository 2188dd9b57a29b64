"""One command for all costs: a table, a JSON file and a plot of each kind, beside other libraries in the same run.

python benchmarks/run.py ops threads=1 device=cpu rounds=5 sizes=quick output=FOLDER

{kinds}

threads=1|2, device=cpu|cuda, rounds=N, sizes=quick|full and output=FOLDER (benchmarks/results/KIND) are options of all.
Other KEY=VALUE words are settings of softpoint train, where a kind has networks or samples. The libraries to compare
with are installed by: pip install -e ".[bench]"
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import cv2
import torch

from measure import Options, content, plot, tables
from softpoint.paths import write_json, write_text
from softpoint.studies.markdown import hardware
from softpoint.suggest import did_you_mean
from softpoint.tables import console, print_markdown
from softpoint.viz.figures import write_figure

# By kind: its module, the axis of its plot, and what it measures.
KINDS = {
    "ops": ("ops", "cells of a side", "soft-argmax, losses of heatmaps and decoding, forward and backward"),
    "attention": ("attention", "elements", "Dynamic Spatial Attention beside the same mathematics written plainly"),
    "data": (
        "dataloader",
        "pixels",
        "decoding, augmenting, collating, and the share of a training's speed that is left",
    ),
    "train": ("networks", "pixels of a side", "painting of scenes, and training steps with each attention"),
    "predict": ("predictions", "pixels of a frame", "a video's prediction beside its decoding and its network alone"),
    "export": ("exports", "pixels of the input", "whole images through torch and through exported files"),
    "several": ("several", "pixels of an image", "subjects found and read, beside one that is read in a given box"),
    "startup": ("startup", "", "commands that are started anew, and the parts of the way to the first training step"),
}


def main(arguments: Sequence[str]) -> None:
    """Measure one kind, print its table, and write results.json, results.md and plot.png into its folder."""
    if not arguments or arguments[0] in ("-h", "--help"):
        kinds = "\n".join(f"{kind:12}{about}" for kind, (_, _, about) in KINDS.items())
        print((__doc__ or "").format(kinds=kinds))
        return
    kind, *words = arguments
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is no kind of benchmark; {did_you_mean(kind, KINDS)}")
    module, label, _ = KINDS[kind]
    options = Options.of(words)
    cv2.setNumThreads(0)
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    print(hardware(), flush=True)
    rows = import_module(module).rows(options)
    clocks = {options.clock, "wall"} if options.threads > 1 else {options.clock}
    text = "\n\n".join(tables(rows, clock) for clock in sorted(clocks))
    print_markdown(text, console())
    folder = options.output or Path(__file__).parent / "results" / kind
    folder.mkdir(parents=True, exist_ok=True)
    made = content(kind, options, rows)
    write_json(folder / "results.json", made)
    write_text(folder / "results.md", f"`{made['command']}`, on {made['hardware']}.\n\n{text}\n")
    write_figure(folder / "plot", plot(rows, options.clock, label))
    print(f"written to {folder}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (ValueError, ImportError) as error:
        sys.exit(str(error))
