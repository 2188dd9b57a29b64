"""Samples are a function of (seed, epoch, index), and their points match their pixels."""

from __future__ import annotations

import pickle

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from helpers.data import same
from softpoint.data.augment import Augment
from softpoint.data.dataset import Draw, KeypointDataset
from softpoint.data.loaders import collate
from softpoint.data.sources import PaintedScenes, Record, subject_scale
from softpoint.data.synthetic import Shapes
from softpoint.functional import transform_points
from softpoint.labels.skeleton import Skeleton, infer_flip_pairs

STRONG = {"flip": 0.5, "rotate": 40, "scale": (0.7, 1.4), "translate": 0.1, "perspective": 0.04, "noise": 0.05,
          "brightness": 0.3, "blur": 1.0, "dropout": 0.2}  # fmt: skip


class Album:
    """Images of these sizes (H, W) with points at fixed fractions; the last point of each is unlabeled."""

    skeleton = Skeleton(("nose", "left_ear", "right_ear", "tail"), (("left_ear", "right_ear"),))

    def __init__(self, sizes: list[tuple[int, int]]) -> None:
        self.sizes = sizes

    def __len__(self) -> int:
        return len(self.sizes)

    def points(self, index: int) -> np.ndarray:
        height, width = self.sizes[index]
        points = np.array([[0.5, 0.5], [0.25, 0.3], [0.75, 0.3], [0, 0]]) * [width, height]
        return np.vstack([points[:3], [[np.nan, np.nan]]])

    def load(self, epoch: int, index: int) -> Record:
        image = np.random.default_rng(index).integers(0, 256, (*self.sizes[index], 3), dtype=np.uint8)
        return self.describe(index)._replace(image=image)

    def describe(self, index: int) -> Record:
        points, states = self.points(index), np.array([2, 1, 2, 0])
        return Record(np.empty((0, 0, 3)), self.sizes[index], points, states, 10.0 + index, f"video{index}")


SIZES = [(64, 64), (48, 96), (91, 61), (200, 333), (17, 30)]


def painted(augment: Augment | None) -> KeypointDataset:
    scenes = PaintedScenes(Shapes(difficulty=0.5), (64, 64), 6, (0, 0), renewed=True)
    return KeypointDataset(scenes, (64, 64), (3, 0), augment)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_sample_does_not_depend_on_process_or_time(workers: int) -> None:
    dataset, draws = painted(Augment(**STRONG)), [Draw(e, i) for e in (0, 1) for i in (3, 0, 5)]
    expected = {draw: dataset[draw] for draw in draws}
    loader = DataLoader(dataset, None, sampler=draws[::-1], num_workers=workers)
    assert all(same(sample, expected[draw]) for draw, sample in zip(draws[::-1], loader, strict=True))
    copied = pickle.loads(pickle.dumps(dataset))
    assert all(same(copied[draw], expected[draw]) for draw in draws)


class Threads(Album):
    """An album whose groups are the number of threads that OpenCV may use."""

    def describe(self, index: int) -> Record:
        return super().describe(index)._replace(group=str(cv2.getNumThreads()))


def test_a_worker_of_any_loader_uses_no_thread_of_opencv() -> None:
    """Such threads do not survive a fork, and waiting for them would never end."""
    dataset = KeypointDataset(Threads(SIZES), (64, 64), (0,))
    groups = [sample["group"] for sample in DataLoader(dataset, None, num_workers=1)]
    assert groups == ["1"] * len(SIZES) and dataset[0]["group"] == str(cv2.getNumThreads())


def test_every_draw_differs() -> None:
    dataset = KeypointDataset(Album(SIZES[:1] * 3), (64, 64), (0,), Augment(**STRONG))
    images = [dataset[Draw(epoch, index)]["matrix"] for epoch in range(3) for index in range(3)]
    assert len({tuple(image.flatten().tolist()) for image in images}) == 9
    other = KeypointDataset(Album(SIZES[:1]), (64, 64), (1,), Augment(**STRONG))
    assert not torch.equal(other[Draw(0, 0)]["matrix"], images[0])


def test_validation_scenes_are_the_same_in_every_epoch() -> None:
    scenes = PaintedScenes(Shapes(difficulty=0.5), (64, 64), 2, (0, 1), renewed=False)
    assert np.array_equal(scenes.load(0, 1).image, scenes.load(7, 1).image)
    renewed = PaintedScenes(Shapes(difficulty=0.5), (64, 64), 2, (0, 1), renewed=True)
    assert not np.array_equal(renewed.load(0, 1).image, renewed.load(7, 1).image)


