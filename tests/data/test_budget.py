"""Default numbers of epochs and steps, and the default input size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import DictConfig

from helpers.training import composed, labeled, tiny, write_labels
from softpoint.data.crops import fitting_size
from softpoint.data.dataset import EpochSampler


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
        apart = []
        for i in range(3):
            one.set_epoch(3 * epoch + i)
            apart += list(one)
        assert list(three) == apart and len({(draw.epoch, draw.index) for draw in apart}) == 21


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
