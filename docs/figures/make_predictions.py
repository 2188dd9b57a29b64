"""Draw a model's predictions on test frames of mirror-mouse, for README and the documentation:

softpoint fetch mirror_mouse
softpoint train data=mirror_mouse minutes=14 data.cache=ram hydra.run.dir=outputs/mirror_mouse
python docs/figures/make_predictions.py outputs/mirror_mouse/checkpoints/best.ckpt

The frames are from lightning-pose's example data (MIT license). Nothing of the labels is drawn.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from softpoint import load_predictor
from softpoint.functional.coordinates import grid_to_image
from softpoint.images.decode import read_image
from softpoint.labels.skeleton import Skeleton
from softpoint.paths import find_data
from softpoint.viz import contact_sheet, draw_keypoints
from softpoint.viz.image_ops import resize

ROOT = Path(__file__).parents[2]
DATA = find_data("keypoints/mirror-mouse")
EDGES = [
    *(("nose_top", "paw2LF_top"), ("nose_top", "paw3RF_top"), ("nose_top", "tailBase_top")),
    *(("tailBase_top", "paw1LH_top"), ("tailBase_top", "paw4RH_top"), ("tailBase_top", "tailMid_top")),
    *(("nose_bot", "paw2LF_bot"), ("nose_bot", "paw3RF_bot"), ("nose_bot", "tailBase_bot")),
    *(("tailBase_bot", "paw1LH_bot"), ("tailBase_bot", "paw4RH_bot"), ("tailBase_bot", "tailMid_bot")),
]
COUNT, WIDTH = 3, 440  # tiles, and pixels of each


def main(checkpoint: Path) -> None:
    """Write predictions.png next to this script."""
    with (ROOT / "data" / "splits" / "mirror_mouse.csv").open(encoding="utf-8") as file:
        test = [row["image"] for row in csv.DictReader(file) if row["split"] == "test"]
    predictor = load_predictor(checkpoint)
    skeleton = Skeleton(predictor.skeleton.names, edges=tuple(EDGES))
    images = [read_image(DATA / name) for name in test]
    predictions = predictor(images)
    chosen = np.argsort(-predictions["confidence"].mean(1), kind="stable")[:: len(test) // COUNT][:COUNT]
    tiles = []
    for i in chosen:
        scale = WIDTH / images[i].shape[1]
        # 52 gray levels make a small file, and keep the colors of the marks.
        small = resize(images[i], (round(images[i].shape[0] * scale), WIDTH)) // 5 * 5
        tiles.append(
            draw_keypoints(
                small,
                grid_to_image(predictions["keypoints"][i], scale),
                confidence=predictions["confidence"][i],
                covariance=predictions["covariance"][i] * scale**2,
                skeleton=skeleton,
                upscale=1,
            )
        )
    sheet = Image.fromarray(contact_sheet(tiles, COUNT))
    sheet.save(Path(__file__).with_name("predictions.png"), optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
