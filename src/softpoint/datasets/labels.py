"""Label files for public data sets whose own are in no supported format, or in several pieces."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from softpoint.labels.csv_io import write_rows
from softpoint.paths import normalize_path, write_json


def celeba(folder: Path) -> None:
    """Write landmarks.csv, a wide CSV, and splits.csv, the official partition, from CelebA's own text files.

    Its eyes and mouth corners are named as the viewer sees them.
    """
    points = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
    header = ["image", *(f"{point}_{axis}" for point in points for axis in "xy")]
    landmarks = _read_columns(folder / "list_landmarks_align_celeba.txt", skip=2, width=len(header))
    rows = [[f"img_align_celeba/{image}", *cells] for image, *cells in landmarks]
    write_rows(folder / "landmarks.csv", [header, *rows])
    names, splits = {"0": "train", "1": "val", "2": "test"}, []
    for image, number in _read_columns(folder / "list_eval_partition.txt", skip=0, width=2):
        if number not in names:
            raise ValueError(f"list_eval_partition.txt has the partition {number!r}, not 0, 1 or 2; download it again")
        splits.append([f"img_align_celeba/{image}", names[number]])
    write_rows(folder / "splits.csv", [("image", "split"), *splits])


def coco_person(folder: Path) -> None:
    """Write trainval.json, the people of train2017 and val2017 in one file without outlines, and splits.csv.

    val2017, which published numbers are measured on, becomes test; of train2017 every image whose number is a
    multiple of 25 becomes val. Images without people are left out.
    """
    joined: dict[str, Any] = {"images": [], "annotations": []}
    splits = []
    for part in ("train2017", "val2017"):
        with (folder / "annotations" / f"person_keypoints_{part}.json").open(encoding="utf-8") as file:
            content = json.load(file)
        joined |= {key: content[key] for key in ("info", "licenses", "categories")}
        labeled = {annotation["image_id"] for annotation in content["annotations"]}
        # Outlines are most of the file, and nothing here reads them.
        joined["annotations"] += [annotation | {"segmentation": []} for annotation in content["annotations"]]
        for image in content["images"]:
            if image["id"] in labeled:
                path = f"{part}/{image['file_name']}"
                joined["images"].append(image | {"file_name": path})
                split = "test" if part == "val2017" else "val" if image["id"] % 25 == 0 else "train"
                splits.append((path, split))
    write_json(folder / "trainval.json", joined, indent=None)
    write_rows(folder / "splits.csv", [("image", "split"), *splits])


def ultrasound_tongue(folder: Path) -> None:
    """Join the label files of all recordings into ../labels/ultrasound-tongue.csv, in the same format."""
    header: list[list[str]] = []
    rows = []
    for path in sorted(folder.glob("images/*/CollectedData_AW.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            cells = list(csv.reader(file))
        header = header or cells[:3]
        assert cells[:3] == header, path
        # The project was made on Windows, and its folder of images has another name here.
        labeled = [row for row in cells[3:] if any(row)]
        rows += [[f"images/{normalize_path(row[0]).partition('/')[2]}", *row[1:]] for row in labeled]
    write_rows(folder.parent / "labels" / "ultrasound-tongue.csv", [*header, *rows])


def _read_columns(path: Path, skip: int, width: int) -> list[list[str]]:
    """Return the columns of each line after the first `skip`; ValueError for a line without `width` columns."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [line.split() for line in lines[skip:]]
    for number, row in enumerate(rows, skip + 1):
        if len(row) != width:
            raise ValueError(f"{path} line {number} has {len(row)} columns, not {width}; download it again")
    return rows
