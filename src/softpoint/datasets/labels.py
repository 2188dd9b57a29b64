"""Label files for public sets whose own are in no format that is read, or in several pieces."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from softpoint.paths import normalize_path


def celeba(folder: Path) -> None:
    """Write landmarks.csv, a wide CSV, and splits.csv, the official partition, from CelebA's own text files.

    Its eyes and mouth corners are named as the viewer sees them.
    """
    points = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
    header = ["image", *(f"{point}_{axis}" for point in points for axis in "xy")]
    rows = _words(folder / "list_landmarks_align_celeba.txt", skip=2, width=len(header))
    _write(folder / "landmarks.csv", header, ([f"img_align_celeba/{image}", *cells] for image, *cells in rows))
    partition = _words(folder / "list_eval_partition.txt", skip=0, width=2)
    splits = ([f"img_align_celeba/{image}", _celeba_split(number)] for image, number in partition)
    _write(folder / "splits.csv", ["image", "split"], splits)


def _celeba_split(number: str) -> str:
    splits = {"0": "train", "1": "val", "2": "test"}
    if number not in splits:
        raise ValueError(f"list_eval_partition.txt names a part {number!r}, not 0, 1 or 2; download it again")
    return splits[number]


def coco_person(folder: Path) -> None:
    """Write trainval.json, the people of train2017 and val2017 in one file without outlines, and splits.csv.

    val2017, which published numbers are about, becomes test; of train2017 every image whose number is a
    multiple of 25 becomes val. Images without people are left out.
    """
    joined: dict[str, Any] = {"images": [], "annotations": []}
    splits = []
    for part in ("train2017", "val2017"):
        with (folder / "annotations" / f"person_keypoints_{part}.json").open(encoding="utf-8") as file:
            found = json.load(file)
        joined |= {key: found[key] for key in ("info", "licenses", "categories")}
        labeled = {annotation["image_id"] for annotation in found["annotations"]}
        images = [image for image in found["images"] if image["id"] in labeled]
        joined["images"] += [image | {"file_name": f"{part}/{image['file_name']}"} for image in images]
        # Outlines are most of the file, and nothing here looks at them.
        joined["annotations"] += [annotation | {"segmentation": []} for annotation in found["annotations"]]
        splits += [(f"{part}/{image['file_name']}", _coco_split(part, image["id"])) for image in images]
    with (folder / "trainval.json").open("w", encoding="utf-8") as file:
        json.dump(joined, file, separators=(",", ":"))
    _write(folder / "splits.csv", ["image", "split"], splits)


def _coco_split(part: str, image: int) -> str:
    if part == "val2017":
        return "test"
    return "val" if image % 25 == 0 else "train"


def ultrasound_tongue(folder: Path) -> None:
    """Join the label files of all recordings into ../labels/ultrasound-tongue.csv, in the same form."""
    header: list[list[str]] = []
    rows = []
    for file in sorted(folder.glob("images/*/CollectedData_AW.csv")):
        with file.open(encoding="utf-8", newline="") as opened:
            cells = list(csv.reader(opened))
        header, found = header or cells[:3], cells[3:]
        assert cells[:3] == header, file
        rows += [[_below_images(row[0]), *row[1:]] for row in found if any(row)]
    labels = folder.parent / "labels"
    labels.mkdir(exist_ok=True)
    _write(labels / "ultrasound-tongue.csv", header[0], [*header[1:], *rows])


def _below_images(path: str) -> str:
    # The project was made on Windows, and its folder of images has another name here.
    return f"images/{normalize_path(path).partition('/')[2]}"


def _words(path: Path, skip: int, width: int) -> Iterator[list[str]]:
    """The words of each line below the first ones; ValueError for a line with another number of words."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if number > skip and len(words := line.split()) != width:
                raise ValueError(f"{path} line {number} has {len(words)} words, not {width}; download it again")
            if number > skip:
                yield words


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
