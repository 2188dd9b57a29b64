"""Pasted subjects are where their labels say, before and behind others, and come from training images alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from helpers.data import new_labeled_data
from softpoint.data.composites import Composite, CompositeCrops, CompositeScenes, Paster, composite_scenes
from softpoint.data.composites.cutouts import Cutter, static_background
from softpoint.data.composites.layers import Layer, painted, seen_fractions, visibility_of
from softpoint.data.scenes import LabeledScenes
from softpoint.data.sources import LabeledImages
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton

SIZE, RADIUS, COUNT = (120, 160), 14, 14
SKELETON = Skeleton(("front", "back"))


class Discs:
    """Images in memory: one disc each, of a gray level that tells which it is, before a background that stands still.

    `marked` adds a blue spot at each disc's first keypoint; `moving` gives every image another background.
    """

    channel_count = 3

    def __init__(self, count: int = COUNT, marked: bool = False, moving: bool = False) -> None:
        rng = np.random.default_rng(0)
        self.background = 190 + 30 * cv2.resize(rng.random((4, 5), np.float32), SIZE[::-1])
        self.background += rng.normal(0, 2, SIZE)
        self.centers = rng.uniform(22, np.array(SIZE[::-1]) - 22, (count, 2))
        self.angles, self.marked, self.moving = rng.uniform(0, 6, count), marked, moving
        self.was_read: set[str] = set()

    def level(self, number: int) -> float:
        return 12.0 + 9 * number

    def points(self, number: int) -> np.ndarray:
        arm = 9 * np.array([np.cos(self.angles[number]), np.sin(self.angles[number])])
        return self.centers[number] + np.array([arm, -arm])

    def read(self, image: str) -> np.ndarray:
        self.was_read.add(image)
        number = int(image.split(".")[0])
        x, y = np.meshgrid(np.arange(SIZE[1]), np.arange(SIZE[0]))
        away = np.hypot(x - self.centers[number, 0], y - self.centers[number, 1])
        share = (RADIUS + 0.5 - away).clip(0, 1)[..., None]
        behind = self.background + (np.random.default_rng(number).normal(0, 40, SIZE) if self.moving else 0)
        pixels = (1 - share) * behind[..., None] + share * self.level(number) * np.ones(3)
        if self.marked:
            spot = self.points(number)[0]
            pixels[..., 2] += 100 * np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (2 * 1.5**2))
        return pixels.round().clip(0, 255).astype(np.uint8)


def crops_of(discs: Discs, count: int = COUNT, group: str | None = "cage") -> LabeledImages:
    """The discs as crops, each with a box about it."""
    subjects = [
        Subject(f"{i}.png", f"row {i}", discs.points(i), np.array([2, 2]), box_of(discs, i), group=group)
        for i in range(count)
    ]
    labels = Labels("labels.csv", "", SKELETON, subjects)
    return LabeledImages(labels, np.array([SIZE] * count), discs, labels.boxes)  # type: ignore[arg-type]


def box_of(discs: Discs, number: int) -> tuple[float, float, float, float]:
    x, y = discs.centers[number].tolist()
    return x - RADIUS - 0.5, y - RADIUS - 0.5, x + RADIUS + 0.5, y + RADIUS + 0.5


def scenes_of(crops: LabeledImages, composite: Composite, seed: int = 0) -> CompositeScenes:
    assert crops.boxes is not None
    scenes = LabeledScenes(crops.labels, crops.sizes, crops.reader, crops.boxes)
    return composite_scenes(scenes, Paster(Cutter(crops, composite.mask), composite), (seed,))


EVERY = Composite(1.0, subjects=(1, 3), scale=(0.8, 1.25), rotate=180)


def same(a: Any, b: Any) -> bool:
    return all(
        np.array_equal(x, y, equal_nan=True) if isinstance(x, np.ndarray) else x == y for x, y in zip(a, b, strict=True)
    )


def test_a_pasted_keypoint_is_where_its_pixels_are() -> None:
    plain, marked = scenes_of(crops_of(Discs()), EVERY), scenes_of(crops_of(Discs(marked=True)), EVERY)
    y, x = np.indices(SIZE)
    shifts = []
    for epoch in range(3):
        for i in range(COUNT):
            one, other = plain.load_scene(epoch, i), marked.load_scene(epoch, i)
            np.testing.assert_array_equal(one.keypoints, other.keypoints)
            spots = (other.image[..., 2].astype(float) - one.image[..., 2]) * (
                np.abs(other.image[..., 0].astype(int) - one.image[..., 0]) < 3
            )
            for n, (points, states) in enumerate(zip(one.keypoints, one.visibility, strict=True)):
                near = np.hypot(x - points[0, 0], y - points[0, 1]) < 6.5
                rest = np.delete(one.keypoints[:, 0], n, axis=0)
                if n == 0 or states[0] != 2 or (np.hypot(*(rest - points[0]).T) < 14).any() or layers_near(one, n):
                    continue
                weights = spots * near
                center = np.array([(weights * x).sum(), (weights * y).sum()]) / weights.sum()
                shifts.append(center - points[0])
    assert len(shifts) > 20
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.02
    assert np.quantile(np.abs(shifts), 0.9) < 0.02


def layers_near(scene: Any, number: int) -> bool:
    """Whether the box of another subject reaches a subject's own box."""
    low, high = scene.boxes[number, :2], scene.boxes[number, 2:]
    others = np.delete(scene.boxes, number, axis=0)
    return bool(((others[:, :2] < high) & (others[:, 2:] > low)).all(1).any())


