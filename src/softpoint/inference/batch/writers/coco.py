"""COCO's results: a JSON list with one entry a subject, and beside it the images and category that it refers to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.inference.batch.writers.rows import Answers, Row
from softpoint.labels.formats import recognize
from softpoint.labels.formats.parsing.json_values import load_json
from softpoint.paths import atomic_write, normalize_path

# The category of subjects, where no file has another.
_CATEGORY = 1


def write(path: Path, answers: Answers) -> None:
    """Writes `path` for pycocotools' loadRes, and NAME_images.json, which its COCO reads.

    Keypoints are x, y, confidence, three zeros for one that is not shown; the score is the mean confidence. An image's
    id is its number from 0, that of a frame its frame number; where images come from a COCO file, they keep theirs.
    Coordinates count from the centers of pixels, as in COCO's keypoints.
    """
    known, category = answers.ids() if answers.ids else ({}, _CATEGORY)
    beside = path.with_name(f"{path.stem}_images.json")
    kind = {"id": category, "name": "subject", "keypoints": list(answers.skeleton.names), "skeleton": _edges(answers)}
    _write(
        beside,
        ['{"info": {"description": "written by softpoint"}, "licenses": [], "annotations": [],\n "images": [\n'],
        (_image(rows[0], answers, known) for rows in answers.by_image()),
        [f'],\n "categories": [{json.dumps(kind)}]}}\n'],
    )
    subjects = (row for row in answers.rows() if row.found)
    _write(path, ["[\n"], (_subject(row, answers, known, category) for row in subjects), ["]\n"])


def read_ids(labels: Path) -> tuple[dict[str, int], int]:
    """The id of each image in a COCO file, by its path, and that of its category with keypoints.

    Other label files have none: ({}, 1).
    """
    if recognize(labels) != "coco":
        return {}, _CATEGORY
    content = load_json(labels)
    images = {normalize_path(str(one["file_name"])): one["id"] for one in content["images"] if type(one["id"]) is int}
    kinds = [one["id"] for one in content["categories"] if one.get("keypoints") and type(one["id"]) is int]
    return images, kinds[0] if kinds else _CATEGORY


def _edges(answers: Answers) -> list[list[int]]:
    """Pairs of keypoints, counted from 1."""
    skeleton = answers.skeleton
    return [[skeleton.index(a) + 1, skeleton.index(b) + 1] for a, b in skeleton.edges]


def _image(row: Row, answers: Answers, known: Mapping[str, int]) -> dict[str, Any]:
    name, (height, width) = answers.name(row.number), row.size
    return {"id": known.get(normalize_path(name), row.number), "file_name": name, "width": width, "height": height}


def _subject(row: Row, answers: Answers, known: Mapping[str, int], category: int) -> dict[str, Any]:
    shown = np.isfinite(row.keypoints).all(1)
    triples = np.where(shown[:, None], np.concatenate([row.keypoints, row.confidence[:, None]], axis=1), 0.0)
    return {
        "image_id": known.get(normalize_path(answers.name(row.number)), row.number),
        "category_id": category,
        "keypoints": triples.ravel().tolist(),
        "score": round(float(row.confidence.mean()), 6),
    }


def _write(path: Path, begin: list[str], entries: Iterable[Any], end: list[str]) -> None:
    """One entry a line, whole or not at all."""
    with atomic_write(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        file.writelines(begin)
        file.writelines(_lines(entries))
        file.writelines(end)


def _lines(entries: Iterable[Any]) -> Iterator[str]:
    for number, entry in enumerate(entries):
        yield ("  " if number == 0 else ", ") + json.dumps(entry, allow_nan=False) + "\n"
