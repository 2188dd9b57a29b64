"""Painted scenes of several subjects, and crops of them: boxes, depth and order are checked by painting them again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate

from helpers.training import composed
from softpoint.cli.inspect import show_scenes
from softpoint.data import Loader, SyntheticData
from softpoint.data.scenes import Scene
from softpoint.data.subjects import EachSubject, PaintedSubjects
from softpoint.data.synthetic import Figure, Shapes, canvas
from softpoint.data.synthetic.doll import _OWNERS, Doll
from softpoint.data.synthetic.figure import LEAST_SEEN
from softpoint.data.synthetic.raster import paint

SIZE = (240, 256)
NAMES = Figure.skeleton.names


def replayed(seed: int, figure: Figure) -> tuple[Scene, list[Doll], list]:
    """A scene, its dolls from back to front and its rods, by drawing the random numbers again."""
    scene = figure.draw_scene(np.random.default_rng(seed), SIZE)
    rng = np.random.default_rng(seed)
    rods = canvas.occluders(rng, SIZE, figure.difficulty)
    return scene, figure._dolls(rng, SIZE, rods), rods


def row_of(scene: Scene, doll: Doll) -> int:
    """The number of a doll among the subjects of its scene."""
    (row,) = np.flatnonzero((scene.keypoints == doll.keypoints).all((1, 2)))
    return int(row)


def test_a_scene_of_one_doll_is_the_same_whatever_several_would_be() -> None:
    one, several = Figure(0.5), Figure(0.5, subjects=(0, 8), scale=(0.1, 0.3))
    for seed in range(5):
        for a, b in zip(
            one.draw(np.random.default_rng(seed), SIZE), several.draw(np.random.default_rng(seed), SIZE), strict=True
        ):
            assert a.tobytes() == b.tobytes()
    # As it was before several could be painted.
    scene = one.draw(np.random.default_rng(3), (61, 83))
    kept = [[32.5055989, 18.93302949], [18.98228123, 50.06698381]]
    np.testing.assert_allclose(scene.keypoints[[0, 12]], kept, atol=1e-7)
    np.testing.assert_allclose(scene.image.mean((0, 1)), [183.725, 166.294, 165.031], atol=0.1)


def test_points_are_hidden_where_something_else_is_painted_over_them() -> None:
    """Paint each layer of each doll in a number of its own, and read the numbers at the joints."""
    counts = {1: 0, 2: 0}
    for seed in range(40):
        scene, dolls, rods = replayed(seed, Figure(0.6, subjects=(2, 8)))
        flat = np.zeros((*SIZE, 3), np.uint8)
        owners: list[tuple[int, str]] = [(-1, "")]
        for number, doll in enumerate(dolls):
            for name in doll.order:
                owners.append((number, name))
                for piece in doll.layers[name]:
                    paint(flat, [piece.part], [(len(owners) - 1,) * 3])
        for rod in rods:
            paint(flat, [rod], [(0, 0, 0)])
        for number, doll in enumerate(dolls):
            row = row_of(scene, doll)
            for joint, point, flag in zip(NAMES, scene.keypoints[row], scene.visibility[row], strict=True):
                x, y = np.round(point).astype(int)
                patch = flat[y - 1 : y + 2, x - 1 : x + 2, 0]
                if np.ptp(patch):  # at an edge the rounded pixel may show either side
                    continue
                front, layer = owners[int(patch[0, 0])]
                assert (front == number and layer in _OWNERS[joint]) == (flag == 2), (seed, joint)
                counts[int(flag)] += 1
    assert counts[1] > 100 and counts[2] > 1000


def test_each_doll_is_seen_and_its_box_is_that_of_all_of_it() -> None:
    covered = 0
    for seed in range(30):
        scene, dolls, rods = replayed(seed, Figure(1, subjects=(6, 8)))
        assert 6 <= len(scene.boxes) <= 8
        numbers = np.zeros((*SIZE, 3), np.uint8)
        masks = []
        for number, doll in enumerate(dolls, 1):
            alone = np.zeros((*SIZE, 3), np.uint8)
            for part in doll.parts:
                paint(alone, [part], [(255, 255, 255)])
            masks.append(alone[..., 0] > 127)
            numbers[masks[-1]] = number
            rows, columns = (np.flatnonzero((alone[..., 0] > 0).any(axis)) for axis in (1, 0))
            extent = [columns[0] - 0.5, rows[0] - 0.5, columns[-1] + 0.5, rows[-1] + 0.5]
            np.testing.assert_allclose(scene.boxes[row_of(scene, doll)], extent, atol=1.01)
        for rod in rods:
            paint(numbers, [rod], [(0, 0, 0)])
        seen = [(numbers[..., 0] == i)[mask].mean() for i, mask in enumerate(masks, 1)]
        assert min(seen) > LEAST_SEEN - 0.02
        covered += sum(fraction < 0.9 for fraction in seen)
        assert (scene.keypoints >= scene.boxes[:, None, :2]).all()
        assert (scene.keypoints <= scene.boxes[:, None, 2:]).all()
        assert (scene.boxes[:, :2] >= -0.5).all() and (scene.boxes[:, 2:] <= np.array(SIZE[::-1]) - 0.5).all()
    assert covered > 30


def test_the_order_of_subjects_says_nothing_of_their_depth() -> None:
    first = []
    for seed in range(60):
        scene, dolls, _ = replayed(seed, Figure(0, subjects=(2, 2)))
        first.append(row_of(scene, dolls[0]) == 0)
    assert 0.25 < np.mean(first) < 0.75


def test_any_number_of_the_range_is_painted_none_too() -> None:
    figure = Figure(0.3, subjects=(0, 3))
    scenes = [figure.draw_scene(np.random.default_rng(seed), (96, 128)) for seed in range(60)]
    assert {len(scene.boxes) for scene in scenes} == {0, 1, 2, 3}
    for scene in scenes:
        n = len(scene.boxes)
        assert scene.image.shape == (96, 128, 3) and scene.image.dtype == np.uint8
        assert scene.keypoints.shape == (n, 13, 2) and scene.visibility.shape == (n, 13)
        assert scene.boxes.shape == (n, 4) and scene.crowds.shape == (0, 4) and scene.complete
        assert scene.keypoints.dtype == scene.boxes.dtype == np.float64 and scene.visibility.dtype == np.int64


def test_scenes_and_subjects_follow_from_their_seed_alone() -> None:
    def bytes_of(value: object) -> list[bytes | object]:
        return [part.tobytes() if isinstance(part, np.ndarray) else part for part in tuple(value)]  # type: ignore[arg-type]

    def opened(renewed: bool) -> PaintedSubjects:
        return PaintedSubjects(Figure(0.5, subjects=(0, 3)), (96, 96), 4, (7, 0), renewed)

    one, other, fixed = opened(True), opened(True), opened(False)
    forward = [(bytes_of(one.load(e, i)), bytes_of(one.load_scene(e, i))) for e in range(2) for i in range(4)]
    back = [(bytes_of(other.load(e, i)), bytes_of(other.load_scene(e, i))) for e in (1, 0) for i in (3, 2, 1, 0)]
    assert forward == back[::-1]
    assert len({record[0] for record, _ in forward}) == len({scene[0] for _, scene in forward}) == 8
    assert bytes_of(fixed.load_scene(5, 2)) == bytes_of(one.load_scene(0, 2))
    for i in range(4):  # what is not painted is where it would be
        assert bytes_of(fixed.load_scene(5, i))[1:] == bytes_of(fixed.describe_scene(i))[1:]
        assert bytes_of(fixed.load(5, i))[1:] == bytes_of(fixed.describe(i))[1:]
        assert fixed.describe(i).image.size == fixed.describe_scene(i).image.size == 0


def test_crops_of_validation_are_all_subjects_of_its_scenes() -> None:
    painter = Figure(0.5, subjects=(0, 4))
    data = SyntheticData(painter, 64, train=3, val=6, test=5, loader=Loader(2, 0), seed=0)
    data.setup("fit")
    assert data.crops == {"padding": 1.25, "boxes": "labels"} and data.padding == 1.25
    assert set(data.scenes) == {"train", "val", "test"} and len(data.sources["train"]) == 3
    for split in ("val", "test"):
        source, scenes = data.sources[split], data.scenes[split]
        assert isinstance(source, EachSubject)
        boxes = [box for i in range(len(scenes)) for box in scenes.load_scene(0, i).boxes.tolist()]
        assert [source.load(0, i).box.tolist() for i in range(len(source))] == boxes  # type: ignore[union-attr]
        for i in (len(source) - 1, 0, 1):
            record, described = source.load(0, i), source.describe(i)
            assert record.image.shape == (128, 128, 3) and described.image.size == 0
            for a, b in zip(record[1:], described[1:], strict=True):
                np.testing.assert_array_equal(a, b)
    images = {scenes.load_scene(0, i).image.tobytes() for scenes in data.scenes.values() for i in range(len(scenes))}
    assert len(images) == 3 + 6 + 5
    # A sample shows the subject in the middle.
    sample = data.dataset("val")[0]
    assert sample["image"].shape == (64, 64, 3)
    assert ((sample["keypoints"] >= -0.5) & (sample["keypoints"] <= 63.5)).all()


def test_a_training_crop_has_a_subject_where_scenes_may_have_none() -> None:
    source = PaintedSubjects(Figure(0, subjects=(0, 1)), (64, 64), 12, (0,), renewed=True)
    assert {len(source.load_scene(0, i).boxes) for i in range(12)} == {0, 1}
    for i in range(12):
        record = source.load(0, i)
        assert record.box is not None and record.scale == pytest.approx(np.hypot(*(record.box[2:] - record.box[:2])))


@pytest.mark.parametrize(
    ("subjects", "message"),
    [
        ([3, 1], r"scene.subjects=\[3, 1\]: give the least and most"),
        (500, "scene.subjects=500: give the least and most"),
        ([0, 500], r"scene.subjects=\[0, 500\]: .*both from 0 to 100"),
        ([-1, 3], r"scene.subjects=\[-1, 3\]: .*both from 0 to 100"),
        ([0, 0], r"scene.subjects=\[0, 0\]: .*the most at least 1"),
        ([0, 2.5], r"scene.subjects=\[0, 2.5\]: give"),
        ("[0,8]", r"scene.subjects=\[0,8\]: give"),
        ([0, 40], r"have room for 18; set fewer, or a smaller scale: at 40, a mean side of 0.22"),
    ],
)
def test_subjects_that_are_no_range_are_one_message(subjects: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Figure(0.5, subjects=subjects)  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [[0.5, 0.2], [0, 0.2], [0.2, 0.9], 0.3, [0.3], [float("nan"), 0.3]])
def test_a_scale_that_is_no_range_is_one_message(scale: object) -> None:
    with pytest.raises(ValueError, match=r"scene\.scale=.*give the smallest and largest side"):
        Figure(0.5, subjects=[0, 2], scale=scale)  # type: ignore[arg-type]


def test_other_scenes_are_of_one_subject() -> None:
    with pytest.raises(ValueError, match=r"scene=shapes is one subject; scene=figure paints several"):
        Shapes(subjects=[0, 8])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"data\.val=1: no image of that split has a subject"):
        for seed in range(30):
            painter = Figure(0, subjects=(0, 1))
            SyntheticData(painter, 32, train=1, val=1, test=1, loader=Loader(1, 0), seed=seed).setup("fit")
    with pytest.raises(ValueError, match=r"data\.image_size=\[5000, 5000\]: scenes are painted up to 4096 px"):
        SyntheticData(Shapes(), 32, 1, 1, 1, Loader(1, 0), 0, image_size=5000)


def test_the_config_paints_several(tmp_path: Path) -> None:
    several = ["data=synthetic", "scene=figure", "scene.subjects=[1,4]", "data.train=2", "data.val=2", "data.test=2"]
    data = instantiate(composed("train", [*several, "data.image_size=[96,128]"], tmp_path).datamodule)
    data.setup("fit")
    assert data.scenes["train"].load_scene(0, 0).size == (96, 128)
    show_scenes(composed("inspect", [*several, "data.size=64", f"output={tmp_path}"], tmp_path))
    assert (tmp_path / "images.png").stat().st_size > 10_000
