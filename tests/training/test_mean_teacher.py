"""A mean teacher teaches what it is sure of, where the known matrix moves it, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers.targets import target_of
from helpers.training import built, composed, labeled, write_labels
from softpoint.data.augment import Augment
from softpoint.data.unlabeled import UnlabeledImages
from softpoint.functional import transform_points
from softpoint.training.callbacks import ExponentialAverage
from softpoint.training.mean_teacher import _average, _teach, ramp_up

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*many workers.*", "ignore:.*is not empty.*")


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides of a tiny training, whose unlabeled images are those of the labels themselves."""
    folder = tmp_path_factory.mktemp("semi") / "data"
    beside = ["semi=mean_teacher", f"data.unlabeled_images.source={folder}", "data.unlabeled_images.per_sample=2"]
    return labeled(write_labels(folder), *beside, "data.batch_size=2")


class Teacher(torch.nn.Module):
    """Says the same of every image."""

    def __init__(self, keypoints: Tensor, confidence: Tensor) -> None:
        super().__init__()
        self.keypoints, self.confidence, self.seen = keypoints, confidence, None

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        assert image.dtype == torch.uint8 and not torch.is_grad_enabled() and not self.training
        self.seen = image
        B = len(image)
        return {"keypoints": self.keypoints.expand(B, -1, -1), "confidence": self.confidence.expand(B, -1)}


class StopError(Exception):
    """Ends a training where a test has what it wants."""


def started(labels: list[str], folder: Path, teacher: Teacher | None = None, *more: str) -> tuple[Any, Any, Any]:
    """Module, first batch and trainer as they are when training has begun."""
    module, data, trainer = built(composed("train", [*labels, *more], folder))
    caught: list[Any] = []

    def step(batch: Any, batch_idx: int) -> Tensor:
        caught.append(batch)
        raise StopError

    usual, module.training_step = module.training_step, step
    with pytest.raises(StopError):
        trainer.fit(module, data)
    module.training_step = usual
    module.log = lambda *args, **kwargs: None
    if teacher is not None:
        average = next(one for one in trainer.callbacks if isinstance(one, ExponentialAverage))
        average.module.net = teacher.eval()
    return module, caught[0], trainer


def taught_by(teacher: Any, module: Any, batch: Any) -> Tensor:
    return teacher.losses(module, batch, teacher.count(batch))["consistency"]


SPOTS = torch.tensor([[20.0, 12.0], [30.0, 40.0], [50.0, 25.0], [8.0, 55.0]])
SURE = torch.tensor([0.9, 0.8, 0.79, 1.0])


def test_the_teacher_is_the_average_that_is_validated_and_saved(labels: list[str], tmp_path: Path) -> None:
    module, _, trainer = started(labels, tmp_path)
    average = next(one for one in trainer.callbacks if isinstance(one, ExponentialAverage))
    assert _average(module) is average.module.net is not module.net and not average.module.net.training


def test_targets_are_the_plain_view_s_points_moved_and_exchanged_by_a_mirror(labels: list[str], tmp_path: Path) -> None:
    _, batch, _ = started(labels, tmp_path, teacher := Teacher(SPOTS, SURE))
    views = batch["unlabeled"]
    assert views["plain"].shape == (2, 2, 64, 64, 3)
    points, confidence = _teach(teacher.eval(), views)
    assert torch.equal(teacher.seen, views["plain"].flatten(0, 1).permute(0, 3, 1, 2))
    flat = zip(views["matrix"].flatten(0, 1).double(), views["order"].flatten(0, 1), points, confidence, strict=True)
    for matrix, order, moved, sure in flat:
        homogeneous = torch.cat([SPOTS[order].double(), torch.ones(4, 1)], dim=1) @ matrix.T
        torch.testing.assert_close(moved.double(), homogeneous[:, :2] / homogeneous[:, 2:], atol=1e-3, rtol=0)
        assert torch.equal(sure, SURE[order])
    assert {tuple(order) for order in views["order"].flatten(0, 1).tolist()} <= {(0, 1, 2, 3), (0, 2, 1, 3)}