@pytest.mark.parametrize("moving", [False, True])
def test_a_point_is_visible_where_its_own_disc_shows(moving: bool) -> None:
    discs = Discs(moving=moving)
    scenes, counts = scenes_of(crops_of(discs), Composite(1.0, (2, 4), (1, 1), 0)), {1: 0, 2: 0}
    levels = np.array([discs.level(i) for i in range(COUNT)])
    for epoch in range(4):
        for i in range(COUNT):
            scene = scenes.load_scene(epoch, i)
            assert scene.visibility.dtype == np.int64 and len(scene.boxes) == len(scene.keypoints)
            for n, (points, states) in enumerate(zip(scene.keypoints, scene.visibility, strict=True)):
                own = i if n == 0 else None
                for point, state in zip(points, states, strict=True):
                    column, row = point.round().astype(int)
                    shown = scene.image[row - 1 : row + 2, column - 1 : column + 2, 0].astype(float)
                    if np.ptp(shown) > 3:  # at an edge
                        continue
                    front = int(np.abs(levels - np.median(shown)).argmin())
                    own = front if own is None and state == 2 else own
                    if own is not None:
                        assert (front == own) == (state == 2), (epoch, i, n)
                    counts[int(state)] += 1
            assert (scene.boxes[:, :2] >= -0.5 - 1e-9).all()
            assert (scene.boxes[:, 2:] <= np.array(SIZE[::-1]) - 0.5 + 1e-9).all()
            assert ((scene.keypoints > scene.boxes[:, None, :2]) & (scene.keypoints < scene.boxes[:, None, 2:])).all()
    assert counts[1] > (2 if moving else 15) and counts[2] > 100


def test_own_subjects_are_before_and_behind_pasted_ones() -> None:
    discs = Discs()
    crops = CompositeCrops(Paster(Cutter(crops_of(discs)), Composite(1.0, (1, 3), rotate=90)), (3,))
    states = []
    for epoch in range(6):
        for i in range(COUNT):
            record, plain = crops.load(epoch, i), crops.describe(i)
            np.testing.assert_array_equal(record.keypoints, plain.keypoints)
            assert record.image.any() and not plain.image.any()
            for point, state in zip(record.keypoints, record.visibility, strict=True):
                column, row = point.round().astype(int)
                shown = record.image[row - 1 : row + 2, column - 1 : column + 2, 0].astype(float)
                if np.ptp(shown) <= 3:
                    assert (np.abs(np.median(shown) - discs.level(i)) < 3) == (state == 2)
                    states.append(state)
    assert states.count(1) > 5 and states.count(2) > 60


