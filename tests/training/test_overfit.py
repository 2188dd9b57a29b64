"""Every loss, and every head with its default loss, can overfit one batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.training import SMALL, built, composed
from softpoint.training import Target

pytestmark = pytest.mark.usefixtures("unchecked")

SCENES = (
    "backbone.width=16",
    "decoder.channels=16",
    "scene.difficulty=0",
    "data.train=2",
    "data.val=1",
    "data.test=1",
    "data.batch_size=2",
)


def overfit(overrides: list[str], folder: Path, steps: int, rate: float = 0.02) -> tuple[float, float]:
    """Mean error in input pixels before and after `steps` on the first training batch."""
    module, data, _ = built(composed("train", [*SMALL, *overrides], folder))
    batch: dict[str, Any] = next(iter(data.train_dataloader()))
    size, stride = tuple(batch["image"].shape[-2:]), module.net.decoder.stride
    target = Target.of(batch["keypoints"], batch["visibility"], size, stride)
    optimizer = torch.optim.Adam(module.net.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.01, steps)
    errors = []
    for _ in range(steps + 1):
        prediction = module.net(batch["image"])
        errors.append((prediction["keypoints"].detach() - batch["keypoints"]).norm(dim=-1)[target.mask].mean().item())
        optimizer.zero_grad()
        module.loss(prediction, target)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(module.net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return errors[0], errors[-1]


@pytest.mark.parametrize(
    ("loss", "steps"),
    [
        ("heatmap_ce", 80),
        ("heatmap_kl", 80),
        ("heatmap_js", 80),
        ("heatmap_mse", 100),
        ("[heatmap_ce,coordinate_l1]", 150),
    ],
)
def test_a_heatmap_loss_overfits_a_batch(loss: str, steps: int, tmp_path: Path) -> None:
    before, after = overfit([*SCENES, f"loss={loss}"], tmp_path, steps)
    assert before > 15 and after < 0.5


@pytest.mark.parametrize(
    ("loss", "steps"),
    [
        ("coordinate_l1", 150),
        ("coordinate_l2", 150),
        ("coordinate_huber", 100),
        ("coordinate_wing", 250),
        ("[coordinate_l2,variance]", 200),
        ("[coordinate_l2,heatmap_js]", 150),
    ],
)
def test_a_coordinate_loss_overfits_a_batch(loss: str, steps: int, tmp_path: Path) -> None:
    # None of these trains the map to have one peak, so the coordinate is read as the loss reads it: from the whole map.
    before, after = overfit([*SCENES, f"loss={loss}", "head.decode=expectation"], tmp_path, steps, rate=0.01)
    assert before > 15 and after < 0.5


@pytest.mark.parametrize(
    ("words", "steps", "error"),
    [
        ("head.learnable_temperature=true loss=heatmap_ce", 80, 0.5),
        ("head=simcc", 150, 0.5),
        ("head=channel_softmax", 100, 2.0),  # the center of a disc of cells is exact to half a cell
        ("head=regression", 150, 0.5),
    ],
)
def test_a_head_overfits_a_batch_with_its_default_loss(words: str, steps: int, error: float, tmp_path: Path) -> None:
    before, after = overfit([*SCENES, *words.split()], tmp_path, steps, rate=0.01)
    assert before > 10 and after < error


@pytest.mark.parametrize("name", ["dlc-openfield"])
def test_the_default_loss_overfits_real_images(name: str, tmp_path: Path, data_root: Path) -> None:
    labels, images = data_root / "keypoints" / "labels" / f"{name}.csv", data_root / "keypoints" / name
    if not labels.is_file():
        pytest.skip(f"no {labels}")
    real = [
        "data=custom",
        f"data.labels={labels}",
        f"data.images={images}",
        "backbone=small",
        "backbone.width=16",
        "augment=none",
    ]
    before, after = overfit([*real, "decoder.channels=16", "data.size=[96,128]", "data.batch_size=2"], tmp_path, 150)
    assert before > 10 and after < 0.5
