"""Packed images of other channels or bits than RGB of 8 are read as those of the unpacked set."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from helpers.data import labeled_data
from helpers.streaming import equal, open_streamed
from softpoint.data import LabeledData
from softpoint.data.shards.packed_format import Description
from softpoint.data.shards.writer import pack

pytest.importorskip("litdata")

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*Grain.*")

RNG = np.random.default_rng(0)


def pages(path: Path, images: list[np.ndarray]) -> None:
    assert cv2.imwritemulti(str(path), images)


WRITERS = {
    "bands.npy": lambda path: np.save(path, RNG.integers(0, 256, (20, 30, 5), np.uint8)),
    "pages.tif": lambda path: pages(path, list(RNG.integers(0, 256, (5, 20, 30), np.uint8))),
    "color.png": lambda path: cv2.imwrite(str(path), RNG.integers(0, 256, (20, 30, 3), np.uint8)),
    "deep.png": lambda path: cv2.imwrite(str(path), RNG.integers(0, 1 << 12, (20, 30), np.uint16)),
    "film.gif": lambda path: pages(path, list(RNG.integers(0, 256, (3, 20, 30, 3), np.uint8))),
}


def opened(folder: Path, kind: str, **settings: Any) -> LabeledData:
    """A set of twelve images of a kind, read with some settings."""
    rows = []
    for i in range(12):
        name = f"{i:02}{Path(kind).suffix}"
        WRITERS[kind](folder / name)
        rows.append([f"{name}/1" if kind == "film.gif" else name, 3 + i, 4, 20, 12])
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["image", "a_x", "a_y", "b_x", "b_y"], *rows])
    return labeled_data(folder / "labels.csv", val=0.25, test=0.25, group="none", **settings)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("bands.npy", {"channels": 5}),
        ("bands.npy", {"channels": [4, 0]}),
        ("bands.npy", {"channels": [4, 0], "cache": "ram"}),
        ("pages.tif", {"channels": 5}),
        ("color.png", {"channels": 1}),
        ("color.png", {"channels": 1, "cache": "ram"}),
        ("color.png", {"channels": [2, 0]}),
        ("deep.png", {"channels": 1, "bits": 12}),
        ("film.gif", {"channels": 1}),
        ("film.gif", {"channels": [2, 0]}),
    ],
)
def test_samples_equal_those_of_the_unpacked_set(kind: str, settings: dict[str, Any], tmp_path: Path) -> None:
    plain = opened(tmp_path, kind, **settings)
    pack(plain.sources, tmp_path / "set", 1, 0, False)
    packed = open_streamed(tmp_path / "set")
    assert packed.channels == plain.channels
    for split in ("val", "test"):
        assert len(plain.sources[split]) >= 3 and equal(packed.dataset(split), plain.dataset(split))
    if "cache" not in settings:
        assert packed.read_settings == {"bits": None, **settings}


def test_files_can_be_read_with_other_channels_than_they_were_packed_with(tmp_path: Path) -> None:
    pack(opened(tmp_path, "color.png").sources, tmp_path / "set", 1, 0, False)
    gray = labeled_data(tmp_path / "labels.csv", val=0.25, test=0.25, group="none", channels=1)
    for split in ("val", "test"):
        assert equal(open_streamed(tmp_path / "set", channels=1).dataset(split), gray.dataset(split))


def test_an_earlier_softpoint_refuses_what_it_would_read_otherwise(tmp_path: Path) -> None:
    versions = []
    for channels in (3, 1):
        description = Description(
            opened(tmp_path, "color.png").skeleton, dict.fromkeys(("train", "val", "test"), 1), "image", "error",
            False, "", channels=channels,
        )  # fmt: skip
        text = description.dumps().encode()
        assert Description.loads(text, "here") == description
        versions.append(json.loads(text)["version"])
    assert versions == [2, 3]
    with pytest.raises(ValueError, match=r"here is damaged \(ValueError: data.channels=0"):
        Description.loads(text.replace(b'"channels": 1', b'"channels": 0'), "here")
