"""Cases of a report: crops of images with labeled and predicted points, as images within the page."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import PurePosixPath

import cv2
import numpy as np

from softpoint.evaluation.results import Results
from softpoint.paths import normalize_path
from softpoint.progress import track
from softpoint.viz import crop_around, draw_tile

Load = Callable[[int], np.ndarray]  # the image uint8 RGB (H, W, 3) of a subject

_WIDTH = 480  # pixels of a tile, which a page shows at half that size or larger
_QUALITY = 80
_MAX_NAMES = 8  # keypoints up to which names are written
WORST, OTHERS, DIFFERENT = 8, 4, 6


@dataclass(frozen=True)
class Case:
    """One subject: a crop for each model, and its errors in px by each."""

    image: str
    group: str  # "" where all images are of one
    errors: list[float]
    tiles: list[str]  # data URIs
    size: tuple[int, int]  # width and height of the tiles
    description: str


def choose(errors: np.ndarray) -> dict[str, list[int]]:
    """Return the indices of the worst, the median and the best of mean errors (N,), NaN where nothing is labeled.

    >>> choose(np.array([3.0, np.nan, 1.0]))
    {'All, the worst first': [0, 2]}
    >>> {name: len(rows) for name, rows in choose(np.arange(100.0)).items()}
    {'Worst': 8, 'Median': 4, 'Best': 4}
    """
    order = [int(i) for i in np.argsort(-errors, kind="stable") if np.isfinite(errors[i])]
    if len(order) <= WORST + 2 * OTHERS:
        return {"All, the worst first": order} if order else {}
    middle = (len(order) - OTHERS) // 2
    middle = min(max(middle, WORST), len(order) - 2 * OTHERS)
    return {"Worst": order[:WORST], "Median": order[middle : middle + OTHERS], "Best": order[-OTHERS:]}


def mean_errors(results: Results) -> np.ndarray:
    """Return the mean error (N,) of each subject in px; NaN where nothing is labeled."""
    labeled = results.labeled
    means = np.full(len(results), np.nan)
    np.divide(np.where(labeled, results.errors, 0).sum(1), labeled.sum(1), out=means, where=labeled.any(1))
    return means


def cases(models: Mapping[str, Results], rows: Sequence[int], load: Load) -> list[Case]:
    """Return the cases of these subjects, which all models have in the same order; images are opened one at a time."""
    errors = {name: mean_errors(results) for name, results in models.items()}
    first = next(iter(models.values()))
    names, grouped = short_names(first.images), len(set(first.groups)) > 1
    return [
        _case(models, i, names[i], first.groups[i] * grouped, load(i), [float(errors[name][i]) for name in models])
        for i in track(rows, "drawing cases")
    ]


def short_names(images: Sequence[str]) -> list[str]:
    """Return the paths of images below the folder that holds them all, as frames of two videos may have one name.

    >>> short_names(["data/a/img1.png", "data/b/img1.png"]), short_names(["a/img1.png"])
    (['a/img1.png', 'b/img1.png'], ['img1.png'])
    """
    paths = [PurePosixPath(normalize_path(image)) for image in images]
    folders = zip(*(path.parts[:-1] for path in paths), strict=False)
    shared = sum(1 for _ in takewhile(lambda names: len(set(names)) == 1, folders))
    return ["/".join(path.parts[shared:]) for path in paths]


def _case(models: Mapping[str, Results], i: int, name: str, group: str, image: np.ndarray, errors: list[float]) -> Case:
    """The part of the image that holds the points of all models, drawn once for each."""
    first = next(iter(models.values()))
    points = first.labeled[i]
    around = [first.truth[i, points], *(results.keypoints[i, points] for results in models.values())]
    inside = np.concatenate(around).clip(0, np.array(image.shape[1::-1]) - 1)
    crop, origin = crop_around(image, inside)
    size = round(_WIDTH * float(np.clip(crop.shape[0] / crop.shape[1], 0.5, 1.4))), _WIDTH
    tiles = []
    for results in models.values():
        predicted = np.where(points[:, None], results.keypoints[i], np.nan) - origin
        truth, names = results.truth[i] - origin, len(results.skeleton) <= _MAX_NAMES
        tile = draw_tile(crop, predicted[None], size, results.skeleton, truth=truth[None], names=names)
        tiles.append(data_uri(tile))
    worst = int(np.nanargmax(first.errors[i]))
    description = f"{points.sum()} labeled points, rings, and their predictions, discs;"
    description += f" the largest error is {first.errors[i, worst]:.1f} px, of {first.skeleton.names[worst]}"
    return Case(name, group, errors, tiles, size[::-1], description)


def data_uri(image: np.ndarray) -> str:
    """Return an image uint8 RGB as a source that a page has within itself."""
    done, data = cv2.imencode(".webp", image[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])
    assert done
    return f"data:image/webp;base64,{base64.b64encode(data.tobytes()).decode()}"
