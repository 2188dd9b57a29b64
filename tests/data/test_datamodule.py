"""Every data module, by the example of the synthetic one, and how the configs compose data modules."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from helpers.data import new_labeled_data
from helpers.training import composed, labeled, tiny, write_labels
from softpoint.data import LabeledData, Loader, SyntheticData
from softpoint.data.crops import fitting_size
from softpoint.data.loaders import EpochSampler
from softpoint.data.synthetic import Figure, Shapes
from softpoint.labels.source import LabelSource
from softpoint.labels.split import SPLITS, Split


@pytest.mark.parametrize("painter", [Shapes, Figure])
def test_synthetic_splits_never_share_a_scene(painter: Any) -> None:
    data = SyntheticData(painter(difficulty=0.2), 64, train=4, val=4, test=4, loader=Loader(2, 0), seed=0)
    data.setup("fit")
    images = {data.sources[split].load(0, i).image.tobytes() for split in SPLITS for i in range(4)}
    assert len(images) == 12
    assert data.mean_position().shape == (len(data.skeleton), 2)
    assert ((data.mean_position() > 12) & (data.mean_position() < 51)).all()


def test_workers_leave_one_core_to_training(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, workers in ((1, 1), (2, 1), (4, 3), (64, 8)):
        monkeypatch.setattr("os.sched_getaffinity", lambda process, cores=cores: set(range(cores)))
        assert Loader(1).workers == workers


def test_a_constructor_reads_no_file() -> None:
    data = new_labeled_data(Path("nowhere.csv"), splits=Path("nowhere_either.csv"), cache="disk", device_cache=True)
    assert not data.sources
    with pytest.raises(FileNotFoundError, match=r"nowhere.csv do not exist"):
        data.prepare_data()


def test_preparing_and_setting_up_again_changes_nothing(tmp_path: Path) -> None:
    write_labels(tmp_path)
    data = new_labeled_data(tmp_path / "labels.csv", val=0.2, test=0.2)
    data.prepare_data()
    data.setup("fit")
    sources, splits = data.sources, data.splits
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    assert data.sources is sources and data.splits is splits


@pytest.mark.parametrize(("group", "kind"), [("source", LabelSource), ("split", Split), ("loader", Loader)])
def test_the_config_of_labels_mirrors_the_groups_of_settings(group: str, kind: type, tmp_path: Path) -> None:
    cfg = composed("train", labeled(write_labels(tmp_path / "data")), tmp_path / "run")
    node = OmegaConf.to_container(cfg.datamodule[group], resolve=False)
    keys = {key: value for key, value in node.items() if key != "_target_"}
    assert set(keys) == {field.name for field in fields(kind)}
    assert all(value == f"${{data.{key}}}" for key, value in keys.items())


def test_the_config_of_labels_shows_the_defaults_of_the_signatures(tmp_path: Path) -> None:
    words = ["data=custom", "data.labels=FILE"]
    cfg = composed("train", words, tmp_path / "run")
    defaults = {
        name: parameter.default
        for kind in (LabelSource, Split, Loader, LabeledData)
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    decided_by_the_config = {"augment", "split_seed", "composite"}
    for name in set(defaults) - decided_by_the_config:
        assert cfg.data[name] == defaults[name], name


def test_every_group_of_a_config_is_built(tmp_path: Path) -> None:
    words = labeled(write_labels(tmp_path / "data"), "data.on_error=skip", "data.folds=3", "data.fold=1")
    data = instantiate(composed("train", words, tmp_path / "run").datamodule)
    assert isinstance(data, LabeledData) and data.source.on_error == "skip"
    assert (data.split.fold, data.split.folds, data.loader.batch_size) == (1, 3, 4)


def set_up(cfg: DictConfig) -> Any:
    data = instantiate(cfg.datamodule)
    data.prepare_data()
    data.setup("fit")
    return data


def test_an_epoch_of_three_rounds_is_three_epochs_of_one() -> None:
    one, three = EpochSampler(7, seed=3), EpochSampler(7, seed=3, rounds=3)
    assert len(three) == 21
    for epoch in range(2):
        three.set_epoch(epoch)
        draws = []
        for i in range(3):
            one.set_epoch(3 * epoch + i)
            draws += list(one)
        assert list(three) == draws and len({(draw.epoch, draw.index) for draw in draws}) == 21


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_all_rounds(world: int) -> None:
    shares = [list(EpochSampler(5, seed=0, rank=rank, world=world, rounds=4)) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    drawn = {(draw.epoch, draw.index) for share in shares for draw in share}
    assert drawn == {(epoch, index) for epoch in range(4) for index in range(5)}


def test_a_small_set_fills_an_epoch_with_rounds(tmp_path: Path) -> None:
    words = labeled(write_labels(tmp_path / "data"), "data.epoch_steps=6", "data.batch_size=4")
    data = set_up(composed("train", words, tmp_path / "run"))
    count = len(data.splits["train"])
    loader = data.train_dataloader()
    assert len(loader.sampler) % count == 0 and len(loader) >= 6 > (len(loader.sampler) - count) // 4
    assert len(data.val_dataloader().sampler) == len(data.splits["val"])


@pytest.mark.parametrize("train", [32, 64, 399, 400, 3200])
def test_default_epochs_are_1500_steps_and_ten_times_through(train: int, tmp_path: Path) -> None:
    data = set_up(composed("train", tiny(f"data.train={train}", "data.batch_size=8"), tmp_path))
    data.epoch_steps = 50
    epoch = len(data.train_dataloader().sampler) / 8
    wanted = 1500 + 10 * train / 8
    assert wanted <= data.default_epochs * epoch < wanted + epoch


def test_the_input_has_the_shape_of_the_images(tmp_path: Path) -> None:
    words = labeled(write_labels(tmp_path / "data"), "data.size=null", "data.pixels=2048")
    data = set_up(composed("train", words, tmp_path / "run"))
    assert data.size == fitting_size(data.loaded.sizes, 2048)
    crops = set_up(composed("train", [*words, "data.mode=instance"], tmp_path / "run"))
    boxes = crops.loaded.boxes
    assert crops.size == fitting_size((boxes[:, 2:] - boxes[:, :2])[:, ::-1] * 1.25, 2048)


@pytest.mark.parametrize("shape", [(480, 640), (640, 480), (1080, 1920), (400, 400)])
@pytest.mark.parametrize("pixels", [65536, 110592])
def test_sides_are_multiples_with_about_the_requested_pixels(shape: tuple[int, int], pixels: int) -> None:
    height, width = fitting_size(np.array([shape]), pixels)
    assert height % 32 == width % 32 == 0
    assert height * width == pytest.approx(pixels, rel=0.2)
    assert width / height == pytest.approx(shape[1] / shape[0], rel=0.12)


def test_too_few_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"data.pixels=100 is less than 32 x 32"):
        fitting_size(np.array([[480, 640]]), 100)
