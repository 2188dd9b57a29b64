"""Synthetic scenes agree with their keypoints and visibilities."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest

from softpoint.data.synthetic import Figure, Scene, Shapes
from softpoint.data.synthetic.doll import _OWNERS, Doll, dressed, pose, put
from softpoint.data.synthetic.raster import Capsule, Polygon, covers, paint
from softpoint.data.synthetic.shapes import TEMPLATES

SIZES = [(32, 32), (33, 47), (64, 200), (129, 128), (256, 256), (1024, 33)]
WORLDS = [Shapes, Figure]
HUES = {shape.name: shape.hue for shape in TEMPLATES}


def mask(part: Polygon | Capsule, size: tuple[int, int] = (96, 96)) -> np.ndarray:
    image = np.zeros((*size, 3), np.uint8)
    paint(image, [part], [(255, 255, 255)])
    return image[..., 0] / 255


def centroid(weights: np.ndarray) -> np.ndarray:
    y, x = np.indices(weights.shape)
    return np.array([(weights * x).sum(), (weights * y).sum()]) / weights.sum()


def area_and_centroid(corners: np.ndarray) -> tuple[float, np.ndarray]:
    """Of a polygon (N, 2), by the shoelace formula."""
    following = np.roll(corners, -1, 0)
    cross = corners[:, 0] * following[:, 1] - following[:, 0] * corners[:, 1]
    return abs(cross.sum()) / 2, ((corners + following) * cross[:, None]).sum(0) / (3 * cross.sum())


def random_shape(rng: np.random.Generator) -> tuple[np.ndarray, list[Polygon]]:
    """The outline (V, 2) of a random shape, about as large as in an image of 128 px, and its two pieces."""
    shape = TEMPLATES[rng.integers(len(TEMPLATES))]
    corners = np.array(list(shape.vertices.values()))
    angle = rng.uniform(0, 2 * np.pi)
    c, s = np.cos(angle), np.sin(angle)
    turned = (corners - corners.mean(0)) @ np.array([[c, s], [-s, c]]) * rng.uniform(36, 56)
    placed = dict(zip(shape.vertices, turned + 48 + rng.uniform(-3, 3, 2), strict=True))
    ring = ("nose", "bright", "tail", "dark") if shape.name == "kite" else shape.vertices
    pieces = [Polygon([placed[v] for v in piece]) for piece in (shape.bright, shape.dark)]
    return np.array([placed[v] for v in ring]), pieces


def test_a_shape_is_at_its_corners() -> None:
    rng = np.random.default_rng(0)
    shifts, growth = [], []
    for _ in range(400):
        outline, pieces = random_shape(rng)
        area, center = area_and_centroid(outline)
        image = np.zeros((96, 96, 3), np.uint8)
        paint(image, pieces, [(255, 255, 255)] * 2)
        shifts.append(centroid(image[..., 0] / 255) - center)
        growth.append(image[..., 0].sum() / 255 / area - 1)
    assert np.quantile(np.abs(shifts), 0.995) < 0.04
    assert np.abs(shifts).max() < 0.06
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.003
    assert abs(np.mean(growth)) < 0.002


def test_a_disc_and_a_rod_are_at_their_ends() -> None:
    rng = np.random.default_rng(1)
    shifts = []
    for _ in range(100):
        start, end = rng.uniform(25, 70, (2, 2))
        shifts.append(centroid(mask(Capsule(start, start, 5.3, 5.3))) - start)
        shifts.append(centroid(mask(Capsule(start, end, 4.2, 4.2))) - (start + end) / 2)
    assert np.abs(shifts).max() < 0.05
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.003


def test_no_seam_shows_between_two_pieces_of_one_color() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    a, b, c, d = (5.3, 7.1), (33.2, 9.4), (30.1, 35.6), (8.7, 30.2)
    paint(image, [Polygon([a, b, c]), Polygon([a, c, d])], [(200, 100, 50)] * 2)
    whole = Polygon([a, b, c, d])
    y, x = np.indices((40, 40), dtype=np.float64)
    inside = covers(whole, np.stack([x.ravel(), y.ravel()], 1)) & (mask(whole, (40, 40)).ravel() == 1)
    assert (np.abs(image.reshape(-1, 3)[inside].astype(int) - (200, 100, 50)) <= 1).all()


def test_a_part_outside_the_frame_changes_nothing() -> None:
    image = np.full((32, 32, 3), 7, np.uint8)
    for x, y in [(-50, 5), (90, 5), (5, -50), (5, 90)]:
        paint(image, [Capsule((x, y), (x, y), 4, 4)], [(255, 255, 255)])
    assert (image == 7).all()


@pytest.mark.parametrize("world", WORLDS)
def test_a_scene_follows_from_its_seed_alone(world: type) -> None:
    first = world(0.7).draw(np.random.default_rng(5), (61, 83))
    world(1.0).draw(np.random.default_rng(6), (128, 128))
    np.random.default_rng(5).random(9)
    second = world(0.7).draw(np.random.default_rng(5), (61, 83))
    for one, other in zip(first, second, strict=True):
        assert one.tobytes() == other.tobytes()
    assert world(0.7).draw(np.random.default_rng(7), (61, 83)).image.tobytes() != first.image.tobytes()


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("difficulty", [0, 0.5, 1])
def test_scenes_have_the_promised_types_and_keypoints_in_the_frame(
    world: type, size: tuple[int, int], difficulty: float
) -> None:
    generator = world(difficulty)
    for seed in range(25):
        scene = generator.draw(np.random.default_rng(seed), size)
        assert isinstance(scene, Scene)
        assert scene.image.shape == (*size, 3) and scene.image.dtype == np.uint8
        assert scene.image.flags.c_contiguous
        assert scene.keypoints.shape == (len(generator.skeleton), 2) and scene.keypoints.dtype == np.float64
        assert scene.visibility.dtype == np.int64 and set(scene.visibility.tolist()) <= {1, 2}
        assert (scene.keypoints >= -0.5).all()
        assert (scene.keypoints <= np.array(size[::-1]) - 0.5).all()


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(("difficulty", "least"), [(0, 0.9), (0.5, 0.85), (1, 0.7)])
def test_most_keypoints_are_visible_and_some_are_not(world: type, difficulty: float, least: float) -> None:
    flags = [world(difficulty).draw(np.random.default_rng(s), (64, 64)).visibility for s in range(200)]
    assert least < np.mean(np.array(flags) == 2) < 1


def around(image: np.ndarray, point: np.ndarray, reach: int) -> np.ndarray:
    """The pixels (N, 3) at most `reach` px from a point along either axis."""
    x, y = np.round(point).astype(int)
    rows, columns = slice(max(y - reach, 0), y + reach + 1), slice(max(x - reach, 0), x + reach + 1)
    return image[rows, columns].reshape(-1, 3)


def hue_gap(pixel: np.ndarray, hue: float) -> float:
    """Return the distance of a color from a hue, in turns; 1 for a pale or dark color."""
    h, s, v = colorsys.rgb_to_hsv(*(pixel / 255).tolist())
    return min(abs(h - hue), 1 - abs(h - hue)) if s > 0.6 and v > 0.3 else 1.0


def test_a_visible_corner_shows_its_shape_and_a_hidden_one_another() -> None:
    hidden, right = 0, []
    for seed in range(150):
        scene = Shapes(0).draw(np.random.default_rng(seed), (160, 160))
        for name, point, flag in zip(Shapes.skeleton.names, scene.keypoints, scene.visibility, strict=True):
            reach = 4 if flag == 2 else 2  # a sharp tip is narrower than a pixel
            near = around(scene.image, point, reach)
            own = HUES[name.split("_")[0]]
            if flag == 2:
                right.append(min(hue_gap(p, own) for p in near) < 0.05)
            else:
                hidden += 1
                others = [hue for hue in HUES.values() if hue != own]
                right.append(any(hue_gap(p, hue) < 0.05 for p in near for hue in others))
    assert hidden > 20
    assert all(right)


def test_an_occluded_joint_shows_another_part_and_a_visible_one_its_own() -> None:
    """Redraw each figure in flat colors, one a layer, and read which one the joint shows."""
    seen = {1: 0, 2: 0}
    for seed in range(150):
        scene, doll = replay(seed, (200, 200))
        flat = np.zeros((200, 200, 3), np.uint8)
        for depth, name in enumerate(doll.order):
            for piece in doll.layers[name]:
                paint(flat, [piece.part], [(20 * (depth + 1),) * 3])
        for joint, point, flag in zip(Figure.skeleton.names, scene.keypoints, scene.visibility, strict=True):
            x, y = np.round(point).astype(int)
            patch = flat[y - 1 : y + 2, x - 1 : x + 2, 0]
            if np.ptp(patch):  # at an edge the rounded pixel may show either side
                continue
            front = doll.order[int(patch[0, 0]) // 20 - 1]
            assert (front in _OWNERS[joint]) == (flag == 2), (seed, joint)
            seen[int(flag)] += 1
    assert seen[1] > 20 and seen[2] > 1000


def replay(seed: int, size: tuple[int, int]) -> tuple[Scene, Doll]:
    """A plain scene and the doll in it, by drawing its random numbers again."""
    scene = Figure(0).draw(np.random.default_rng(seed), size)
    rng = np.random.default_rng(seed)
    rng.random(5)
    joints, (extent, *place) = pose(rng, 0)
    return scene, dressed(rng, *put(joints, (0.5 + 0.3 * extent) * min(size), size, place), 0)


def test_the_left_of_an_upright_figure_is_at_the_right_of_the_image() -> None:
    names = Figure.skeleton.names
    assert Figure.skeleton.flip_pairs == tuple((n, n.replace("left", "right")) for n in names if n.startswith("left"))
    for seed in range(100):
        points = dict(zip(names, Figure(1).draw(np.random.default_rng(seed), (96, 96)).keypoints, strict=True))
        down = points["torso"] - points["neck"]
        leftwards = np.array([down[1], -down[0]])
        assert (points["left_shoulder"] - points["right_shoulder"]) @ leftwards > 0
        assert (points["left_hip"] - points["right_hip"]) @ leftwards > 0


def test_the_sleeves_prefer_no_side_so_that_a_mirrored_image_is_a_true_one() -> None:
    warm = []
    for seed in range(200):
        layers = replay(seed, (64, 64))[1].layers
        warm.append(layers["left_arm"][0].colors[1][1] > layers["right_arm"][0].colors[1][1])
    assert 0.4 < np.mean(warm) < 0.6


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("difficulty", [-0.1, 1.5, float("nan")])
def test_a_difficulty_outside_the_unit_interval_is_quoted(world: type, difficulty: float) -> None:
    with pytest.raises(ValueError, match=f"difficulty {difficulty} is outside"):
        world(difficulty)


@pytest.mark.parametrize("world", WORLDS)
def test_an_image_too_small_for_a_scene_is_refused(world: type) -> None:
    with pytest.raises(ValueError, match=r"image size \(31, 64\) is too small.*at least 32"):
        world().draw(np.random.default_rng(0), (31, 64))
