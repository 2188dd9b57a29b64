"""Images without labels: selection, two views of each, and reproducibility."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from helpers.blobs import blob, centroid
from helpers.data import labeled_data
from helpers.training import spoil, write_labels
from softpoint.data import LabeledData
from softpoint.data.augment import Augment
from softpoint.data.dataset import Draw
from softpoint.data.geometry import transform
from softpoint.data.unlabeled import UnlabeledImages, WithUnlabeled, image_names
from softpoint.images.read_options import ReadOptions
from softpoint.images.video import Video

BLOBS = {f"clip/frame{i}.png": (20.0 + 6 * i, 44.0 - 5 * i) for i in range(5)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve labeled images, and five of a white blob at a known place that are not."""
    folder = tmp_path_factory.mktemp("data")
    write_labels(folder)
    for name, place in BLOBS.items():
        (folder / "more" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / "more" / name), blob((64, 64), place, 2.5))
    return folder


def opened(folder: Path, source: Path | None = None, augment: Augment | None = None, **changes: Any) -> LabeledData:
    keys = ("per_sample", "max_images", "exclude_held_out")
    own = {key: changes.pop(key) for key in keys if key in changes}
    extra = UnlabeledImages(source or folder / "more", augment or Augment(), **own)
    return labeled_data(folder / "labels.csv", **{"val": 0.2, "test": 0.2, "unlabeled_images": extra, **changes})


def shown(data: LabeledData, draws: list[Draw]) -> list[int]:
    """Return the number of each unlabeled image that comes with these draws, by the place of its blob."""
    places = np.array(list(BLOBS.values()))
    samples = [data.dataset("train")[draw]["unlabeled"]["plain"] for draw in draws]
    return [int(np.linalg.norm(places - centroid(v.numpy()), axis=1).argmin()) for views in samples for v in views]


