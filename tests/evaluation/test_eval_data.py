"""Evaluated data: the split of a run, other labels, and nothing that a stranger's checkpoint may request."""

from __future__ import annotations

import logging
import os
import signal
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers.training import NAMES, write_labels
from softpoint.data.watched_loader import WatchedLoader
from softpoint.evaluation.eval_data import held_out_of_all, open_set, split_groups
from softpoint.evaluation.eval_sets import common_keypoints
from softpoint.evaluation.predict import evaluation_predictor, predict
from softpoint.inference import Checkpoint, load_predictor
from softpoint.labels.formats import read_labels
from softpoint.labels.skeleton import Skeleton
from softpoint.models import KeypointNet


class Fixed(KeypointNet):
    """Predicts the same input pixels for every image."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    def forward(self, image: torch.Tensor, return_attention: bool = False) -> dict[str, torch.Tensor]:
        points = torch.tensor([[3.0, 4.0], [10.5, 20.25], [31.0, 0.0], [63.0, 63.0]])
        count = len(image)
        return {
            "keypoints": points.expand(count, 4, 2),
            "confidence": torch.full((count, 4), 0.5),
            "covariance": torch.eye(2).expand(count, 4, 2, 2),
        }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve labeled images; the nose of the first is not labeled."""
    path = tmp_path_factory.mktemp("labeled")
    write_labels(path, missing=[(0, 0)])
    return path


@pytest.fixture
def checkpoint(folder: Path) -> Checkpoint:
    images = [subject.image for subject in read_labels(folder / "labels.csv").subjects]
    data = {
        "_target_": "softpoint.data.LabeledData",
        "labels": str(folder / "labels.csv"),
        "images": str(folder),
        "size": 64,
        "batch_size": 4,
        "num_workers": 0,
        "seed": 0,
        "augment": {"_target_": "softpoint.data.augment.Augment"},
        "limit": 3,
    }
    splits = {"train": images[:6], "val": images[6:9], "test": images[9:]}
    return Checkpoint(Fixed(), Skeleton(NAMES), (64, 64), None, {"data": data}, Path("a.ckpt"), splits)


def test_the_split_of_the_run_is_evaluated(checkpoint: Checkpoint):
    for split, images in checkpoint.splits.items():
        assert open_set(checkpoint, split).images == images
    assert len(open_set(checkpoint, "all")) == 12
    with pytest.raises(ValueError, match=r"a\.ckpt has no test image: it was trained without that split; name labels"):
        open_set(replace(checkpoint, splits={**checkpoint.splits, "test": []}))


def test_predictions_are_in_original_pixels(checkpoint: Checkpoint, folder: Path):
    eval_set = open_set(checkpoint, "all")
    results = predict(load_predictor(checkpoint), eval_set, batch_size=5)
    labels = read_labels(folder / "labels.csv")
    assert np.array_equal(results.truth, labels.keypoints, equal_nan=True)
    assert np.array_equal(results.visibility, labels.visibility) and results.visibility[0, 0] == 0
    for i, (height, width) in enumerate(results.size):
        scale = max(height, width) / 64
        shown = np.array([[3.0, 4.0], [10.5, 20.25], [31.0, 0.0], [63.0, 63.0]])
        # Letterboxed: the middle of the image is that of the input, but for the rounding of its margin.
        middle = np.array([width - 1, height - 1]) / 2
        off = results.keypoints[i] - (shown - 31.5) * scale - middle
        assert np.ptp(off, axis=0).max() < 1e-4 and np.abs(off).max() <= 0.5 * scale
        np.testing.assert_allclose(results.covariance[i], np.eye(2)[None] * [scale**2] * np.ones((4, 1, 1)), rtol=1e-5)
    assert results.groups == list(labels.groups) and results.boxes is None


def test_a_stopped_process_ends_an_evaluation_with_its_own_key(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch):
    eval_set = open_set(checkpoint, "test")
    monkeypatch.setattr(eval_set.source, "load", lambda epoch, index: os.kill(os.getpid(), signal.SIGSTOP))
    monkeypatch.setattr(WatchedLoader, "wait", 0.8)
    with pytest.raises(ValueError, match=r"was stopped by a signal; load without processes by num_workers=0$"):
        predict(load_predictor(checkpoint), eval_set, num_workers=1)


def test_crops_are_those_of_training(checkpoint: Checkpoint, folder: Path):
    shown = replace(checkpoint, crops={"padding": 1.5, "boxes": "keypoints"})
    words = {"_target_": "softpoint.data.LabeledData", "labels": str(folder / "labels.csv"), "images": str(folder)}
    eval_set = open_set(shown, "all", {**words, "size": 99, "mode": "image", "padding": 7.0})
    assert eval_set.padding == 1.5 and np.isfinite(eval_set.source.boxes).all()
    kept = open_set(shown, "all", {**words, "mode": "image"}, fixed=["mode"])
    assert kept.source.boxes is None


