"""Groups that file names show: found in the names of videos, tracks and persons, and not in those of single images."""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence

import pytest

from softpoint.labels.name_groups import NameGroups, count_frames, find_name_groups

RANDOM = random.Random(0)
COUNTERS = sorted(RANDOM.sample(range(100, 1000), 12))
PERSONS = [
    f"{first}_{last}" for first in ("Ada", "Bo", "Cy", "Di") for last in ("Li", "van_Dam", "O'Neal", "Orr", "Paz")
]


def product(pattern: str, first: Sequence[object], second: Sequence[object] = COUNTERS) -> list[str]:
    return [pattern.format(a, b) for a in first for b in second]


GROUPED = {
    "persons with a number": (product("person{:02}_{:03}", range(10)), 10),
    "tracks": (product("trackedBee_{}_{:04}", range(12)), 12),
    "few cameras of tracks": (
        [f"cam{c}_track{t:02}_frame{i:04}" for c in (1, 2) for t in range(5) for i in COUNTERS],
        10,
    ),
    "subjects of trials": (product("S{:03}_T02_{:08}", range(7)) + product("S{:03}_T03_{:08}", range(7)), 7),
    "recordings": (product("UTI_test_set_{:03}-img{}", range(17)), 17),
    "videos with suffix": (product("{}.mp4:{}", "abc"), 3),
    "exported frames of videos": (product("{0}_mp4-{1}_jpg.rf.{1:032x}", "abc"), 3),
    "copies of an image": ([f"IMG_{i}_jpg.rf.{RANDOM.getrandbits(128):032x}" for i in COUNTERS for _ in "abc"], 12),
    "videos of a camera": (product("GH{:06}_{:05}", (10034, 10035, 20036)), 3),
    "YouTube": (product("{}_{:06}", ("dQw4w9WgXcQ", "x7Yb_3kQzLm", "a-1bC2dE3fG")), 3),
    "lettered clips": (product("clip{}_{:04}", "ABC"), 3),
    "views of a track": (product("track{}_{:04}_left", "123"), 3),
    "two eyes of a patient": ([f"{i}_{side}" for i in COUNTERS for side in ("left", "right")], 12),
    "words apart": (product("2024-05-{:02}_run_{:05}", (1, 2, 3)), 3),
    "dates and frames": (product("{}_{:06}", (20240101, 20240102, 20240103), range(40, 80)), 3),
    "frames of an object": (product("2024-05-01_{1:05}_cam{0}", "123"), 3),
    "objects after frames": (product("IMG_{1:04}_t{0}", "123"), 3),
    "frame and object of videos": (product("v{}_f{:03}_id7", "123"), 3),
    "persons, cameras and boxes": (product("{:04}_c1s1_{:06}_00", range(8)), 8),
    "names of persons": ([f"{name}_{i:04}" for k, name in enumerate(PERSONS) for i in range(1, 2 + k % 3)], 20),
    "visits of a patient": (product("{:08}_{:03}", range(9), range(3)), 9),
    "patients of a class": ([f"person{i}_{kind}_{n}" for i in range(8) for kind in ("virus",) for n in range(3)], 8),
    "many subjects of few poses": (product("subject{}_pose{}", range(40), range(3)), 40),
    "a stray file beside": ([*product("person{:02}_{:03}", range(10)), "background"], 11),
}

CLASSES = {
    "breeds": product("{}_{}", ("Abyssinian", "beagle", "British_Shorthair", "Maine_Coon"), range(1, 30)),
    "birds": [f"{kind}_{RANDOM.randrange(10**4):04}_{i}" for kind in ("Crow", "Owl", "Ovenbird") for i in range(20)],
    "places": product("{}_{:03}", ("indoor", "outdoor")),
    "few first names": product("{}img{}", ("anna", "otto", "ida")),
}

SINGLE = {
    "one counter": [f"img{i:04}" for i in COUNTERS],
    "numbers": [f"{7919 * i:012}" for i in range(60)],
    "eight digits": [f"{i:08}" for i in range(60)],
    "hashes": [f"{RANDOM.getrandbits(32):08x}" for _ in range(60)],
    "UUIDs": [str(uuid.UUID(int=RANDOM.getrandbits(128))) for _ in range(60)],
    "camera": [f"IMG_{i}" for i in COUNTERS] + [f"DSC_{i:04}" for i in COUNTERS] + [f"DSC0{i}" for i in COUNTERS],
    "phone": [f"IMG_202103{d:02}_{h:02}{m:02}07" for d in (4, 5) for h in (9, 18) for m in range(0, 60, 9)],
    "chat": [f"IMG-202103{d:02}-WA{i:04}" for d in (4, 5, 6) for i in range(9)],
    "times": [f"2021-03-04_12-{m:02}-{s:02}" for m in range(6) for s in range(0, 60, 7)],
    "screenshots": [f"Screenshot 2021-03-0{d} at 12.{m:02}.01" for d in (4, 5) for m in range(0, 60, 9)],
    "COCO": [f"COCO_{part}2014_{i:012}" for part in ("train", "val") for i in COUNTERS],
    "splits": product("{}_{:05}", ("train", "val", "test")),
    "years": product("{}_{:06}", (2007, 2008, 2009)),
    "classes with numbers": product("class_{}_{:04}", (1, 2, 3)),
    "WordNet": product("n{:08}_{}", (1440764, 2085620)),
    "one face of a photo": [f"{RANDOM.getrandbits(36)}_1" for _ in range(60)],
    "photos of Flickr": [f"{RANDOM.getrandbits(36)}_{RANDOM.getrandbits(40):010x}_o" for _ in range(60)],
    "findings": [f"{kind} ({i})" for kind in ("benign",) for i in range(60)],
    "mice of one film": product("{1:03}-mouse{0}", range(6), range(10)),
    "mice apart": product("{1:04}_mouse_{0}", range(6), range(10)),
    "nearly one group": [f"cam{1 if i < 50 else 2}_{i}" for i in range(60)],
    "objects of one film": product("v1_f{1:04}_id{0}", range(20), range(3)),
    "one image": ["person01_001"],
    "no name": ["", "_"],
}


def found(stems: Sequence[str]) -> NameGroups | None:
    shuffled = RANDOM.sample(stems, len(stems))
    result, ordered = find_name_groups(shuffled), find_name_groups(stems)
    assert (result is None) == (ordered is None)
    if result is not None and ordered is not None:
        assert dict(zip(shuffled, result.keys, strict=True)) == dict(zip(stems, ordered.keys, strict=True))
    return result


@pytest.mark.parametrize(("stems", "groups"), GROUPED.values(), ids=GROUPED)
def test_groups_are_found(stems: list[str], groups: int) -> None:
    result = found(stems)
    assert result is not None and result.certain and len(set(result.keys)) == groups


@pytest.mark.parametrize("stems", CLASSES.values(), ids=CLASSES)
def test_classes_are_possible_groups(stems: list[str]) -> None:
    result = found(stems)
    assert result is not None and not result.certain


@pytest.mark.parametrize("stems", SINGLE.values(), ids=SINGLE)
def test_single_images_are_left_alone(stems: list[str]) -> None:
    assert found(stems) is None


def test_frames_of_a_camera_are_photos() -> None:
    assert not count_frames(["IMG_0001.png", "IMG_0002.png"]) and count_frames(["f0001.png", "f0002.png"])