def test_own_subjects_that_touch_keep_their_labels() -> None:
    """The masks of neighbors in an image may hold each other, which says nothing of who is in front."""
    paint = np.full((20, 20, 4), 1.0, np.float32)
    points, states = np.array([[8.0, 9.0], [12.0, 9.0], [np.nan, np.nan]]), np.array([2, 1, 0])
    box = np.array([5.0, 5.0, 15.0, 15.0])
    one, other = (Layer(paint, (0, 0), points, states, box, None, number) for number in (0, 1))
    pasted = Layer(paint[:, :10], (0, 0), points, states, box, None, None)
    assert seen_fractions([one, other], (30, 30)) == [1, 1]
    assert visibility_of([one, other], 0).tolist() == [2, 1, 0]
    assert seen_fractions([one, pasted, other], (30, 30)) == [0.5, 0, 1]
    assert visibility_of([one, pasted, other], 0).tolist() == [1, 1, 0]
    assert visibility_of([one, other, pasted], 1).tolist() == [1, 1, 0]


def test_a_subject_beside_another_is_no_donor() -> None:
    discs = Discs(2)
    discs.centers[:] = [[60, 60], [60 + 2 * RADIUS - 1, 60]]
    one, two = discs.read("0.png").astype(int), discs.read("1.png").astype(int)
    discs.read = lambda image: np.minimum(one, two).astype(np.uint8)  # type: ignore[method-assign]
    subjects = [Subject("0.png", "row", discs.points(i), np.array([2, 2]), box_of(discs, i)) for i in range(2)]
    small = [
        Subject("0.png", "row", s.keypoints, s.visibility, (*s.keypoints.min(0), *s.keypoints.max(0))) for s in subjects
    ]
    for own in (subjects, small):
        labels = Labels("labels.csv", "", SKELETON, own)
        cutter = Cutter(LabeledImages(labels, np.array([SIZE] * 2), discs, labels.boxes))  # type: ignore[arg-type]
        cutter._backgrounds[cutter.crops.groups[0]] = np.repeat(discs.background[..., None].clip(0, 255), 3, 2).astype(
            np.uint8
        )
        cutout = cutter.cut(0)
        assert cutout is not None and cutout.behind is not None and not cutout.whole


def test_composites_follow_from_seed_epoch_and_index_alone() -> None:
    draws = [(epoch, i) for epoch in range(2) for i in range(COUNT)]

    def loaded(order: list[tuple[int, int]], seed: int = 0) -> dict[tuple[int, int], Any]:
        scenes = scenes_of(crops_of(Discs()), EVERY, seed)
        crops = CompositeCrops(scenes.paster, (seed, 1))
        return {draw: (scenes.load_scene(*draw), crops.load(*draw)) for draw in order}

    one, other = loaded(draws), loaded(draws[::-1])
    for draw in draws:
        assert all(same(a, b) for a, b in zip(one[draw], other[draw], strict=True))
    assert len({scene.image.tobytes() for scene, _ in one.values()}) == len(draws)
    assert not same(loaded(draws[:1], seed=1)[0, 0][0], one[0, 0][0])


def test_a_fraction_of_the_images_is_left_as_it_is() -> None:
    crops = crops_of(Discs())
    scenes = scenes_of(crops, Composite(0.5, (1, 1)))
    counts = [len(scenes.load_scene(epoch, i).boxes) for epoch in range(5) for i in range(COUNT)]
    assert set(counts) == {1, 2} and 0.3 < np.mean(np.array(counts) == 2) < 0.7
    untouched = counts.index(1)
    scene = scenes.load_scene(*divmod(untouched, COUNT))
    np.testing.assert_array_equal(scene.image, crops.load(0, untouched % COUNT).image)