@pytest.mark.parametrize("augment", [None, Augment(**STRONG)], ids=["plain", "augmented"])
@pytest.mark.parametrize("size", [(64, 64), (96, 64), (32, 160)])
def test_matrix_leads_back_to_the_original(augment: Augment | None, size: tuple[int, int]) -> None:
    album = Album(SIZES)
    dataset = KeypointDataset(album, size, (0,), augment)
    batch = collate([dataset[Draw(2, i)] for i in range(len(album))])
    back = transform_points(batch["keypoints"], batch["matrix"]).numpy()
    assert batch["image"].shape == (len(album), 3, *size) and batch["image"].dtype == torch.uint8
    flips = 0
    for i in range(len(album)):
        points = album.points(i)
        # Decided by where the points are: only a mirror swaps the ears.
        flipped = not np.allclose(back[i, 1], points[1], atol=1e-3)
        flips += flipped
        order = [0, 2, 1, 3] if flipped else [0, 1, 2, 3]
        np.testing.assert_allclose(back[i, :3], points[order][:3], atol=1e-3)
        assert batch["visibility"][i].tolist() == np.array([2, 1, 2, 0])[order].tolist()
    assert (flips > 0) == (augment is not None)
    assert batch["size"].tolist() == [list(size) for size in SIZES]
    assert batch["scale"].tolist() == [10.0, 11.0, 12.0, 13.0, 14.0]
    assert batch["group"] == [f"video{i}" for i in range(5)] and batch["index"].tolist() == list(range(5))


@pytest.mark.parametrize("names", ["nose left_ear right_ear left_hip", "nose a b tail"])
def test_a_mirror_needs_a_partner_for_every_side(names: str) -> None:
    album = Album(SIZES)
    album.skeleton = Skeleton(tuple(names.split()), infer_flip_pairs(names.split()))
    dataset = KeypointDataset(album, (64, 64), (0,), Augment(flip=1.0))
    assert all(torch.linalg.det(dataset[i]["matrix"]) > 0 for i in range(5))


@pytest.mark.parametrize("padding", [False, True])
def test_points_that_are_not_labeled_are_finite_zeros_and_padding_hides_all(padding: bool) -> None:
    album = Album(SIZES)
    record = album.load(0, 0)._replace(visibility=np.array([2, 1, -1, 0]))
    record.keypoints[2] = np.nan
    album.load = lambda epoch, index: record  # type: ignore[method-assign]
    sample = KeypointDataset(album, (64, 64), (0,), Augment(rotate=40))[Draw(0, 0, padding)]
    assert sample["visibility"].tolist() == ([0, 0, 0, 0] if padding else [2, 1, -1, 0])
    assert not sample["keypoints"][sample["visibility"] <= 0].any()
    assert all(torch.isfinite(value).all() for value in sample.values() if torch.is_tensor(value))


def test_scale_is_the_diagonal_of_the_labeled_points() -> None:
    points = np.array([[10.0, 20.0], [np.nan, np.nan], [40.0, 60.0]])
    assert subject_scale(points, (300, 400)) == 50
    assert subject_scale(points[:2], (300, 400)) == 500  # one point has no extent
    assert subject_scale(np.array([[5.0, 5.0], [5.0, 5.0]]), (300, 400)) == 500
    assert subject_scale(points, (300, 400), np.array([0.0, 0.0, 6.0, 8.0])) == 10  # the subject's own box
    assert subject_scale(points, (300, 400), np.array([5.0, 5.0, 5.0, 5.0])) == 50  # which has no area


def test_a_crop_shows_its_box_alone() -> None:
    """The same subject in a larger image gives the same sample, wherever it stands in it."""
    inner = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    within = np.array([[3.0, 4.0], [20.5, 30.25], [10, 11], [np.nan, np.nan]])
    samples = []
    for left, top in ((0, 0), (50, 21), (130, 60)):
        album = Album([(120, 200)])
        image = np.zeros((120, 200, 3), np.uint8)
        image[top : top + 40, left : left + 30] = inner
        points = within + np.array([left, top])
        box = np.array([left - 0.5, top - 0.5, left + 29.5, top + 39.5])
        states = np.array([2, 1, 2, 0])
        record = Record(image, (120, 200), points, states, 1.0, "", box)
        album.load = lambda epoch, index, record=record: record  # type: ignore[method-assign]
        samples.append(KeypointDataset(album, (80, 64), (0,))[0])
    for sample in samples[1:]:
        assert torch.equal(sample["image"], samples[0]["image"])
        torch.testing.assert_close(sample["keypoints"], samples[0]["keypoints"])
    back = transform_points(samples[2]["keypoints"][None], samples[2]["matrix"][None])[0, :3]
    np.testing.assert_allclose(back, within[:3] + np.array([130, 60]), atol=1e-4)
