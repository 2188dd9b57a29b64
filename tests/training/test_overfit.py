"""Every loss, and every head with its default loss, can overfit one batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.training import SMALL, built, composed
from softpoint.training import Target

pytestmark = pytest.mark.usefixtures("unchecked")

SCENES = [
    "backbone.width=16", "backbone.stages=[2,3]", "decoder.channels=16", "scene.difficulty=0",
    "data.train=2", "data.val=1", "data.test=1", "data.batch_size=2",
]  # fmt: skip


def overfit(overrides: list[str], folder: Path, steps: int, rate: float, enough: float) -> tuple[float, float]:
    """Mean error in input pixels on the first training batch, before and after up to `steps`.

    It ends once five errors in a row are below `enough`, and returns the largest of the last five.
    """
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
        if max(errors[-5:]) < enough:
            break
    return errors[0], max(errors[-5:])


# These train no map to have one peak, so the coordinate is read as the loss reads it: from the whole map.
WHOLE_MAP = "head.decode=expectation"


@pytest.mark.parametrize(
    ("words", "steps", "rate"),
    [
        ("loss=heatmap_kl", 50, 0.02),
        ("loss=heatmap_js", 50, 0.02),
        ("loss=heatmap_mse", 80, 0.02),
        ("loss=[heatmap_ce,coordinate_l1]", 90, 0.02),
        (f"loss=coordinate_l1 {WHOLE_MAP}", 150, 0.01),
        (f"loss=coordinate_l2 {WHOLE_MAP}", 120, 0.01),
        (f"loss=coordinate_huber {WHOLE_MAP}", 100, 0.01),
        (f"loss=coordinate_wing {WHOLE_MAP} backbone.stages=[2,3,4,5]", 250, 0.01),
        (f"loss=[coordinate_l2,variance] {WHOLE_MAP}", 120, 0.01),
        ("loss=heatmap_ce head.learnable_temperature=true", 50, 0.01),
        ("head=simcc", 90, 0.01),
        ("head=channel_softmax", 80, 0.01),
        ("head=regression", 100, 0.01),
    ],
)
def test_a_loss_overfits_a_batch(words: str, steps: int, rate: float, tmp_path: Path) -> None:
    enough = 2.0 if "channel" in words else 0.5  # the center of a disc of cells is exact to half a cell
    before, after = overfit([*SCENES, *words.split()], tmp_path, steps, rate, enough)
    assert before > 10 and after < enough


def test_the_default_loss_overfits_real_images(tmp_path: Path, data_root: Path) -> None:
    labels = data_root / "keypoints" / "labels" / "dlc-openfield.csv"
    if not labels.is_file():
        pytest.skip(f"no {labels}")
    words = f"data=custom data.labels={labels} data.images={data_root / 'keypoints' / 'dlc-openfield'} augment=none"
    small = "backbone=small backbone.width=16 decoder.channels=16 data.size=[96,128] data.batch_size=2"
    before, after = overfit([*words.split(), *small.split()], tmp_path, 150, 0.02, 0.5)
    assert before > 10 and after < 0.5
