"""The data module of labeled images: splits, batches, caches and errors."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from helpers.data import labeled_data, new_labeled_data, same
from helpers.labels import images, written
from helpers.training import spoil, write_labels
from softpoint.data import LabeledData
from softpoint.data.augment import Augment
from softpoint.data.stored_splits import unpack_splits
from softpoint.functional import transform_points
from softpoint.labels.formats import read_labels
from softpoint.labels.load import load_labels
from softpoint.labels.split import SPLITS, images_of, write_splits


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    write_labels(folder, missing=[(0, 1), (0, 2), (5, 3), *((7, k) for k in range(4))])
    return folder


def opened(folder: Path, **changes: Any) -> LabeledData:
    return labeled_data(folder / "labels.csv", **{"images": folder, "val": 0.2, "test": 0.2, **changes})


def test_batches_hold_all_tensors(folder: Path) -> None:
    data = opened(folder)
    loaders = (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
    # Test samples are the input of a predictor, which is not rounded to whole levels.
    for loader, dtype in zip(loaders, (torch.uint8, torch.uint8, torch.float32), strict=True):
        for batch in loader:
            count = len(batch["image"])
            assert batch["image"].shape == (count, 3, 64, 64) and batch["image"].dtype == dtype
            assert batch["keypoints"].shape == (count, 4, 2) and batch["keypoints"].dtype == torch.float32
            assert batch["visibility"].shape == (count, 4)
            assert batch["matrix"].shape == (count, 3, 3) and batch["scale"].shape == (count,)
            assert all(torch.isfinite(value).all() for value in batch.values() if torch.is_tensor(value))


def test_no_unlabeled_point_reaches_a_batch_as_nan_and_none_is_lost(folder: Path) -> None:
    data = opened(folder)
    loaders = {split: data._loader(split, shuffled=False) for split in SPLITS}
    seen = sum(int((batch["visibility"] > 0).sum()) for loader in loaders.values() for batch in loader)
    assert seen == 12 * 4 - 2 - 1 - 4


def test_a_split_file_is_followed(folder: Path, tmp_path: Path) -> None:
    labels = opened(folder).labels
    file_rows = {"train": range(2, 12), "val": [], "test": [0, 1]}
    write_splits(tmp_path / "splits.csv", labels.images, file_rows)
    data = opened(folder, splits=tmp_path / "splits.csv")
    images = images_of(data.labels, data.splits)
    assert images["test"] == [labels.images[row] for row in file_rows["test"]] and images["val"]
    assert {*images["train"], *images["val"]} == {labels.images[row] for row in file_rows["train"]}


def test_splits_are_views_of_all_labels(folder: Path) -> None:
    data = opened(folder, mode="instance", limit=4)
    for split, source in data.sources.items():
        assert np.shares_memory(source.labels.keypoints, data.loaded.labels.keypoints), split
        assert np.shares_memory(source.boxes, data.loaded.boxes) and np.shares_memory(source.sizes, data.loaded.sizes)
        assert [*source.labels.images] == images_of(data.labels, data.splits)[split]
    whole = load_labels(data.source, group=data.split.group).labels
    assert sorted(data.labels.places) == sorted(whole.places)
    in_file = sorted(range(len(whole)), key=lambda row: whole.places.index(data.labels.places[row]))
    np.testing.assert_array_equal(data.labels.select(in_file).keypoints, whole.keypoints)


def test_a_run_that_goes_on_with_other_boxes_says_so(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def with_boxes(edge: int) -> LabeledData:
        rows = [f"{image},0,0,{edge},{edge}" for image in opened(folder).labels.images]
        (tmp_path / "boxes.csv").write_text("\n".join(["image,box_left,box_top,box_right,box_bottom", *rows]))
        return opened(folder, mode="instance", boxes=str(tmp_path / "boxes.csv"))

    state = with_boxes(300).state_dict()
    with_boxes(300).load_state_dict(state)
    assert "trained on so far" not in caplog.text
    with_boxes(310).load_state_dict(state)
    assert "the values of the boxes are not those that the run was trained on so far" in caplog.text


def test_another_split_is_refused(folder: Path) -> None:
    state = opened(folder).state_dict()
    opened(folder).load_state_dict(state)
    listed = unpack_splits(state["splits"]) | {"earlier": ["a.png"]}  # as older checkpoints have them
    (resumed := opened(folder)).load_state_dict(state | {"splits": listed})
    assert unpack_splits(resumed.state_dict()["splits"])["earlier"] == ["a.png"]
    tested = opened(folder).sources["test"].labels.images
    others = (opened(folder, seed=seed) for seed in range(1, 9))
    other = next(data for data in others if data.sources["test"].labels.images != tested)
    with pytest.raises(ValueError, match=r"another split: \d+ images differ in \w+, first video\d/img\d\d.png; set"):
        other.load_state_dict(state)


def test_pairs_are_inferred_or_explicit(folder: Path) -> None:
    assert opened(folder).skeleton.flip_pairs == (("left_ear", "right_ear"),)
    explicit = opened(folder, flip_pairs=[], edges=[["nose", "tail"]]).skeleton
    assert explicit.flip_pairs == () and explicit.edges == (("nose", "tail"),)
    with pytest.raises(ValueError, match=r"no keypoint is named 'tial'; did you mean 'tail'\?"):
        opened(folder, edges=[["nose", "tial"]])


def test_mean_position_is_that_of_the_training_labels(folder: Path) -> None:
    data = opened(folder)
    inputs = [data.dataset("train")[i] for i in range(len(data.splits["train"]))]
    seen = torch.stack([sample["visibility"] > 0 for sample in inputs])[..., None]
    points = torch.stack([sample["keypoints"] for sample in inputs])
    np.testing.assert_allclose(data.mean_position(), (points * seen).sum(0) / seen.sum(0), rtol=1e-5)


def test_the_mean_position_of_an_unlabeled_keypoint_is_the_middle(tmp_path: Path) -> None:
    write_labels(tmp_path, missing=[(i, 2) for i in range(12)])
    mean = opened(tmp_path).mean_position()
    assert mean[2].tolist() == [31.5, 31.5] and np.isfinite(mean).all()


def test_training_drops_a_short_last_batch_and_testing_does_not(folder: Path) -> None:
    data = opened(folder, batch_size=4)
    train, test = len(data.splits["train"]), len(data.splits["test"])
    assert [len(batch["index"]) for batch in data.train_dataloader()] == [4] * (train // 4)
    assert sum(len(batch["index"]) for batch in data.test_dataloader()) == test
    assert len(list(opened(folder, batch_size=64).train_dataloader())) == 1  # rather a small batch than none


def test_only_training_samples_are_augmented(folder: Path) -> None:
    data = opened(folder, augment=Augment(rotate=90))
    turned = {split: bool(data.dataset(split)[0]["matrix"][0, 1].abs() > 1e-3) for split in SPLITS}
    assert turned == {"train": True, "val": False, "test": False}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keypoints": ["nsoe"]}, r"data.keypoints: no keypoint is named 'nsoe'; did you mean 'nose'\?"),
        ({"size": 0}, r"data.size \[0, 0\] must be positive"),
        ({"batch_size": 0}, r"data.batch_size=0: give a whole number from 1 on"),
        ({"val": -0.1}, r"split fractions val=-0.1 and test=0.2 must be 0 or more"),
        ({"format": "dlc_cvs"}, r"data.format='dlc_cvs': did you mean 'dlc_csv'\?"),
        ({"splits": "nowhere.csv"}, r"split file nowhere.csv does not exist"),
        ({"fold": 1}, r"give fold and folds together"),
        ({"unlabeled": "absence"}, r"data.unlabeled='absence': did you mean 'absent'\?"),
    ],
)
def test_invalid_settings_are_refused(folder: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        opened(folder, **changes)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize(("cache", "workers"), [("ram", 0), ("none", 2), ("disk", 2)])
def test_caches_and_workers_change_no_byte(folder: Path, cache: str, workers: int) -> None:
    augment = Augment(flip=0.5, rotate=30, brightness=0.3, noise=0.05, blur=1.0, dropout=0.2)
    plain, other = opened(folder, augment=augment), opened(folder, augment=augment, cache=cache, num_workers=workers)
    for epoch in (0, 3):
        loaders = [data.train_dataloader() for data in (plain, other)]
        for loader in loaders:
            loader.sampler.set_epoch(epoch)
        assert all(same(a, b) for a, b in zip(*loaders, strict=True))


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_a_cache_does_not_read_images_again(tmp_path: Path, cache: str) -> None:
    write_labels(tmp_path)
    data = opened(tmp_path, cache=cache)
    for image in tmp_path.glob("*/*.png"):
        image.unlink()
    assert len(list(data.test_dataloader())) == 1


def damaged(folder: Path) -> list[str]:
    """Labels of 12 images of which one ends early, one is gone, and one has a word for a number."""
    write_labels(folder)
    cut = folder / "video1" / "img05.png"
    cut.write_bytes(cut.read_bytes()[:-200])
    (folder / "video2" / "img02.png").unlink()
    lines = (folder / "labels.csv").read_text().splitlines()
    cells = lines[3].split(",")
    lines[3] = ",".join([cells[0], "left", *cells[2:]])
    (folder / "labels.csv").write_text("\n".join(lines))
    return ["video0/img00.png", "video2/img02.png", "video1/img05.png"]


def test_damage_is_an_error_with_file_and_line_or_is_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = damaged(tmp_path)
    with pytest.raises(ValueError, match=r"labels.csv line 4: .*'left'.*data.on_error=skip"):
        opened(tmp_path)
    data = opened(tmp_path, on_error="skip")
    assert len(data.labels) == 9 and not {*bad} & {*data.labels.images}
    assert len(data.loaded.errors.skipped) == 3
    assert all(f"line {line}: " in caplog.text for line in (4, 6, 9))
    assert sum(len(batch["index"]) for split in SPLITS for batch in data._loader(split, shuffled=False)) == 9


def test_pixels_that_cannot_be_decoded_are_found_before_training(tmp_path: Path) -> None:
    write_labels(tmp_path)
    spoil(tmp_path / "video1" / "img05.png")
    with pytest.raises(ValueError, match=r"labels.csv line 9: image .*img05.png .*copy"):
        opened(tmp_path)
    assert len(opened(tmp_path, verify=False).labels) == 12  # an error only when it is drawn


def test_images_on_both_sides_of_a_split_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from pytorch_lightning import Trainer

    write_labels(tmp_path)
    (tmp_path / "video3" / "img07.png").write_bytes((tmp_path / "video1" / "img01.png").read_bytes())
    images = load_labels(opened(tmp_path).source).labels.images
    rows = {"train": range(5), "val": [5, 6], "test": range(7, 12)}
    write_splits(tmp_path / "splits.csv", images, rows)
    data = opened(tmp_path, splits=tmp_path / "splits.csv")
    data.trainer = Trainer(accelerator="cpu", logger=False, default_root_dir=tmp_path / "run")
    data.loaded.errors.skipped.append("line 3: something")
    data.train_dataloader()
    assert (tmp_path / "run" / "skipped.txt").read_text() == "line 3: something\n"
    assert "1 test image is in train too" in caplog.text
    assert "video3/img07.png (test) is identical to video1/img01.png (train)" in caplog.text
    assert (tmp_path / "run" / "splits.csv").read_text().count("\n") == 13


def test_unlabeled_may_mean_absent(folder: Path) -> None:
    plain, absent = opened(folder), opened(folder, unlabeled="absent")
    assert not plain.has_hidden_points and absent.has_hidden_points
    np.testing.assert_array_equal(absent.labels.visibility == -1, plain.labels.visibility == 0)


def test_one_state_of_all_points_is_nothing_to_learn(tmp_path: Path) -> None:
    rows = [f"{i}.png,4,5,1,6,7,1" for i in range(9)]  # as tools write that state labeled points by 1 alone
    path = written(tmp_path, "\n".join(["image,a_x,a_y,a_visibility,b_x,b_y,b_visibility", *rows]))
    images(tmp_path, read_labels(path))
    assert not labeled_data(path).has_hidden_points
    written(tmp_path, path.read_text().replace("4,5,1", "4,5,2"))
    assert labeled_data(path).has_hidden_points


def test_persons_of_coco_return_to_original_pixels(data_root: Path) -> None:
    folder = data_root / "keypoints" / "coco-sample"
    data = labeled_data(folder / "test_coco.json", size=(96, 72), mode="instance", val=0.25, test=0.25)
    assert len(data.labels) == 14 and data.has_hidden_points
    for split, rows in data.splits.items():
        dataset = data.dataset(split)
        for sample, row in zip((dataset[i] for i in range(len(rows))), rows, strict=True):
            known = (sample["visibility"] > 0).numpy()
            back = transform_points(sample["keypoints"][None], sample["matrix"][None])[0].numpy()
            np.testing.assert_allclose(back[known], data.labels.keypoints[row][known], atol=2e-3)
            inside = sample["keypoints"][known].numpy()
            assert (inside > -0.5).all() and (inside < [71.5, 95.5]).all()  # padding shows all of a person
            left, top, right, bottom = data.labels.boxes[row]
            assert float(sample["scale"]) == pytest.approx(np.hypot(right - left, bottom - top), rel=1e-6)


def test_the_split_that_the_labels_state_is_used(data_root: Path) -> None:
    folder = data_root / "keypoints" / "glue-tubes"
    data = labeled_data(folder, mode="instance", verify=False)
    tested = {data.labels.images[row].split("/")[0] for row in data.splits["test"]}
    trained = {data.labels.images[row].split("/")[0] for split in ("train", "val") for row in data.splits[split]}
    assert (tested, trained) == ({"test"}, {"train"}) and len(data.labels) == 226
    assert len(labeled_data(folder, mode="instance", verify=False, group="none").splits["test"]) < 30


def test_a_large_test_split_gives_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_labels(tmp_path, missing=[(i, 2) for i in range(12)])
    for path in sorted(tmp_path.glob("video[23]/*.png")):
        target = tmp_path / f"video{int(path.parent.name[-1]) - 2}" / path.name
        path.rename(target)
    text = (tmp_path / "labels.csv").read_text().replace("video2", "video0").replace("video3", "video1")
    (tmp_path / "labels.csv").write_text(text)
    data = opened(tmp_path, val=0.1, test=0.1)
    assert len({data.labels.groups[row] for row in data.splits["test"]}) == 1
    assert "takes 50 % of the images where data.test=0.1 asks for 10 %" in caplog.text
    assert "no training image labels right_ear: it cannot be learned" in caplog.text


def test_several_devices_share_one_cache_on_disk(folder: Path, tmp_path: Path) -> None:
    data = new_labeled_data(folder / "labels.csv", val=0.2, test=0.2, cache="ram", cache_dir=tmp_path)
    data.trainer = SimpleNamespace(world_size=2, global_rank=1, is_global_zero=False, lightning_module=None)
    data.prepare_data()
    assert len(list(tmp_path.glob("*.pixels"))) == 1
    data.setup("fit")
    assert sum(len(source) for source in data.sources.values()) == 12
