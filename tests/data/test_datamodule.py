"""Every data module, by the example of the synthetic one, and how the configs compose data modules."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from helpers.data import new_labeled_data
from helpers.training import composed, labeled, write_labels
from softpoint.data import LabeledData, Loader, SyntheticData
from softpoint.data.synthetic import Figure, Shapes
from softpoint.labels.load import LabelSource
from softpoint.labels.split import Split
from softpoint.labels.split_file import SPLITS


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
    decided_by_the_config = {"augment", "split_seed"}
    for name in set(defaults) - decided_by_the_config:
        assert cfg.data[name] == defaults[name], name


def test_every_group_of_a_config_is_built(tmp_path: Path) -> None:
    words = labeled(write_labels(tmp_path / "data"), "data.on_error=skip", "data.folds=3", "data.fold=1")
    data = instantiate(composed("train", words, tmp_path / "run").datamodule)
    assert isinstance(data, LabeledData) and data.source.on_error == "skip"
    assert (data.split.fold, data.split.folds, data.loader.batch_size) == (1, 3, 4)