def test_pixels_beside_pasted_subjects_are_those_of_the_image() -> None:
    for mask in ("background", "hull"):
        crops = crops_of(Discs())
        paster = Paster(Cutter(crops, mask), Composite(1.0, (1, 2), mask=mask))
        for i in range(6):
            layers, image = paster.layers(np.random.default_rng(i), SIZE, [i]), crops.load(0, i).image
            assert min(seen_fractions(layers, SIZE)) >= 0.5
            result, covered = painted(image, layers), np.zeros(SIZE, bool)
            for layer in layers:
                covered[layer.place] |= (layer.cover > 0) & (layer.own is None)
            assert covered.any()
            np.testing.assert_array_equal(result[~covered], image[~covered])
            own = [layer for layer in layers if layer.own is not None]
            assert np.abs(painted(image, own).astype(int) - image).max() <= 1


def test_a_mask_holds_the_disc_and_nothing_else() -> None:
    discs = Discs()
    cutter = Cutter(crops_of(discs), "background")
    for i in range(COUNT):
        cutout = cutter.cut(i)
        assert cutout is not None and cutout.whole and cutout.behind is not None
        cover = cutout.paint[..., -1]
        y, x = np.indices(cover.shape)
        away = np.hypot(x + cutout.corner[0] - discs.centers[i, 0], y + cutout.corner[1] - discs.centers[i, 1])
        np.testing.assert_allclose(cover[away < RADIUS - 1], 1, atol=0.1)
        assert cover[away > RADIUS + 5].max() == 0
        assert abs(cover.sum() / (np.pi * (RADIUS + 0.0) ** 2) - 1) < 0.06
        inside = away < RADIUS - 2
        np.testing.assert_allclose(cutout.paint[inside][:, 0] / cover[inside], discs.level(i), atol=10)


def test_the_hull_of_the_points_is_within_the_box() -> None:
    discs = Discs(moving=True)
    cutter = Cutter(crops_of(discs))
    assert cutter.background("cage") is None  # which moves
    cutout = cutter.cut(0)
    assert cutout is not None and cutout.behind is None
    (left, top), cover = cutout.corner, cutout.paint[..., -1]
    for x, y in (discs.points(0) - (left, top)).round().astype(int):
        assert cover[y, x] == 1
    rows, columns = np.nonzero(cover)
    box = cutout.box - np.array([left, top, left, top])
    assert columns.min() > box[0] - 1 and columns.max() < box[2] + 1
    assert rows.min() > box[1] - 1 and rows.max() < box[3] + 1


def test_the_background_is_found_behind_a_subject_that_stays() -> None:
    """A disc that is at one place in most images is not part of the background."""
    discs = Discs()
    discs.centers[:9] = discs.centers[0] + np.random.default_rng(1).uniform(-2, 2, (9, 2))
    images, boxes = [discs.read(f"{i}.png") for i in range(COUNT)], [np.array([box_of(discs, i)]) for i in range(COUNT)]
    background = static_background(images, boxes)
    assert background is not None
    assert np.quantile(np.abs(background[..., 0] - discs.background), 0.99) < 4
    other = Discs(moving=True)
    assert static_background([other.read(f"{i}.png") for i in range(COUNT)], boxes) is None


def test_an_image_without_subjects_takes_some_and_one_subject_is_no_donor_of_itself() -> None:
    crops = crops_of(Discs())
    paster = Paster(Cutter(crops), Composite(1.0, (2, 2), (1, 1)))
    layers = paster.layers(np.random.default_rng(0), SIZE, [])
    assert len(layers) == 2 and all(layer.own is None for layer in layers)
    few = Paster(Cutter(crops_of(Discs(), 2)), Composite(1.0, (1, 1), (1, 1)))
    for seed in range(8):
        own, pasted = sorted(few.layers(np.random.default_rng(seed), SIZE, [0]), key=lambda layer: layer.own is None)
        assert own.own == 0 and abs(float(np.median(pasted.paint[pasted.cover == 1][:, 0])) - Discs().level(1)) < 3
    with pytest.raises(ValueError, match="give two of them at least"):
        Paster(Cutter(crops_of(Discs(), 1)), Composite(1.0))


