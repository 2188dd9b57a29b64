"""What an interrupted training leaves is named as uncalibrated, and the printed commands finish it."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.training import labeled, tiny, write_labels
from softpoint.cli.faults import calibration_command
from softpoint.inference import read_checkpoint, save_pretrained

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*many workers.*", "ignore:.*is not empty")


def calibration(path: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(path).net.calibration.state_dict()


@pytest.fixture
def stopped(run: Path, tmp_path: Path) -> Path:
    """The checkpoint of a run as it is before the calibration."""
    stored: dict[str, Any] = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    stored["state_dict"]["net.calibration.radius"] = torch.tensor(0.0)
    stored["record"] = {"finished": False}
    torch.save(stored, tmp_path / "best.ckpt")
    return tmp_path / "best.ckpt"


@pytest.mark.parametrize("shared", [False, True])
def test_the_command_calibrates_as_the_training_does(
    run: Path, stopped: Path, tmp_path: Path, start: Callable, shared: bool
) -> None:
    path = save_pretrained(stopped, tmp_path / "shared") if shared else stopped
    data = [f"data.labels={run.parent / 'labels.csv'}", f"data.images={run.parent / 'moved'}"]
    ending = start("calibrate", f"ckpt={path}", *data, f"hydra.run.dir={tmp_path}")
    assert ending.code == 0 and f"written into {path}" in ending.out, ending.err
    expected = calibration(run / "checkpoints" / "best.ckpt")
    assert expected["radius"] > 0
    torch.testing.assert_close(calibration(path), expected)
    before, after = (read_checkpoint(p).net.backbone.state_dict() for p in (stopped, path))
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert read_checkpoint(path).record["calibration_units"] > 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["images=0"], "images=0: give a whole number from 1 on"),
        (["data.labels=none.csv"], "none.csv"),
        (["device=gpu"], "device=gpu cannot be used here"),
    ],
)
def test_a_mistake_leaves_the_checkpoint_as_it_is(
    stopped: Path, start: Callable, tmp_path: Path, more: list[str], message: str
) -> None:
    before = stopped.read_bytes()
    ending = start("calibrate", f"ckpt={stopped}", *more, f"hydra.run.dir={tmp_path}")
    assert ending.code == 1 and message in ending.err and stopped.read_bytes() == before


def test_other_commands_warn_of_it_unless_they_are_not_to(run: Path, stopped: Path, start: Callable) -> None:
    words = [f"ckpt={stopped}", f"source={run.parent / 'moved'}", "images=false"]
    for warn in (True, False):
        ending = start("predict", *words, f"warn={str(warn).lower()}", f"output={stopped.parent / str(warn)}")
        assert ending.code == 0
        for text in (f"softpoint calibrate ckpt={stopped}", "saved before its training ended"):
            assert (text in ending.out + ending.err) == warn


Ending = tuple[int, str, str]


@pytest.fixture
def endless(tmp_path: Path) -> list[str]:
    """The words of a training that only a signal ends."""
    return tiny("data.val=24", "trainer.max_epochs=100000", f"hydra.run.dir={tmp_path / 'run'}")


@pytest.fixture
def best(tmp_path: Path) -> Path:
    """Its best checkpoint."""
    return tmp_path / "run" / "checkpoints" / "best.ckpt"


def stopped_here(best: Path, words: list[str], start: Callable) -> Ending:
    """The ending of a training in this process, which gets Ctrl-C once it has a best checkpoint."""

    def send() -> None:
        while training and not best.is_file():
            time.sleep(0.05)
        if training:
            os.kill(os.getpid(), signal.SIGINT)

    training, thread = [True], threading.Thread(target=send)
    thread.start()
    ending: Ending = start("train", *words)
    training.clear()
    thread.join()
    return ending


@pytest.mark.slow
def test_ctrl_c_ends_a_training_with_its_code_and_the_commands_that_go_on(
    tmp_path: Path, start: Callable, best: Path, endless: list[str]
) -> None:
    code, out, err = stopped_here(best, endless, start)
    assert code == 130 and "Traceback" not in err and "saving after this step" in err, err
    assert not read_checkpoint(best).net.calibration.fitted
    go_on, finish = (re.search(rf"softpoint(?:\.cli)? {name} .*", out)[0] for name in ("resume", "calibrate"))  # type: ignore[index]
    command, *words = shlex.split(finish)[1:]
    assert (
        start(command, *words, f"hydra.run.dir={tmp_path}").code == 0 and read_checkpoint(best).net.calibration.fitted
    )
    _, *words = shlex.split(go_on)[1:]
    steps = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    ending = start("resume", *words, f"trainer.max_steps={steps + 3}")
    assert ending.code == 0 and f"training ended after trainer.max_steps={steps + 3}" in ending.out, ending.err


def test_the_printed_command_trusts_what_the_model_needs_and_copies_one_of_the_hub(
    stopped: Path, monkeypatch: pytest.MonkeyPatch, start: Callable
) -> None:
    monkeypatch.setattr(sys, "argv", ["softpoint", "predict"])
    monkeypatch.setattr("softpoint.cli.faults.command", "softpoint {}".format)
    checkpoint = read_checkpoint(stopped, ["mine.nets", "softpoint.models"])
    assert calibration_command(checkpoint) == f"softpoint calibrate ckpt={stopped} 'trust=[mine.nets]'"
    remote = replace(checkpoint, trust=(), address="hf://user/mice@v1")
    copy = "hf download user/mice --revision v1 --local-dir mice && softpoint calibrate ckpt=mice"
    assert calibration_command(remote) == copy

    before = stopped.read_bytes()
    monkeypatch.setattr("softpoint.inference.read_checkpoint", lambda *_: remote)
    ending = start("calibrate", "ckpt='hf://user/mice@v1'", f"hydra.run.dir={stopped.parent}")
    assert ending.code == 1 and copy in ending.err and stopped.read_bytes() == before


def test_few_independent_images_are_named(tmp_path: Path, start: Callable) -> None:
    ending = start("train", *labeled(write_labels(tmp_path / "data"), f"hydra.run.dir={tmp_path / 'run'}"))
    assert (
        "fitted on 3 images; independent units: 1 group; fewer than 20 can correct the confidence only in part"
        in ending.out
    )


def test_heatmap_sets_are_fitted_on_request_and_then_again(
    run: Path, stopped: Path, tmp_path: Path, start: Callable
) -> None:
    words = [f"ckpt={stopped}", f"data.labels={run.parent / 'labels.csv'}", f"data.images={run.parent / 'moved'}"]
    radii, tails = [], []
    for more in ([], ["heatmap_sets=true"], [], ["heatmap_sets=false"]):
        ending = start("calibrate", *words, *more, f"hydra.run.dir={tmp_path}")
        assert ending.code == 0, ending.err
        found = calibration(stopped)
        radii.append(found["region_radii"])
        tails.append(found["set_tails"])
        if tails[-1].any() and len(tails) == 2:
            _measure_and_predict_sets(words, start, tmp_path)
        assert ("and so are heatmap sets" in ending.out) == bool(tails[-1].any())
    assert all(torch.equal(radii[0], other) for other in radii[1:])
    assert not tails[0].any() and not tails[3].any() and torch.equal(tails[1], tails[2])
    assert (tails[1][0] > 0).all() and not tails[1][1].any()  # 90 % takes nine groups
    ending = start("calibrate", f"ckpt={stopped}", "heatmap_sets=true", f"crossval={tmp_path}")
    assert ending.code == 1 and f"heatmap_sets=true: crossval={tmp_path} keeps no heatmaps" in ending.err


def _measure_and_predict_sets(words: list[str], start: Callable, folder: Path) -> None:
    """Heatmap sets of 50 % are measured beside the ellipses and written; there are none of 90 %."""
    ending = start("evaluate", *words, f"output={folder / 'measured'}", "draws=50")
    assert ending.code == 0 and "labels inside the heatmap sets" in " ".join(ending.out.split()), ending.err
    metrics = json.loads((folder / "measured" / "metrics.json").read_text())
    low, high = metrics["heatmap_sets"]
    assert 0 <= low["overall"]["coverage"] <= 1 and low["area"] > 0 and low["parts"] >= 1 and "overall" not in high
    assert "Labels inside the heatmap sets" in (folder / "measured" / "report.html").read_text()
    ending = start("evaluate", *words, f"output={folder / 'val'}", "split=val", "report=false")
    assert "heatmap_sets (they were fitted on some of these images" in " ".join(ending.out.split())
    predict = ["predict", words[0], f"source={words[2].removeprefix('data.images=')}", f"output={folder / 'out'}"]
    ending = start(*predict, "heatmap_sets=0.5", "images=false")
    assert ending.code == 0 and "heatmap_sets.json" in ending.out, ending.err
    subjects = json.loads((folder / "out" / "heatmap_sets.json").read_text())["subjects"]
    assert len(subjects) == 12 and all(parts for subject in subjects for parts in subject["keypoints"].values())
    ending = start(*predict, "heatmap_sets=0.9")
    assert ending.code == 1 and "its validation split had fewer than 9 units; it has 0.5" in ending.err
