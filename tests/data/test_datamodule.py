"""The data module gives each split what belongs to it, from labels as people have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from runs import write_labels
from softpoint.data import LabelledData, SyntheticData
from softpoint.data.splits import SPLITS, write_splits
from softpoint.data.synthetic import Figure, Shapes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    write_labels(folder, missing=[(0, 1), (0, 2), (5, 3), *((7, k) for k in range(4))])
    return folder


def opened(folder: Path, **changes: Any) -> LabelledData:
    usual: dict[str, Any] = {"size": 64, "batch_size": 4, "num_workers": 0, "seed": 0, "val": 0.2, "test": 0.2}
    return LabelledData(folder / "labels.csv", folder, **usual | changes)


def drawn(loader: DataLoader) -> list[dict[str, Any]]:
    return list(loader)


def test_batches_hold_what_travels(folder: Path) -> None:
    data = opened(folder)
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        for batch in drawn(loader):
            count = len(batch["image"])
            assert batch["image"].shape == (count, 3, 64, 64) and batch["image"].dtype == torch.uint8
            assert batch["keypoints"].shape == (count, 4, 2) and batch["keypoints"].dtype == torch.float32
            assert batch["visibility"].shape == (count, 4)
            assert batch["matrix"].shape == (count, 3, 3) and batch["scale"].shape == (count,)
            assert all(torch.isfinite(value).all() for value in batch.values() if torch.is_tensor(value))


def test_no_unlabelled_point_reaches_a_batch_as_nan_and_none_is_lost(folder: Path) -> None:
    data = opened(folder)
    loaders = {split: data._loader(split, shuffled=False) for split in SPLITS}
    seen = sum(int((batch["visibility"] > 0).sum()) for loader in loaders.values() for batch in loader)
    assert seen == 12 * 4 - 2 - 1 - 4


def test_splits_are_disjoint_by_folder_and_follow_the_seed(folder: Path) -> None:
    splits = opened(folder).splits
    groups = [{opened(folder).labels.groups[i] for i in rows} for rows in splits.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 4
    again, other = opened(folder).splits, [opened(folder, seed=seed).splits["test"].tolist() for seed in range(5)]
    assert all(np.array_equal(splits[name], again[name]) for name in SPLITS)
    assert len({tuple(rows) for rows in other}) > 1


def test_split_file_decides(folder: Path, tmp_path: Path) -> None:
    labels = opened(folder).labels
    rows = {"train": range(2, 12), "val": [], "test": [0, 1]}
    write_splits(tmp_path / "splits.csv", labels.images, rows)
    data = opened(folder, splits=tmp_path / "splits.csv")
    assert data.splits["test"].tolist() == [0, 1]
    carved = sorted([*data.splits["train"], *data.splits["val"]])
    assert carved == list(range(2, 12)) and len(data.splits["val"])


def test_another_split_is_refused(folder: Path) -> None:
    state = opened(folder).state_dict()
    opened(folder).load_state_dict(state)
    other = next(data for seed in range(1, 9) if (data := opened(folder, seed=seed)).state_dict() != state)
    with pytest.raises(ValueError, match=r"another split: \d+ images differ in \w+, first video\d/img\d\d.png; set"):
        other.load_state_dict(state)


def test_selected_keypoints_keep_their_points(folder: Path) -> None:
    whole, some = opened(folder), opened(folder, keypoints=["tail", "left_ear"])
    assert some.skeleton.names == ("tail", "left_ear") and some.skeleton.flip_pairs == ()
    a, b = whole.dataset("train")[3], some.dataset("train")[3]
    assert torch.equal(a["keypoints"][[3, 1]], b["keypoints"])
    assert torch.equal(a["visibility"][[3, 1]], b["visibility"])


def test_pairs_are_inferred_or_given(folder: Path) -> None:
    assert opened(folder).skeleton.flip_pairs == (("left_ear", "right_ear"),)
    given = opened(folder, flip_pairs=[], edges=[["nose", "tail"]]).skeleton
    assert given.flip_pairs == () and given.edges == (("nose", "tail"),)
    with pytest.raises(ValueError, match=r"no keypoint is named 'tial'; did you mean 'tail'\?"):
        opened(folder, edges=[["nose", "tial"]])


def test_mean_position_is_that_of_the_training_labels(folder: Path) -> None:
    data = opened(folder)
    train = data.splits["train"]
    fractions = (data.labels.keypoints[train] + 0.5) / data.image_sizes[train][:, None, ::-1]
    np.testing.assert_allclose(data.mean_position(), np.nanmean(fractions, axis=0))


def test_mean_position_of_what_was_never_labelled_is_the_middle(tmp_path: Path) -> None:
    write_labels(tmp_path, missing=[(i, 2) for i in range(12)])
    mean = opened(tmp_path).mean_position()
    assert mean[2].tolist() == [0.5, 0.5] and np.isfinite(mean).all()


@pytest.mark.parametrize("painter", [Shapes, Figure])
def test_synthetic_splits_never_share_a_scene(painter: Any) -> None:
    data = SyntheticData(painter(difficulty=0.2), 64, train=4, val=4, test=4, batch_size=2, num_workers=0, seed=0)
    pictures = {data.sources[split].load(0, i).image.tobytes() for split in SPLITS for i in range(4)}
    assert len(pictures) == 12
    assert data.mean_position().shape == (len(data.skeleton), 2)
    assert ((data.mean_position() > 0.2) & (data.mean_position() < 0.8)).all()


def test_training_leaves_out_a_short_last_batch_and_measuring_does_not(folder: Path) -> None:
    data = opened(folder, batch_size=4)
    train, test = len(data.splits["train"]), len(data.splits["test"])
    assert [len(batch["index"]) for batch in data.train_dataloader()] == [4] * (train // 4)
    assert sum(len(batch["index"]) for batch in data.test_dataloader()) == test
    assert len(drawn(opened(folder, batch_size=64).train_dataloader())) == 1  # rather a small batch than none


def test_only_training_samples_are_augmented(folder: Path) -> None:
    from softpoint.data.augment import Augment

    data = opened(folder, augment=Augment(rotate=90))
    turned = {split: bool(data.dataset(split)[0]["matrix"][0, 1].abs() > 1e-3) for split in SPLITS}
    assert turned == {"train": True, "val": False, "test": False}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keypoints": ["nsoe"]}, r"data.keypoints: no keypoint is named 'nsoe'; did you mean 'nose'\?"),
        ({"size": 0}, r"data.size \[0, 0\] and data.batch_size 4 must be positive"),
        ({"batch_size": 0}, r"data.batch_size 0 must be positive"),
        ({"val": 0.0}, r"split fractions val=0.0 and test=0.2 must be above 0"),
        ({"format": "dlc_cvs"}, r"data.format='dlc_cvs': did you mean 'dlc_csv'\?"),
        ({"splits": "nowhere.csv"}, r"split file nowhere.csv does not exist"),
    ],
)
def test_mistakes_are_explained(folder: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        opened(folder, **changes)


def test_missing_pictures_are_named_with_their_line(folder: Path, tmp_path: Path) -> None:
    text = (folder / "labels.csv").read_text().replace("img03", "gone")
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(ValueError, match=r"1 of 12 images cannot be opened\n  line 7: image .*/gone.png does not"):
        LabelledData(tmp_path / "labels.csv", folder, 64, 4, 0, 0)


def test_nothing_labelled_is_refused(tmp_path: Path) -> None:
    write_labels(tmp_path, missing=[(i, k) for i in range(12) for k in range(4)])
    with pytest.raises(ValueError, match="none of its 12 images has a labelled point"):
        opened(tmp_path)