def write_set(folder: Path, discs: Discs) -> None:
    rows = ["scorer,us,us,us,us", "bodyparts,front,front,back,back", "coords,x,y,x,y"]
    for i in range(COUNT):
        cv2.imwrite(str(folder / f"{i}.png"), discs.read(f"{i}.png"))
        rows.append(f"{i}.png," + ",".join(f"{value:.3f}" for value in discs.points(i).ravel()))
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")


@pytest.mark.parametrize("mode", ["instance", "multi"])
def test_training_alone_shows_composites_and_only_of_its_own_images(tmp_path: Path, mode: str) -> None:
    write_set(tmp_path, Discs())
    settings: dict[str, Any] = {"mode": mode, "val": 0.2, "test": 0.2, "padding": 3.0}
    data = new_labeled_data(tmp_path / "labels.csv", composite=EVERY, **settings)
    plain = new_labeled_data(tmp_path / "labels.csv", composite=Composite(), **settings)
    for one in (data, plain):
        one.prepare_data()
        one.setup("fit")
    reader = data.sources["train"].reader  # type: ignore[attr-defined]
    was_read: set[str] = set()
    read = type(reader).read
    object.__setattr__(reader, "read", lambda image: was_read.add(image) or read(reader, image))
    samples, usual = data.dataset("train"), plain.dataset("train")
    differ = [not np.array_equal(samples[i]["image"], usual[i]["image"]) for i in range(len(samples)) for _ in "ab"]
    assert np.mean(differ) > 0.5
    train = {data.labels.images[row] for row in data.splits["train"]}
    assert was_read and was_read <= train
    for split, unrounded in (("train", True), ("val", False), ("test", False)):
        one, other = data.dataset(split, unrounded), plain.dataset(split, unrounded)
        assert all(np.array_equal(one[i]["image"], other[i]["image"]) for i in range(len(one)))
    if mode == "multi":
        assert "one subject" in plain.several_note and not data.several_note
        scenes = data.scene_samples("train")
        assert max(len(scenes.sample(0, i)["boxes"]) for i in range(len(scenes))) > 1
        for split, augmented in (("train", False), ("val", True)):
            assert {len(data.scene_samples(split, augmented).sample(0, i)["boxes"]) for i in range(2)} == {1}


def test_composites_need_crops(tmp_path: Path) -> None:
    for settings in ({"mode": "image"}, {"mode": "instance", "device_cache": True}):
        with pytest.raises(
            ValueError, match=r"data\.composite\.fraction=1\.0 pastes .*set data\.mode=multi or instance"
        ):
            new_labeled_data(tmp_path / "labels.csv", composite=EVERY, **settings)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"fraction": 1.5}, "data.composite.fraction=1.5: give a fraction"),
        ({"fraction": "all"}, "data.composite.fraction=all: give"),
        ({"subjects": [3, 1]}, r"data.composite.subjects=\[3, 1\]: give fewest and most"),
        ({"subjects": 3}, "data.composite.subjects=3: give"),
        ({"subjects": [0, 2]}, r"data.composite.subjects=\[0, 2\]: give"),
        ({"subjects": [1, 500]}, r"data.composite.subjects=\[1, 500\]: give"),
        ({"scale": [0, 1]}, r"data.composite.scale=\[0, 1\]: give"),
        ({"rotate": 360}, "data.composite.rotate=360: give"),
        ({"mask": "sam"}, "data.composite.mask"),
    ],
)
def test_a_setting_out_of_range_is_one_message(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Composite(**setting)


def test_a_background_that_is_none_is_one_message() -> None:
    with pytest.raises(
        ValueError, match=r"data\.composite\.mask=background: the images of group 'cage' have no common"
    ):
        Cutter(crops_of(Discs(moving=True)), "background").cut(0)