def test_labels_and_images_may_have_moved(checkpoint: Checkpoint, folder: Path, tmp_path: Path):
    (tmp_path / "elsewhere").symlink_to(folder)
    moved = tmp_path / "elsewhere"
    eval_set = open_set(checkpoint, "test", {"labels": str(moved / "labels.csv"), "images": str(moved)})
    assert eval_set.images == checkpoint.splits["test"] and eval_set.source.labels.source == str(moved / "labels.csv")
    with pytest.raises(FileNotFoundError):
        open_set(checkpoint, "test", {"labels": str(tmp_path / "gone.csv")})


def test_a_split_may_be_drawn_again(checkpoint: Checkpoint, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        eval_set = open_set(checkpoint, "test", {"fold": 0, "folds": 3})
    assert 0 < len(eval_set) < 12
    seen = set(eval_set.images) & set(checkpoint.splits["train"])
    assert f"{len(seen)} of {len(eval_set)} images have the names of images that a.ckpt was trained on" in caplog.text


def test_trained_images_are_counted_once_whatever_they_show(
    checkpoint: Checkpoint, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    first, *_, last = (image for images in checkpoint.splits.values() for image in images)
    points = ",".join(["9"] * 7)
    header = "image," + ",".join(f"{name}_{axis}" for name in NAMES for axis in "xy")
    rows = [f"{first},1,{points}", f"{first},2,{points}", f"{last},1,{points}"]
    (tmp_path / "labels.csv").write_text("\n".join([header, *rows]))
    crops = replace(checkpoint, crops={"padding": 1.25, "boxes": "keypoints"})
    open_set(crops, "all", {"labels": str(tmp_path / "labels.csv"), "images": str(folder), "mode": "instance"})
    assert "1 of 2 images have the names of images that a.ckpt was trained on" in caplog.text


def test_an_image_that_lost_its_labels_is_named(checkpoint: Checkpoint):
    lost = replace(checkpoint, splits={**checkpoint.splits, "test": ["video9/gone.png"]})
    with pytest.raises(ValueError, match=r"lacks 1 of the 1 images of the stored split, first video9/gone.png"):
        open_set(lost, "test")


def test_keypoints_are_matched_by_name(checkpoint: Checkpoint):
    eval_set = open_set(checkpoint, "all", {"keypoints": ["tail", "nose"]})
    with pytest.raises(ValueError, match=r"lack 2 of the model's 4 keypoints, first 'left_ear'.*missing=skip"):
        predict(load_predictor(checkpoint), eval_set)
    part = predict(load_predictor(checkpoint), eval_set, missing="skip")
    whole = predict(load_predictor(checkpoint), open_set(checkpoint, "all"))
    assert part.skeleton.names == ("nose", "tail")
    assert np.array_equal(part.errors, whole.errors[:, [0, 3]], equal_nan=True)
    with pytest.raises(ValueError, match="no keypoint in common"):
        common_keypoints(["wing"], NAMES, "skip")
    with pytest.raises(ValueError, match="missing='skp': did you mean 'skip'"):
        common_keypoints(["nose"], NAMES, "skp")


@pytest.mark.parametrize(
    "target", ["os.system", "softpoint.data.Skeleton", "softpoint.labels.schema.Labels", "softpoint.data.nothing", None]
)
def test_a_checkpoint_opens_data_of_softpoint_alone(checkpoint: Checkpoint, target: Any):
    config = {"data": {**checkpoint.config["data"], "_target_": target}}
    with pytest.raises(ValueError, match=r"only classes of softpoint.data are built"):
        open_set(replace(checkpoint, config=config))


def test_a_checkpoint_paints_scenes_of_softpoint_alone(checkpoint: Checkpoint):
    data = {"_target_": "softpoint.data.SyntheticData", "size": 64, "train": 2, "val": 2, "test": 3}
    data |= {"batch_size": 1, "num_workers": 0, "seed": 0}
    painter = {"_target_": "softpoint.data.synthetic.Shapes", "difficulty": 0.3}
    painted = replace(checkpoint, config={"data": {**data, "painter": painter}}, splits=None)
    assert open_set(painted).images == ["test/0", "test/1", "test/2"]
    with pytest.raises(ValueError, match="split='all' of this data"):
        open_set(painted, "all")
    for target in ("subprocess.Popen", "softpoint.data.synthetic.canvas", "softpoint.data.synthetic.nothing"):
        wrong = {"data": {**data, "painter": {**painter, "_target_": target}}}
        with pytest.raises(ValueError, match=r"only scenes of softpoint\.data\.synthetic are built"):
            open_set(replace(painted, config=wrong))


def test_a_checkpoint_reaches_no_other_machine(checkpoint: Checkpoint):
    for folder in ("s3://bucket/set", "local:/etc"):
        config = {"data": {"_target_": "softpoint.data.StreamedData", "folder": folder, "size": 64}}
        with pytest.raises(ValueError, match="is not opened for a checkpoint's sake"):
            open_set(replace(checkpoint, config=config))


@pytest.mark.parametrize("key", ["labels", "images", "splits"])
@pytest.mark.parametrize("path", [5, ["a"], "//server/share", "\\\\server\\share"])
def test_a_checkpoint_names_only_paths_of_this_machine(checkpoint: Checkpoint, key: str, path: Any):
    path = ["a", "//server/share"] if path == ["a"] and key != "splits" else path  # of which a list is one of sets
    config = {"data": {**checkpoint.config["data"], key: path}}
    with pytest.raises(ValueError, match=rf"its data\.{key} is no path on this machine"):
        open_set(replace(checkpoint, config=config))


@pytest.mark.parametrize("key", ["labels", "splits"])
@pytest.mark.parametrize("format", [None, "csv_wide"])
def test_content_of_a_file_that_a_checkpoint_alone_names_is_in_no_message(
    checkpoint: Checkpoint, tmp_path: Path, key: str, format: str | None
):
    (tmp_path / "private.txt").write_text("user,password\nme,hunter2\n")
    data = {**checkpoint.config["data"], key: str(tmp_path / "private.txt"), "format": format}
    stranger = replace(checkpoint, config={"data": data}, splits=checkpoint.splits if key == "labels" else None)
    with pytest.raises(ValueError, match=rf"private\.txt|set data\.{key}=") as caught:
        open_set(stranger)
    text = "".join(traceback.format_exception(caught.value))
    assert "user" not in text.replace(str(tmp_path), "") and "hunter2" not in text


def test_a_split_file_of_the_run_is_not_needed_to_split_anew(checkpoint: Checkpoint):
    data = {**checkpoint.config["data"], "splits": "/gone/splits.csv"}
    assert len(open_set(replace(checkpoint, config={"data": data}), "test", {"fold": 0, "folds": 3})) > 0


def test_a_checkpoint_paints_within_bounds(checkpoint: Checkpoint):
    painter = {"_target_": "softpoint.data.synthetic.Shapes", "difficulty": 0.3}
    data = {"_target_": "softpoint.data.SyntheticData", "size": 60_000, "train": 2, "val": 2, "test": 3, "seed": 0}
    data |= {"painter": painter}
    painted = replace(checkpoint, config={"data": data}, splits=None)
    assert open_set(painted).source.load(0, 0).image.shape == (*checkpoint.size, 3)  # not that of the config
    for count in (20_000_000, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"its data\.test=.* is more than 100000; set data.test=NUMBER yourself"):
            open_set(replace(painted, config={"data": {**data, "test": count}}))
    wrong = {"data": {**data, "painter": {**painter, "difficulty": 10**9}}}
    with pytest.raises(ValueError, match="difficulty=1000000000 is more than 65536"):
        open_set(replace(painted, config=wrong))


def test_a_checkpoint_without_data_is_refused(checkpoint: Checkpoint):
    with pytest.raises(ValueError, match="does not state the data that it was trained on; name labels by data=custom"):
        open_set(replace(checkpoint, config={}))


def test_two_checkpoints_meet_on_what_neither_has_seen(checkpoint: Checkpoint):
    images = [image for part in checkpoint.splits.values() for image in part]
    other = replace(checkpoint, splits={"train": images[:3] + images[9:11], "val": images[3:6], "test": images[6:9]})
    assert held_out_of_all([checkpoint, other], "test") == {images[11]}
    assert held_out_of_all([checkpoint, other], "all") is None
    with pytest.raises(ValueError, match="compare them on images that are new to all of them"):
        held_out_of_all([checkpoint, replace(other, splits={"train": images, "test": [], "val": []})], "test")


def test_flips_take_pairs_from_the_labels(checkpoint: Checkpoint):
    eval_set = open_set(checkpoint, "all", {"flip_pairs": []})
    with pytest.raises(ValueError, match="would confuse left_ear, right_ear"):
        evaluation_predictor(checkpoint, eval_set, tta="flip")
    with pytest.raises(ValueError, match="tta='mirror' is unknown"):
        evaluation_predictor(checkpoint, eval_set, tta="mirror")


def test_boxes_that_a_checkpoint_names_are_opened_only_where_they_are_boxes(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    (secret := tmp_path / "secret.csv").write_text("image,box_left\npassword,abc\n")
    for boxes in (str(secret), "//host/share.csv", 7):
        config = {**checkpoint.config, "data": {**checkpoint.config["data"], "mode": "instance", "boxes": boxes}}
        with pytest.raises(ValueError, match=r"its data.boxes is no file of boxes; set data.boxes=FILE yourself$"):
            open_set(replace(checkpoint, config=config), "test")


def test_the_groups_of_the_stored_splits_are_those_of_their_labels(checkpoint: Checkpoint) -> None:
    images = [f"video{i % 4}/img{i:02}.png" for i in range(12)]
    splits = {"train": images[:4], "val": [images[5]], "test": ["moved.png"]}
    kept = replace(checkpoint, splits=splits)
    assert split_groups(kept, {}) == {"train": ["video0", "video1", "video2", "video3"], "val": ["video1"], "test": []}
    assert split_groups(kept, {"group": "none"}) == split_groups(replace(checkpoint, splits=None), {}) == {}
    assert open_set(kept, "val").has_groups  # though one image is of one
