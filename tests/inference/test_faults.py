"""A model that was stopped, learned nothing or is not calibrated has these faults, and a sound one none."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest

from softpoint.inference import Checkpoint, read_checkpoint
from softpoint.inference.export.export import describe
from softpoint.inference.export.formats import Layout
from softpoint.inference.faults import find_faults
from softpoint.inference.model_card import model_card


@pytest.fixture
def checkpoint(run: Path) -> Checkpoint:
    """A calibrated checkpoint whose record is that of a sound model."""
    record = {"finished": True, "metrics": {"epe": 3.0}, "mean_position_epe": 9.0, "mean_position_gain": [5.0, 7.0]}
    return replace(read_checkpoint(run / "checkpoints" / "best.ckpt"), record=record)


def test_each_fault_is_named_in_words_of_ours(checkpoint: Checkpoint) -> None:
    assert find_faults(checkpoint, "") == [] == find_faults(replace(checkpoint, record={}), "")
    (stopped,) = find_faults(replace(checkpoint, record={"finished": False}), "")
    assert stopped == "it was saved before its training ended, and was never tested"
    (worse,) = find_faults(replace(checkpoint, record={**checkpoint.record, "mean_position_epe": 3.0}), "")
    assert "3.00 px, that of the mean position 3.00 px" in worse
    near = {**checkpoint.record, "mean_position_gain": [-0.5, 12.5], "steps": 60, "usual_steps": 2400}
    (unsure,) = find_faults(replace(checkpoint, record=near), "")
    assert unsure.startswith("it is not surely better") and "may be -0.50 px on other images" in unsure
    assert unsure.endswith("train longer than for 60 of about 2,400 usual steps, or check the labels")
    assert find_faults(replace(checkpoint, record={**near, "mean_position_gain": [0.5, 11.5]}), "") == []
    (known,) = find_faults(replace(checkpoint, record={**checkpoint.record, "known_held_out": 1200}), "")
    assert "was trained on 1,200 of the images of its validation and test splits" in known
    assert find_faults(replace(checkpoint, record={**checkpoint.record, "known_held_out": 0}), "") == []
    net = copy.deepcopy(checkpoint.net)
    net.calibration.set(radius=net.calibration.radius * 0)
    (raw,) = find_faults(replace(checkpoint, net=net), "softpoint calibrate ckpt=a")
    assert raw.endswith("calibrate it by softpoint calibrate ckpt=a")


@pytest.mark.parametrize("value", [None, "<b>", [1], {"epe": "x"}, float("nan")])
def test_a_record_of_anything_is_no_fault(checkpoint: Checkpoint, value: object) -> None:
    assert find_faults(replace(checkpoint, record=dict.fromkeys(checkpoint.record, value)), "") == []


def test_faults_stand_in_the_card(checkpoint: Checkpoint) -> None:
    stopped = replace(checkpoint, record={"finished": False})
    assert f"Caution: {find_faults(stopped, '')[0]}.\n" in model_card(stopped)
    assert "Caution" not in model_card(checkpoint)


def test_an_exported_file_names_them(checkpoint: Checkpoint) -> None:
    assert describe(checkpoint, [], "float32", Layout())["faults"] == []
    stopped = replace(checkpoint, record={"finished": False})
    assert describe(stopped, [], "float32", Layout())["faults"] == find_faults(stopped, "")
