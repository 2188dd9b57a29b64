"""COCO's results: a JSON list with one entry per subject, and a file of the images and category that it refers to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.inference.batch.predictions import Predictions, Row
from softpoint.labels.formats import recognize
from softpoint.labels.formats.parsing.coco_schema import parse_id
from softpoint.labels.formats.parsing.json_values import load_json
from softpoint.paths import atomic_write, normalize_path

_CATEGORY = 1  # id of the category, unless labels have another


def write(path: Path, predictions: Predictions) -> None:
    """Write `path` for pycocotools' loadRes, and NAME_images.json, which its COCO reads.

    A keypoint is x, y, confidence, or three zeros for NaN; the score is that of a subject that was found, else
    the mean confidence, and track_id its track, where it has one. The id of an image is its number from 0, that of a
    frame its frame number; images of a COCO file keep their ids. Coordinates count from the centers of pixels, as in
    COCO's keypoints.
    """
    ids, category = predictions.coco_ids() if predictions.coco_ids else ({}, _CATEGORY)
    skeleton = predictions.skeleton
    edges = [[skeleton.index(a) + 1, skeleton.index(b) + 1] for a, b in skeleton.edges]
    kind = {"id": category, "name": "subject", "keypoints": list(skeleton.names), "skeleton": edges}
    write_lines(
        path.with_name(f"{path.stem}_images.json"),
        '{"info": {"description": "written by softpoint"}, "licenses": [], "annotations": [],\n "images": [\n',
        (_image(rows[0], predictions, ids) for rows in predictions.by_image()),
        f'],\n "categories": [{json.dumps(kind)}]}}\n',
    )
    subjects = (row for row in predictions.rows() if row.has_subject)
    write_lines(path, "[\n", (_subject(row, predictions, ids, category) for row in subjects), "]\n")


def read_ids(labels: Path, keypoints: Sequence[str] = ()) -> tuple[dict[str, int | str], int | str]:
    """Return the id of each image in a COCO file, by its path, and that of its first category with keypoints.

    One of these `keypoints` comes before those of others. Label files of other formats have none: ({}, 1).
    """
    if recognize(labels) != "coco":
        return {}, _CATEGORY
    content = load_json(labels)
    images = {normalize_path(str(image["file_name"])): parse_id(image, "id") for image in content["images"]}
    kinds = [kind for kind in content["categories"] if kind.get("keypoints")]
    kinds.sort(key=lambda kind: kind["keypoints"] != list(keypoints))
    return images, parse_id(kinds[0], "id") if kinds else _CATEGORY


def _image(row: Row, predictions: Predictions, ids: Mapping[str, int | str]) -> dict[str, Any]:
    name, (height, width) = predictions.name(row.number), row.size
    return {"id": ids.get(normalize_path(name), row.number), "file_name": name, "width": width, "height": height}


def _subject(row: Row, predictions: Predictions, ids: Mapping[str, int | str], category: int | str) -> dict[str, Any]:
    finite = np.isfinite(row.keypoints).all(1)
    triples = np.where(finite[:, None], np.concatenate([row.keypoints, row.confidence[:, None]], axis=1), 0.0)
    return {
        "image_id": ids.get(normalize_path(predictions.name(row.number)), row.number),
        "category_id": category,
        "keypoints": triples.ravel().tolist(),
        "score": round(float(row.confidence.mean() if np.isnan(row.score) else row.score), 6),
        **({"track_id": row.track} if row.track else {}),
    }


def write_lines(path: Path, begin: str, entries: Iterable[Any], end: str) -> None:
    """Write JSON with one entry per line, atomically."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(begin)
        for number, entry in enumerate(entries):
            file.write(f"{', ' if number else '  '}{json.dumps(entry, allow_nan=False)}\n")
        file.write(end)
