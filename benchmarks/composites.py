"""A set of images with several subjects each, composed of the single subjects of a labeled set, with their truth.

SOFTPOINT_DATA=FOLDER python benchmarks/composites.py OUTPUT data=openfield --subjects 2 5

writes OUTPUT/labels.json in COCO's format, its images, splits.csv, and sheet.png with some of them drawn: keypoints are
discs where visible and crosses where occluded. Images of train are composed of images of train alone, those of test of
those of test, both as `data.composite` does. Train on it by data=custom data.mode=multi data.labels=OUTPUT/labels.json
data.splits=OUTPUT/splits.csv.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hydra.utils import instantiate

from report import composed, parser
from softpoint.data.composites import Composite, Paster, composite_scenes
from softpoint.data.composites.cutouts import Cutter
from softpoint.data.scenes import LabeledScenes, Scene
from softpoint.data.sources import LabeledImages
from softpoint.labels.formats import coco
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton
from softpoint.labels.split import write_splits
from softpoint.viz import contact_sheet, draw_keypoints, write_image
from softpoint.viz.primitives import draw_line

_SHOWN = 12  # images of the sheet
_COLORS = ((230, 60, 60), (60, 160, 240), (250, 200, 40), (90, 200, 90), (220, 90, 220), (250, 140, 40))


def main(arguments: Sequence[str]) -> None:
    """Write the set and say how many subjects its images have."""
    options_of = parser(__doc__)
    options_of.add_argument("--train", type=int, default=300, help="number of images of train")
    options_of.add_argument("--test", type=int, default=100)
    options_of.add_argument("--subjects", type=int, nargs=2, default=(2, 5), help="fewest and most in an image")
    options_of.add_argument(
        "--scale", type=float, nargs=2, default=(0.8, 1.25), help="range of the factor of pasted ones"
    )
    options_of.add_argument("--rotate", type=float, default=180.0, help="largest angle of pasted ones")
    options_of.add_argument("--seed", type=int, default=0)
    options = options_of.parse_intermixed_args(arguments)
    folder = Path(options.overrides[0])
    cfg = composed("data.mode=instance", *options.overrides[1:])
    data = instantiate(cfg.datamodule, composite=None)
    data.prepare_data()
    data.setup("fit")
    fewest, most = options.subjects
    composite = Composite(1.0, (fewest - 1, most - 1), options.scale, options.rotate)
    scenes = {
        split: composed_scenes(data.sources[split], composite, count, (options.seed, number))
        for number, (split, count) in enumerate({"train": options.train, "test": options.test}.items())
    }
    labels = write_set(folder, scenes, data.skeleton)
    for split, own in scenes.items():
        counts = np.bincount([len(scene.boxes) for scene in own])
        numbers = ", ".join(f"{count} with {n}" for n, count in enumerate(counts) if count)
        hidden = np.mean(np.concatenate([scene.visibility.ravel() for scene in own]) == 1)
        print(f"{split}: {len(own)} images, {numbers} subjects, {100 * hidden:.0f} % of the points occluded")
    print(f"written to {labels}")


def composed_scenes(crops: LabeledImages, composite: Composite, count: int, seed: Sequence[int]) -> list[Scene]:
    """Return so many scenes: the images of crops in their order, again and again, each time with other subjects."""
    assert crops.boxes is not None
    scenes = LabeledScenes(crops.labels, crops.sizes, crops.reader, crops.boxes)
    pasted = composite_scenes(scenes, Paster(Cutter(crops, composite.mask), composite), seed)
    return [pasted.load_scene(*divmod(i, len(pasted))) for i in range(count)]


def write_set(folder: Path, scenes: dict[str, list[Scene]], skeleton: Skeleton) -> Path:
    """Write images, labels, split and sheet of scenes into a folder, and return the path of the labels."""
    subjects: list[Subject] = []
    splits = {}
    for split, own in scenes.items():
        (folder / split).mkdir(parents=True, exist_ok=True)
        begin = len(subjects)
        for i, scene in enumerate(own):
            name = f"{split}/{i:04d}.png"
            write_image(folder / name, scene.image)
            subjects += subjects_of(name, scene)
        splits[split] = range(begin, len(subjects))
    sizes = np.array([subject.size for subject in subjects])
    path = folder / "labels.json"
    coco.write(Labels(str(path), str(folder), skeleton, subjects), path, sizes)
    write_splits(folder / "splits.csv", [subject.image for subject in subjects], splits)
    shown = [scene for own in scenes.values() for scene in own][:: max(1, sum(map(len, scenes.values())) // _SHOWN)]
    write_image(folder / "sheet.png", contact_sheet([drawn(scene, skeleton) for scene in shown[:_SHOWN]]))
    return path


def subjects_of(image: str, scene: Scene) -> list[Subject]:
    """Return the subjects of a scene as labels; one without points for a scene of none."""
    rows = zip(scene.keypoints, scene.visibility, scene.boxes.tolist(), strict=True)
    found = [
        Subject(image, f"{image} {n}", points, states, tuple(box), group=scene.group, size=scene.size)
        for n, (points, states, box) in enumerate(rows)
    ]
    count = scene.keypoints.shape[1]
    empty = Subject(image, image, np.full((count, 2), np.nan), np.zeros(count, int), group=scene.group, size=scene.size)
    return found or [empty]


def drawn(scene: Scene, skeleton: Skeleton) -> np.ndarray:
    """Return the image of a scene with keypoints and boxes."""
    image = scene.image
    for n, (points, states, box) in enumerate(zip(scene.keypoints, scene.visibility, scene.boxes, strict=True)):
        image = draw_keypoints(image, points, confidence=(states == 2).astype(float), skeleton=skeleton, upscale=1)
        corners = box[[[0, 1], [2, 1], [2, 3], [0, 3]]]
        for start, end in zip(corners, np.roll(corners, -1, 0), strict=True):
            draw_line(image, start, end, _COLORS[n % len(_COLORS)])
    return image


if __name__ == "__main__":
    main(sys.argv[1:])
