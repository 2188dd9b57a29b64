"""A run that minutes end takes the input that leaves it enough steps, and a resumed one keeps it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.training import SMALL, built, composed, write_labels
from softpoint.cli import train
from softpoint.training import time_budget
from softpoint.training.checkpoint_io import LAST
from softpoint.training.time_budget import Speed, choose, loading_seconds, needed_steps

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*many workers.*")

# A second for each 100,000 pixels of a batch, as a network on one slow core.
SLOW = Speed((16_384, 50_176), (0.16384, 0.50176), loading=0.0, overlaps=False)


def test_a_longer_run_has_a_larger_input_and_more_steps_at_the_largest() -> None:
    least, *others = (choose(minutes, SLOW) for minutes in (0.5, 1.5, 3, 6, 60))
    assert least.pixels == 128**2 and least.steps == int(0.9 * 30 / 0.16384)
    assert [choice.pixels for choice in others] == sorted({choice.pixels for choice in others})
    assert others[-1].pixels == 110_592 and others[-1].steps == int(0.9 * 3600 / 1.10592)


@pytest.mark.parametrize("minutes", [1.5, 3, 6])
def test_the_choice_is_the_largest_input_that_leaves_enough_steps(minutes: float) -> None:
    choice = choose(minutes, SLOW)
    larger = next(number for number in time_budget._PIXELS if number > choice.pixels)
    assert choice.steps >= needed_steps(choice.pixels)
    assert choice._replace(pixels=larger).steps < needed_steps(larger)


def test_what_is_set_stays() -> None:
    assert choose(1, SLOW, pixels=4096).pixels == 4096
    small = choose(2, SLOW, batch_size=4)
    assert small.batch_size == 4 and small.pixels > choose(2, SLOW).pixels


def test_loading_counts_beside_the_network_or_within_its_time() -> None:
    """Where images take as long to decode as a step, processes hide it; in one process it takes steps."""
    slow = SLOW._replace(loading=0.02)
    assert slow.step(100_000, 8) == pytest.approx(1.16)
    assert slow._replace(overlaps=True).step(100_000, 8) == pytest.approx(1.0)
    assert slow._replace(loading=0.2, overlaps=True).step(100_000, 8) == pytest.approx(1.6)


def test_a_faster_measurement_of_the_larger_input_is_no_reason_for_a_negative_time() -> None:
    odd = Speed((16_384, 50_176), (0.2, 0.1), loading=0.0, overlaps=False)
    assert odd.step(110_592, 8) == odd.step(16_384, 8) == 0.2


def timed(folder: Path, *more: str) -> list[str]:
    """A run of minutes on tiny labels, which sizes its own input."""
    own = [word for word in SMALL if not word.startswith(("data.size", "data.batch_size", "trainer.max_epochs"))]
    words = [*write_labels(folder), *own, "backbone=small", "backbone.width=8", "data.epoch_steps=1", "data.val=0.2"]
    return [*words, "data.test=0.2", "minutes=60", "trainer.max_steps=2", *more]


def test_the_finder_of_several_subjects_is_measured_with_its_whole_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[dict[str, Any]] = []
    seconds = time_budget.step_seconds

    def counted(step: Any, batch: dict[str, Any]) -> float:
        steps.append(batch)
        return seconds(step, batch, times=1)

    monkeypatch.setattr(time_budget, "step_seconds", counted)
    words = timed(tmp_path / "data", "data.mode=multi", "data.finding_pixels=1024")
    module, data, _ = built(composed("train", words, tmp_path / "a"))
    assert module.net.finder is not None and module.decisions.budget is not None
    assert [tuple(batch["scene"]["image"].shape[-2:]) for batch in steps] == [data.finding_size] * 2


def test_the_network_is_measured_without_a_trace(tmp_path: Path) -> None:
    """A run that sized its input has the weights of one to which the same size was given."""
    module, data, _ = built(composed("train", timed(tmp_path / "data"), tmp_path / "a"))
    assert data.size == (96, 96) and data.batch_size == 8  # as large as the images, which are small
    assert all(second > 0 for second in module.decisions.budget.speed.seconds) and loading_seconds(data) > 0
    given = ["data.size=[96,96]", "data.batch_size=8"]
    other, _, _ = built(composed("train", timed(tmp_path / "data", *given), tmp_path / "b"))
    assert other.decisions.budget is None
    for one, two in zip(module.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_a_resumed_run_keeps_what_it_chose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(time_budget, "measure", lambda *_: SLOW)
    monkeypatch.setattr(time_budget, "_PIXELS", (32**2, 64**2))
    monkeypatch.setattr(time_budget, "STEPS", 10**8)  # more than the minutes have
    words, run = timed(tmp_path / "data", "report=false"), tmp_path / "run"
    train.main(composed("train", words, run))
    assert "60 minutes: 8 images of 32x32 a step" in capsys.readouterr().out
    stored = torch.load(run / "checkpoints" / LAST, weights_only=True)
    chosen = stored["hyper_parameters"]["data"]
    assert (chosen["pixels"], chosen["batch_size"], stored["size"]) == (32**2, 8, (32, 32))
    assert stored["hyper_parameters"]["datamodule"]["pixels"] == 32**2
    facts: Any = json.loads((run / "run.json").read_text())["time_budget"]
    assert facts["pixels"] == 32**2 and facts["speed"]["seconds"] == [0.16384, 0.50176]
    monkeypatch.setattr(time_budget, "STEPS", 1)  # a machine that is faster now
    more = [word.replace("max_steps=2", "max_steps=4") for word in words]
    train.main(composed("train", [*more, "resume=auto"], run))
    out = capsys.readouterr().out
    assert "minutes: " not in out and "changed since the run was stopped: data" not in out
    assert torch.load(run / "checkpoints" / LAST, weights_only=True)["size"] == (32, 32)