def test_the_loss_is_that_of_sure_points_inside_divided_by_all(labels: list[str], tmp_path: Path) -> None:
    module, batch, _ = started(
        labels, tmp_path, Teacher(SPOTS, SURE), "loss=[heatmap_ce]", "module.teacher.threshold=0.8"
    )
    views = batch["unlabeled"]
    module.eval()  # batch normalization would tell one call from the next
    module.teacher.ramp = 0.0  # the weight is 1 from the start
    result = taught_by(module.teacher, module, batch)
    image = views["image"].flatten(0, 1).permute(0, 3, 1, 2)
    prediction, total = module.net(image), 0.0
    order, count = views["order"].flatten(0, 1), 4 * len(image)
    points = transform_points(SPOTS[order], views["matrix"].flatten(0, 1))
    for i in range(len(image)):
        for k in range(4):
            inside = bool(((points[i, k] >= -0.5) & (points[i, k] <= 63.5)).all())
            if SURE[order[i, k]] >= 0.8 and inside:
                one = {key: value[i : i + 1, k : k + 1] for key, value in prediction.items() if key == "logits"}
                mask = torch.ones(1, 1, dtype=torch.bool)
                target = target_of(points[i : i + 1, k : k + 1], mask, module.net.decoder.stride)
                total += module.loss(one, target)["loss"] / count
    assert total.item() > 0
    torch.testing.assert_close(result, total)


def test_a_teacher_in_doubt_teaches_nothing(labels: list[str], tmp_path: Path) -> None:
    module, batch, _ = started(labels, tmp_path, Teacher(SPOTS, 0.5 * SURE))
    taught = taught_by(module.teacher, module, batch)
    taught.backward()
    assert taught.item() == 0
    assert all(p.grad is None or not p.grad.any() for p in module.net.parameters())


def test_a_step_adds_the_weighted_loss_of_the_teacher_to_that_of_the_labels(labels: list[str], tmp_path: Path) -> None:
    module, batch, _ = started(
        labels, tmp_path, Teacher(SPOTS, SURE), "module.teacher.consistency=3", "module.teacher.ramp=0.5"
    )
    module.eval()
    both, teacher = module.training_step(batch, 0), module.teacher
    module.teacher, teacher.ramp, teacher.consistency = None, 0.0, 1.0
    alone, taught = module.training_step(batch, 0), taught_by(teacher, module, batch)
    torch.testing.assert_close(both, alone + 3 * float(np.exp(-5.0)) * taught)  # at the start of the run
    assert taught.item() > 0


def test_the_weight_rises_and_stays() -> None:
    weights = [ramp_up(i / 100, 0.4) for i in range(101)]
    assert weights == sorted(weights) and weights[0] == pytest.approx(np.exp(-5)) and set(weights[40:]) == {1.0}


def test_a_missing_average_and_missing_images_are_named(labels: list[str], tmp_path: Path) -> None:
    module, data, trainer = built(composed("train", [*labels, "~callbacks.ema"], tmp_path))
    with pytest.raises(ValueError, match=r"needs the average that callbacks\.ema keeps; do not drop that callback"):
        trainer.fit(module, data)
    module, data, trainer = built(composed("train", labels, tmp_path))
    data.unlabeled_images = None
    with pytest.raises(ValueError, match=r"semi=mean_teacher needs images: data.unlabeled_images.source=FOLDER"):
        trainer.fit(module, data)
    plain = [word for word in labels if not word.startswith(("semi", "data.unlabeled"))]
    module, data, trainer = built(composed("train", plain, tmp_path))
    data.unlabeled_images = UnlabeledImages(tmp_path, Augment())
    with pytest.raises(ValueError, match="used by semi=mean_teacher alone; add it, or remove them"):
        trainer.fit(module, data)


@pytest.mark.parametrize("word", ["teacher.consistency=-1", "teacher.threshold=1.5", "teacher.ramp=-0.1"])
def test_numbers_out_of_range_are_refused(labels: list[str], tmp_path: Path, word: str) -> None:
    key, _, value = word.partition("=")
    with pytest.raises(Exception, match=rf"{key}={value}"):
        built(composed("train", [*labels, f"module.{word}"], tmp_path))
