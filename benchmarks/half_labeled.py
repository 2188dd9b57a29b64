"""Painted dolls of which every second one is labeled: what data.complete=false finds of those that are not.

python benchmarks/half_labeled.py FOLDER

writes FOLDER/full.json and FOLDER/half.json, of the same images, and FOLDER/test.json of others, all labeled. Train on
each by data=custom data.mode=multi data.labels=FOLDER/half.json data.complete=false data.test=0, and measure by
softpoint evaluate ckpt=... split=all data=custom data.mode=multi data.labels=FOLDER/test.json.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from composites import subjects_of
from report import parser
from softpoint.data.synthetic import Figure
from softpoint.labels.formats import coco
from softpoint.labels.schema import Labels, Subject
from softpoint.viz import write_image

_SIZE, _DOLLS = (128, 160), (0, 4)


def main(arguments: Sequence[str]) -> None:
    """Write the sets and say how many dolls are labeled in each."""
    options_of = parser(__doc__)
    options_of.add_argument("--train", type=int, default=150, help="number of images to train on")
    options_of.add_argument("--test", type=int, default=80)
    options_of.add_argument("--seed", type=int, default=11)
    options = options_of.parse_intermixed_args(arguments)
    folder = Path(options.overrides[0])
    full, test = (
        painted(folder, split, count, [options.seed, number])
        for number, (split, count) in enumerate({"train": options.train, "test": options.test}.items())
    )
    for name, images in {"full": full, "half": halves(full, options.seed), "test": test}.items():
        labels = Labels(name, str(folder), Figure.skeleton, [subject for own in images for subject in own])
        coco.write(labels, folder / f"{name}.json", np.array([subject.size for subject in labels.subjects]))
        print(f"{name}: {labels.count} labeled dolls, {len(images)} images")


def painted(folder: Path, split: str, count: int, seed: Sequence[int]) -> list[list[Subject]]:
    """Write so many images, and return the subjects of each; one without points for an image of none."""
    figure, images = Figure(subjects=_DOLLS), []
    (folder / split).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        scene = figure.draw_scene(np.random.default_rng([*seed, i]), _SIZE)
        name = f"{split}/{i:04d}.png"
        write_image(folder / name, scene.image)
        images.append(subjects_of(name, scene))
    return images


def halves(images: Sequence[Sequence[Subject]], seed: int) -> list[list[Subject]]:
    """Return half of the subjects of each image, rounded either way; no image in which all of them are left out."""
    rng = np.random.default_rng(seed)
    kept = []
    for own in images:
        count = 1 if own[0].box is None else (len(own) + rng.integers(2)) // 2  # an image of none stays
        kept.append([own[i] for i in rng.permutation(len(own))[:count]])
    return [half for half in kept if half]


if __name__ == "__main__":
    main(sys.argv[1:])
