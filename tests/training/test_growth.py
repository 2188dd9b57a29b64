"""The input of a run of minutes grows once points are found, and all that follows knows the size it came to."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from helpers.training import SMALL, built, composed, read_csv, tiny, write_labels
from softpoint.cli import train
from softpoint.cli.resource_errors import resource_message
from softpoint.cli.shared_input import input_words
from softpoint.cli.shell import here
from softpoint.images.decode import read_image
from softpoint.inference import load_predictor
from softpoint.training import KeypointModule, time_budget
from softpoint.training.callbacks import Duration
from softpoint.training.checkpoint_io import LAST
from softpoint.training.growth import STEPS, Growth
from softpoint.training.time_budget import Speed, rising

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*many workers.*")


class Sized:
    """Data whose input may grow twice, to four times the pixels each time; `ahead` batches are loaded before."""

    sizes = ((32, 32), (64, 64), (128, 128))

    def __init__(self, ahead: int = 0) -> None:
        self.size, self.ahead = self.sizes[0], ahead

    @property
    def next_size(self) -> tuple[int, int] | None:
        return next((size for size in self.sizes if size > self.size), None)

    def resize(self, size: tuple[int, int]) -> None:
        self.size = size


def grown(errors: list[float], of: int, growth: Growth, ahead: int = 0, **limits: int) -> list[tuple[int, int]]:
    """Sizes of the batches of a run of `of` such ones, whose points are missed by `errors`, one for each batch."""
    duration, data = Duration(None, 1.0), Sized(ahead)
    trainer: Any = SimpleNamespace(callbacks=[duration, growth], datamodule=data, world_size=1, overfit_batches=0.0)
    vars(trainer).update({"global_step": 0, "max_steps": -1, "accumulate_grad_batches": 1} | limits)
    duration.spent = 0.0
    growth.on_train_start(trainer, None)
    sizes, loaded = [], [data.size] * ahead
    for batch, error in enumerate(errors, 1):
        loaded.append(data.size)
        sizes.append(loaded.pop(0))
        duration.spent, trainer.global_step = batch / of, batch // trainer.accumulate_grad_batches
        module = SimpleNamespace(errors=torch.tensor([[error, torch.nan, error]]))
        growth.on_train_batch_end(trainer, module, None, {"image": torch.zeros(1, 3, *sizes[-1])}, batch)
    return sizes


def test_the_input_grows_when_half_of_the_points_are_found() -> None:
    errors = [5.0] * STEPS + [1.4] * STEPS + [1.6] * 2 * STEPS + [1.4] * STEPS + [0.1] * STEPS
    sizes = grown(errors, 10_000, Growth(within=1.5, steps=30))
    assert sizes == [(32, 32)] * 2 * STEPS + [(64, 64)] * 3 * STEPS + [(128, 128)] * STEPS


def test_the_input_keeps_a_size_where_no_time_is_left_for_the_steps_of_a_larger_one() -> None:
    """A larger step costs four times as much: of 160 steps, 10 leave time for 37 larger ones, and those for none."""
    sizes = grown([0.0] * 100, 160, Growth(within=1.5, steps=37))
    assert sizes == [(32, 32)] * STEPS + [(64, 64)] * 90
    assert grown([0.0] * 100, 160, Growth(within=1.5, steps=38)) == [(32, 32)] * 100


def test_a_step_may_be_of_several_batches() -> None:
    """Time for 37 larger batches is time for 18 steps of two."""
    sizes = grown([0.0] * 100, 160, Growth(within=1.5, steps=18), accumulate_grad_batches=2)
    assert sizes == [(32, 32)] * STEPS + [(64, 64)] * 90
    assert grown([0.0] * 100, 160, Growth(within=1.5, steps=19), accumulate_grad_batches=2) == [(32, 32)] * 100


@pytest.mark.parametrize("batches", [1, 2])
def test_the_input_keeps_a_size_where_too_few_steps_are_left(batches: int) -> None:
    limits = {"max_steps": 30 + STEPS // batches, "accumulate_grad_batches": batches}
    sizes = grown([0.0] * 3 * STEPS, 10_000, Growth(within=1.5, steps=30), **limits)
    assert sizes == [(32, 32)] * STEPS + [(64, 64)] * 2 * STEPS
    limits["max_steps"] -= 1
    assert grown([0.0] * 3 * STEPS, 10_000, Growth(within=1.5, steps=30), **limits) == [(32, 32)] * 3 * STEPS


@pytest.mark.parametrize("plan", [None, [[0.1, 64, 64]]])
def test_a_size_is_never_left_without_a_step(plan: Any) -> None:
    """Of batches that are loaded before, the last ones of a run still have the size before."""
    growth = Growth(within=1.5, steps=1, plan=plan)
    sizes = grown([0.0] * 16, 100, growth, ahead=5, max_steps=16)
    assert sizes == [(32, 32)] * 15 + [(64, 64)]
    growth = Growth(within=1.5, steps=1, plan=plan)
    assert grown([0.0] * 15, 100, growth, ahead=5, max_steps=15) == [(32, 32)] * 15 and growth.grown == []


def test_batches_of_the_size_before_do_not_count() -> None:
    """Neither as looks nor as time: the 40 smaller ones are no part of what 10 larger ones cost."""
    sizes = grown([0.0] * 120, 400, Growth(within=1.5, steps=70), ahead=40)
    assert sizes == [(32, 32)] * 50 + [(64, 64)] * 50 + [(128, 128)] * 20


@pytest.mark.parametrize("pixels", [1024, 16_384, 40_000, 110_592])
def test_numbers_of_pixels_rise_evenly_to_the_usual_one(pixels: int) -> None:
    numbers = rising(pixels)
    factors = np.array(numbers[1:]) / numbers[:-1]
    assert numbers[0] == pixels and numbers[-1] == (110_592 if len(numbers) > 1 else pixels)
    assert ((factors > 1.3) & (factors < 2.5)).all() and np.ptp(factors) < 0.01 if len(factors) else pixels > 80_000


def growing(folder: Path, *more: str) -> list[str]:
    """A run of minutes on tiny labels that begins with 32 x 32 pixels and finds every point."""
    own = [word for word in SMALL if not word.startswith(("data.size", "data.batch_size", "trainer.max_epochs"))]
    words = [
        *write_labels(folder),
        *own,
        "backbone=small",
        "backbone.width=8",
        f"data.epoch_steps={STEPS}",
        "data.val=0.2",
    ]
    sure = ["callbacks.growth.within=1000", "callbacks.growth.steps=1", "minutes=60"]
    return [*words, "data.test=0.2", *sure, *more]


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.fixture
def small_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_budget, "measure", lambda *_: Speed((16_384, 50_176), (0.1, 0.3), 0.0, False))
    monkeypatch.setattr(time_budget, "_PIXELS", (32**2, 64**2))
    monkeypatch.setattr(time_budget, "STEPS", 10**8)  # more than the minutes have


@pytest.mark.usefixtures("small_start")
def test_a_grown_run_is_tested_used_and_repeated_at_the_size_it_came_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, run = growing(tmp_path / "data", f"trainer.max_steps={3 * STEPS}"), tmp_path / "run"
    train.main(composed("train", words, run))
    out = capsys.readouterr().out
    assert "images of 32x32 a step, growing up to 96x96" in out
    stored = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    height, width = stored["size"]
    assert (height, width) == (96, 96)
    predictor = load_predictor(run / "checkpoints" / "best.ckpt")
    assert predictor.size == (96, 96)
    labels = {row[0]: np.array(row[1:], float).reshape(-1, 2) for row in rows(tmp_path / "data" / "labels.csv")[3:]}
    tested = [row["image"] for row in read_csv(run / "splits.csv") if row["split"] == "test"]
    found = [predictor(read_image(tmp_path / "data" / image))["keypoints"] for image in tested]
    error = np.mean(
        [np.linalg.norm(points - labels[image], axis=1) for points, image in zip(found, tested, strict=True)]
    )
    assert error == pytest.approx(float(read_csv(run / "test.csv")[-1]["epe"]), abs=1e-3)

    # Another run repeats how it grew, as the folds of a cross-validation do, by what the best checkpoint remembers.
    first, plan = input_words(run / "checkpoints" / "best.ckpt")
    record = stored["record"]["growth"]
    assert [row[1:] for row in record] == [[32, 32], [64, 64], [96, 96]]
    assert first == "data.size=[32,32]" and plan == f"callbacks.growth.plan={record[1:]}".replace(" ", "")
    soon = "callbacks.growth.plan=[[1e-9,64,64],[2e-9,96,96]]"  # the minutes of a test are too many to wait for
    given = [*words, first, soon, "callbacks.growth.within=1e-9", "trainer.max_steps=3"]
    train.main(composed("train", given, tmp_path / "other"))
    stored = torch.load(tmp_path / "other" / "checkpoints" / LAST, weights_only=True)
    assert stored["size"] == (96, 96) and stored["LabeledData"]["sizes"] == ((32, 32), (64, 64), (96, 96))


@pytest.mark.usefixtures("small_start")
def test_a_resumed_run_goes_on_with_the_size_it_came_to(tmp_path: Path) -> None:
    words, run = growing(tmp_path / "data"), tmp_path / "run"
    train.main(composed("train", [*words, f"trainer.max_steps={STEPS + 2}"], run))
    before = torch.load(run / "checkpoints" / LAST, weights_only=True)
    sizes = before["LabeledData"]["sizes"]
    assert sizes[0] == (32, 32) and sizes[-1] == (96, 96) and before["size"] == sizes[1] != sizes[-1]
    train.main(composed("train", [*words, f"trainer.max_steps={STEPS + 4}", "resume=auto"], run))
    assert torch.load(run / "checkpoints" / LAST, weights_only=True)["size"] == sizes[1]
    train.main(composed("train", [*words, f"trainer.max_steps={3 * STEPS + 4}", "resume=auto"], run))
    assert torch.load(run / "checkpoints" / LAST, weights_only=True)["size"] == sizes[-1]


@pytest.mark.usefixtures("small_start")
def test_a_run_that_grew_beyond_memory_goes_on_as_its_error_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = KeypointModule._step_losses

    def limited(self: Any, batch: Any, *more: Any, **named: Any) -> Any:
        if batch["image"].numel() > 8 * 3 * 32 * 32:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return whole(self, batch, *more, **named)

    monkeypatch.setattr(KeypointModule, "_step_losses", limited)
    words, run = growing(tmp_path / "data", f"trainer.max_steps={STEPS + 2}"), tmp_path / "run"
    with pytest.raises(torch.OutOfMemoryError) as error:
        train.main(composed("train", words, run))
    message = resource_message(error.value)
    assert message.startswith("the memory of the GPU is full since the input grew to 64x64: keep the size before by ")
    assert message.endswith(f" resume {here(run)} data.size=[32,32], or add trainer.accumulate=auto in its place")
    for way, size in (("data.size=[32,32]", (32, 32)), ("trainer.accumulate=auto", (64, 64))):
        copy = shutil.copytree(run, tmp_path / way)
        train.main(composed("train", [*words, way, "resume=auto"], copy))
        assert torch.load(copy / "checkpoints" / LAST, weights_only=True)["size"] == size


def test_a_plan_decides_in_place_of_errors() -> None:
    growth = Growth(within=1.5, steps=30, plan=[[0.2, 64, 64], [0.7, 128, 128]])
    assert grown([9.0] * 100, 100, growth) == [(32, 32)] * 20 + [(64, 64)] * 50 + [(128, 128)] * 30
    assert growth.grown == [(0.2, (64, 64)), (0.7, (128, 128))]


@pytest.mark.parametrize("plan", [[[0.2, 64]], [[0.5, 64, 64], [0.2, 96, 96]]])
def test_a_plan_that_is_none_is_refused(plan: Any) -> None:
    with pytest.raises(ValueError, match=r"callbacks.growth.plan=.* is no list of rising \[fraction"):
        Growth(within=1.5, steps=30, plan=plan)


def test_a_plan_for_what_cannot_grow_is_refused(tmp_path: Path) -> None:
    words = [*tiny("callbacks.growth.plan=[[0.5,96,96]]", "minutes=60"), "data.size=64"]
    with pytest.raises(ValueError, match=r"callbacks.growth.plan is for runs of minutes on images with labels"):
        train.main(composed("train", words, tmp_path / "run"))


@pytest.mark.filterwarnings("ignore:You requested to overfit")
@pytest.mark.usefixtures("small_start")
def test_a_run_that_overfits_a_few_batches_keeps_its_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        *growing(tmp_path / "data"),
        "trainer.overfit_batches=2",
        "data.batch_size=2",
        f"trainer.max_steps={STEPS + 2}",
    ]
    train.main(composed("train", words, tmp_path / "run"))
    stored = torch.load(tmp_path / "run" / "checkpoints" / LAST, weights_only=True)
    assert stored["size"] == (32, 32) and "growing" not in capsys.readouterr().out


@pytest.mark.usefixtures("small_start")
def test_a_compiled_network_keeps_its_input(tmp_path: Path) -> None:
    words = [*growing(tmp_path / "data"), "compile=true"]
    module, data, trainer = built(composed("train", words, tmp_path / "run"))
    assert data.size == (32, 32) and data.next_size is None
    assert not any(isinstance(callback, Growth) for callback in trainer.callbacks)
    assert any("keeps one size, because compile=true" in note for note in module.decisions.notes)
    given, _, _ = built(composed("train", [*words, "data.size=32"], tmp_path / "given"))
    assert not any("keeps one size" in note for note in given.decisions.notes)


@pytest.mark.usefixtures("small_start")
def test_without_the_callback_that_ends_it_a_run_has_no_minutes(tmp_path: Path) -> None:
    words = [*growing(tmp_path / "data"), "~callbacks.duration", "trainer.max_epochs=1"]
    module, data, _ = built(composed("train", words, tmp_path / "run"))
    assert module.decisions.budget is None and data.size == (96, 96) and data.sizes == ()


@pytest.mark.usefixtures("small_start")
def test_without_the_callback_the_input_keeps_its_size(tmp_path: Path) -> None:
    words = [word for word in growing(tmp_path / "data") if not word.startswith("callbacks.growth")]
    _, data, _ = built(composed("train", [*words, "~callbacks.growth"], tmp_path / "run"))
    assert data.size == (32, 32) and data.sizes == ((32, 32),) and data.next_size is None


@pytest.mark.usefixtures("small_start")
@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_give_every_batch_one_size(tmp_path: Path, workers: int) -> None:
    words = [*growing(tmp_path / "data"), f"data.num_workers={workers}", "data.batch_size=2", "data.epoch_steps=40"]
    _, data, _ = built(composed("train", words, tmp_path / "run"))
    seen = []
    for i, batch in enumerate(data.train_dataloader()):
        seen.append(tuple(batch["image"].shape))
        if i == 2:
            data.resize(data.next_size)
    sides = [shape[2] for shape in seen]
    assert {shape[0] for shape in seen} == {2} and sides == sorted(sides) and set(sides) == {32, data.size[0]}
    assert next(iter(data.val_dataloader()))["image"].shape[2:] == data.size


GROWN = {"sizes": ((32, 32), (64, 64), (96, 96)), "size": (64, 64)}


@pytest.mark.parametrize(
    ("words", "size", "larger"),
    [
        (["data.pixels=1024"], (64, 64), (96, 96)),  # as the run decided
        (["data.size=[32,32]"], (32, 32), None),
        (["data.size=[96,96]"], (96, 96), None),
        (["data.pixels=9216"], (96, 96), None),
    ],
)
def test_a_size_given_to_a_resumed_run_is_kept(
    tmp_path: Path, words: list[str], size: tuple[int, int], larger: tuple[int, int] | None
) -> None:
    _, data, _ = built(composed("train", growing(tmp_path / "data", *words), tmp_path / "run"))
    for _ in range(2):  # as its command does, and Lightning after it
        data.restore_size(GROWN)
        assert (data.size, data.next_size) == (size, larger)
    assert f"{size[0]}x{size[1]}" in data.summary


def test_images_on_a_device_do_not_follow_a_grown_run(tmp_path: Path) -> None:
    words = growing(tmp_path / "data", "data.pixels=1024", "data.device_cache=true")
    _, data, _ = built(composed("train", words, tmp_path / "run"))
    with pytest.raises(ValueError, match=r"has grown to 64x64.*set data\.size=\[64,64\]"):
        data.restore_size(GROWN)
    data.restore_size({**GROWN, "size": (32, 32)})
    assert data.size == (32, 32) and data.next_size is None