def test_a_run_that_goes_on_with_other_images_says_so(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = shutil.copytree(folder / "more", tmp_path / "more")
    state = opened(folder, images).state_dict()
    opened(folder, images).load_state_dict(state)
    assert caplog.text == ""
    shutil.copy(images / "clip" / "frame0.png", images / "clip" / "frame1.png")
    opened(folder, images).load_state_dict(state)
    assert "the values of the unlabeled images are not those that the run was trained on so far" in caplog.text
    caplog.clear()
    tested = opened(folder, images)
    tested.trainer = SimpleNamespace(state=SimpleNamespace(fn="test"))
    tested.load_state_dict(state)
    assert caplog.text == ""


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_the_matrix_maps_points_between_both_views(folder: Path, flip: float) -> None:
    augment = Augment(flip=flip, rotate=40, scale=(0.8, 1.2), translate=0.05, shear=5, perspective=0.03)
    data = opened(folder, augment=augment, per_sample=2)
    for index in range(3):
        views = data.dataset("train")[index]["unlabeled"]
        assert views["plain"].shape == views["image"].shape == (2, 64, 64, 3)
        assert views["plain"].dtype == views["image"].dtype == torch.uint8
        for plain, image, matrix, order in zip(*(views[k] for k in ("plain", "image", "matrix", "order")), strict=True):
            moved = transform(centroid(plain.numpy()), matrix.double().numpy())
            # A blob under perspective is no longer round: its center of mass is a little off its center.
            np.testing.assert_allclose(centroid(image.numpy()), moved, atol=0.1)
            assert order.tolist() == ([0, 2, 1, 3] if flip else [0, 1, 2, 3])
            assert bool(np.linalg.det(matrix[:2, :2].numpy()) < 0) == bool(flip)


def test_the_plain_view_is_the_image_as_it_is_predicted(folder: Path) -> None:
    data = opened(folder, augment=Augment(brightness=0.9, recolor_probability=1.0))
    views = data.dataset("train")[0]["unlabeled"]
    files = [cv2.imread(str(folder / "more" / name))[..., ::-1] for name in BLOBS]
    assert any(np.array_equal(views["plain"][0].numpy(), file) for file in files)
    assert not torch.equal(views["plain"], views["image"])


def test_all_are_shown_before_one_is_shown_again(folder: Path) -> None:
    data = opened(folder, per_sample=2)
    length = len(data.dataset("train"))
    draws = [Draw(epoch, index) for epoch in range(5) for index in range(length)]
    images = shown(data, draws)
    assert len(images) == 2 * 5 * length
    turns = [images[i : i + 5] for i in range(0, len(images) - 4, 5)]
    assert all(sorted(turn) == [0, 1, 2, 3, 4] for turn in turns)
    assert len({tuple(turn) for turn in turns}) > 1


def test_views_are_a_function_of_seed_epoch_and_index(folder: Path) -> None:
    augment = Augment(rotate=40, noise=0.1)

    def view(seed: int, *draws: Draw) -> torch.Tensor:
        dataset = opened(folder, augment=augment, seed=seed).dataset("train")
        return [dataset[draw] for draw in draws][-1]["unlabeled"]["image"]

    here = view(0, Draw(1, 3))
    assert torch.equal(here, view(0, Draw(0, 2), Draw(1, 3)))
    others = [view(1, Draw(1, 3)), view(0, Draw(2, 3)), view(0, Draw(1, 2))]
    assert not any(torch.equal(here, other) for other in others)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_and_caches_change_no_byte(folder: Path, tmp_path: Path) -> None:
    augment = Augment(rotate=40, noise=0.1, brightness=0.3)
    plain = opened(folder, augment=augment)
    other = opened(folder, augment=augment, cache_dir=tmp_path, num_workers=2, cache="disk")
    for one, two in zip(plain.train_dataloader(), other.train_dataloader(), strict=True):
        assert all(torch.equal(one["unlabeled"][key], two["unlabeled"][key]) for key in one["unlabeled"])
        assert torch.equal(one["image"], two["image"])


def test_labeled_samples_stay_as_they_were_and_val_and_test_come_alone(folder: Path) -> None:
    augment = Augment(rotate=30, noise=0.1)
    data, alone = opened(folder), labeled_data(folder / "labels.csv", val=0.2, test=0.2)
    data.augment = alone.augment = augment
    for split in ("train", "val", "test"):
        beside, sample = data.dataset(split)[Draw(2, 0)], alone.dataset(split)[Draw(2, 0)]
        assert ("unlabeled" in beside) == (split == "train")
        assert all(torch.equal(beside[key], sample[key]) for key in ("image", "keypoints", "visibility", "matrix"))


def test_a_device_cache_has_them_too(folder: Path) -> None:
    batch = next(iter(opened(folder, device_cache=True).train_dataloader()))
    assert batch["unlabeled"]["image"].shape == (4, 1, 64, 64, 3) and "warp" in batch


def test_held_out_images_are_left_out(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Copies of a test and of a val image under other names, one of them saved with losses."""
    data = opened(folder)
    for split, name in (("test", "a.png"), ("val", "b.jpg"), ("train", "c.png")):
        image = cv2.imread(str(folder / data.labels.images[data.splits[split][0]]))
        cv2.imwrite(str(tmp_path / name), image)
    cv2.imwrite(str(tmp_path / "d.png"), cv2.imread(str(folder / "more/clip/frame0.png")))
    with caplog.at_level(logging.INFO):
        assert opened(folder, tmp_path).unlabeled.labels.images == ("c.png", "d.png")
        assert opened(folder, tmp_path, verify=False).unlabeled.labels.images == ("c.png", "d.png")
    assert (
        "2 unlabeled images" in caplog.text and "2 left out, equal or nearly equal to val or test images" in caplog.text
    )
    assert len(opened(folder, tmp_path, exclude_held_out=False).unlabeled) == 4
    assert "2 of the unlabeled images are, or nearly equal, val or test images" in caplog.text
    (tmp_path / "c.png").unlink()
    (tmp_path / "d.png").unlink()
    with pytest.raises(
        ValueError, match="no image to train on: of the 2 that can be read, 2 are, or nearly equal, val"
    ):
        opened(folder, tmp_path)


def test_damaged_images_are_left_out_with_a_warning(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes((folder / "video0/img00.png").read_bytes())
    spoil(tmp_path / "a.png")
    assert opened(folder, tmp_path, exclude_held_out=False).unlabeled.labels.images == ("b.png",)
    assert "1 of 2 unlabeled images are left out: image" in caplog.text and "a.png" in caplog.text


def test_a_video_gives_its_frames_evenly(folder: Path, data_root: Path) -> None:
    path = data_root / "keypoints" / "mirror-mouse" / "videos" / "test_vid.mp4"
    if not path.exists():
        pytest.skip(f"no video at {path}")
    data = opened(folder, path, max_images=5)
    images = data.unlabeled.labels.images
    assert images == tuple(f"test_vid.mp4/{frame:06}" for frame in (0, 248, 496, 745, 993))
    last = Video(path, 10**9).read(993)
    np.testing.assert_array_equal(data.unlabeled.load(0, 4).image, last)


def test_a_folder_gives_every_page_of_its_images(tmp_path: Path) -> None:
    pages = [Image.new("L", (9, 9), level) for level in (20, 90, 160)]
    (tmp_path / "day").mkdir()
    pages[0].save(tmp_path / "day/b.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "a.png")
    names = ["a.png", *(f"day/b.tif/00000{page}" for page in range(3))]
    assert image_names(tmp_path, ReadOptions(max_pixels=100)) == (tmp_path, names)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.h264"])
def test_the_length_of_a_video_is_that_of_its_frames(tmp_path: Path, name: str) -> None:
    """In a container that states the time of each frame, and in one where only decoding counts them."""
    pytest.importorskip("av")
    from helpers.videos import film

    path = film(tmp_path / name, count=7)
    video = Video(path, 10**6)
    assert len(video) == 7 and len(image_names(path, ReadOptions(max_pixels=10**6))[1]) == 7
    assert video.read(6).mean() > video.read(1).mean()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": Path("nowhere.mp4")}, r"data.unlabeled_images.source=nowhere.mp4 does not exist; name a folder"),
        ({"source": Path(__file__)}, r"video .*test_unlabeled.py .*decode"),
        ({"per_sample": 0}, r"data.unlabeled_images.per_sample=0 must be at least 1"),
        ({"max_images": 0}, r"data.unlabeled_images.max_images=0 must be at least 1"),
        ({"mode": "instance"}, r"data.mode=instance: data.unlabeled_images have no boxes to crop"),
    ],
)
def test_invalid_settings_are_refused(folder: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        opened(folder, **changes)


def test_evaluating_needs_no_unlabeled_image(folder: Path) -> None:
    extra = UnlabeledImages("gone.mp4", Augment())
    data = labeled_data(folder / "labels.csv", "test", val=0.2, test=0.2, unlabeled_images=extra)
    assert not isinstance(data.dataset("train"), WithUnlabeled) and len(data.dataset("test"))
