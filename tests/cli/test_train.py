"""The train command leaves behind what its help promises, and --help does not import torch."""

from __future__ import annotations

import csv
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from helpers.training import NAMES, ROOT, built, composed, labeled, read_csv, tiny, write_labels
from softpoint.cli.run_end import STUDY, is_complete, tell_end
from softpoint.cli.shell import command
from softpoint.data.geometry import letterbox_matrix, transform

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*", "ignore:.*many workers.*", "ignore:The dirpath has changed"
)


def test_help_needs_no_torch() -> None:
    code = (
        "import sys; from softpoint.cli import main; sys.argv[1:] = ['train', '--help']\n"
        "try: main()\n"
        "finally: assert not {'torch', 'pytorch_lightning', 'cv2'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for word in ("softpoint predict ckpt=", "tensorboard --logdir", "softpoint resume RUN", "best.ckpt", "max_epochs"):
        assert word in done.stdout


def test_a_run_leaves_what_help_promises(run: Path) -> None:
    assert {path.name for path in run.iterdir()} == {
        "checkpoints",
        "model_card.md",
        "report.html",
        "run.json",
        "splits.csv",
        "tensorboard",
        "test.csv",
    }
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt", "last-previous.ckpt"}


def test_a_run_is_complete_with_all_its_files(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill after the test and before the model card or the report leaves a run that goes on."""
    cfg = composed("train", tiny("report=true"), tmp_path)
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(run / "checkpoints" / "best.ckpt", tmp_path / "checkpoints")
    assert not is_complete(cfg, tmp_path)
    (tmp_path / "model_card.md").touch()
    assert not is_complete(cfg, tmp_path) and is_complete(composed("train", tiny(), tmp_path), tmp_path)
    (tmp_path / "report.html").touch()
    assert is_complete(cfg, tmp_path)
    (tmp_path / "report.html").unlink()
    monkeypatch.setenv(STUDY, "1")  # which writes no report
    assert is_complete(cfg, tmp_path)


def test_a_finished_run_without_a_model_to_use_stays_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = SimpleNamespace(overfit_batches=0)
    record = {"end": "after its 2 minutes", "metrics": {"epe": 9.0}, "mean_position_epe": 8.0}
    tell_end(composed("train", tiny(), tmp_path), trainer, record)
    assert "this run is finished: it ended after its 2 minutes" in capsys.readouterr().out
    cfg = composed("train", tiny("must_work=null"), tmp_path)
    tell_end(cfg, trainer, record | {"mean_position_epe": 10.0})
    with pytest.raises(ValueError, match="no model to use: it is worse"):
        tell_end(cfg, trainer, record)


def test_the_printed_command_predicts_where_it_is_typed(
    start: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder whose name Hydra and a shell would misread."""
    folder = tmp_path / "it's lr=1,2"
    folder.mkdir()
    monkeypatch.chdir(folder)
    ending = start("train", *tiny("name='a=b, c'"), "hydra.verbose=false")
    assert ending.code == 0 and ending.err == "", ending.err
    assert "10 keypoints, images 8 train, 4 val, 5 test, 64x64" in ending.out and "mean position / epe" in ending.out
    printed = next(line for line in ending.out.splitlines() if line.startswith("try it: "))
    write_labels(folder, 2)
    program, *words = shlex.split(printed.removeprefix("try it: ").replace("IMAGE_OR_FOLDER", "video0"))
    assert program == "softpoint" and "outputs/a=b, c/20" in words[1]
    ending = start(*words, "output=out")
    assert ending.code == 0 and len(read_csv(folder / "out" / "predictions.csv")) == 1, ending.err


@pytest.mark.parametrize(
    ("started", "expected"),
    [
        ("scripts/train.py", "{python} scripts/predict.py"),
        ("../my folder/train.py", "softpoint predict"),  # which is no script of this repository
        ("/x/softpoint/__main__.py", "{python} -m softpoint predict"),
        ("/nowhere/bin/softpoint", "/nowhere/bin/softpoint predict"),
        ("softpoint", "softpoint predict"),
    ],
)
def test_a_printed_command_is_started_as_this_one(monkeypatch: pytest.MonkeyPatch, started: str, expected: str) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("shutil.which", lambda name: {"python": sys.executable, "softpoint": "softpoint"}[name])
    monkeypatch.setattr(sys, "argv", [started])
    assert command("predict") == expected.format(python="python")


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ("class head(SoftArgmaxHead): pass", "commands that read its checkpoints need 'trust=[mine]'"),
        ("def head(**k): return SoftArgmaxHead(**k)", "no command will read the checkpoints of this training, nor re"),
    ],
)
def test_a_network_of_own_modules_is_announced_before_it_is_trained(
    start: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, definition: str, message: str
) -> None:
    (tmp_path / "mine.py").write_text(f"from softpoint.models import SoftArgmaxHead\n{definition}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    ending = start("train", *tiny("head._target_=mine.head", "trainer.fast_dev_run=true"))
    assert ending.code == 0 and message in ending.out, ending.err


def test_all_images_are_trained_on_and_a_second_round_starts_from_that_model(start: Callable, tmp_path: Path) -> None:
    words, first = labeled(write_labels(tmp_path / "data")), f"hydra.run.dir={tmp_path / 'first'}"
    everything = ["data.val=0", "data.test=0", "logger=none", "trainer.profiler=simple", first]
    ending = start("train", *words, *everything)
    assert ending.code == 0, ending.err
    for part in ("12 train, 0 val, 0 test", "as it usually is on other sets", "no image was left to test", "Profiler"):
        assert part in ending.out + ending.err, part
    stored, last = (
        torch.load(tmp_path / "first" / "checkpoints" / name, weights_only=True) for name in ("best.ckpt", "last.ckpt")
    )
    assert stored["record"]["finished"] and stored["state_dict"]["net.calibration.radius"] > 0
    assert all(torch.equal(v, stored["state_dict"][k]) for k, v in last["state_dict"].items() if "calibration" not in k)
    again = start("resume", str(tmp_path / "first"))
    assert again.code == 0 and "this run is finished" in again.out, again.err
    second = [f"init={tmp_path / 'first'}", "data.keypoints=[tail,nose]", "data.size=96", "trainer.fast_dev_run=true"]
    ending = start("train", *words, "data.val=0.2", "data.test=0.2", "loss.keypoint_weights={nose: 2}", *second)
    assert ending.code == 0, ending.err
    assert "keypoints of the model alone: left_ear, right_ear" in ending.out
    assert (
        "the model of init was trained on" in ending.out + ending.err
        and "images of val and test" in ending.out + ending.err
    )


def test_sweeps_minimize_the_best_validation_error(tmp_path: Path) -> None:
    from softpoint.cli.train import main

    score = main(composed("train", tiny("trainer.max_epochs=3"), tmp_path))
    stored = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)["callbacks"]
    scores = [state["best_model_score"] for key, state in stored.items() if "val/epe" in key and "Model" in key]
    assert score == pytest.approx(scores[0].item())


def test_table_holds_the_test_errors_of_the_averaged_weights(run: Path, tmp_path: Path) -> None:
    """test.csv, the checkpoint's weights and trainer.test agree, and the plain weights do not."""
    words = [f"data.labels={run.parent / 'labels.csv'}", f"data.images={run.parent / 'moved'}"]
    module, data, trainer = built(composed("train", labeled(["data=custom", *words]), tmp_path))
    best = run / "checkpoints" / "best.ckpt"
    found = trainer.test(module, data, ckpt_path=best, verbose=False, weights_only=True)[0]
    rows = {row["keypoint"]: row for row in read_csv(run / "test.csv")}
    assert list(rows) == [*NAMES, "all"]
    assert float(rows["all"]["epe"]) == pytest.approx(found["test/epe"], rel=1e-6)
    mean = np.average([float(rows[n]["epe"]) for n in NAMES], weights=[int(rows[n]["points"]) for n in NAMES])
    assert float(rows["all"]["epe"]) == pytest.approx(mean)
    assert sum(int(rows[name]["points"]) for name in NAMES) == int(rows["all"]["points"])
    stored = torch.load(best, weights_only=True)
    average, plain = stored["state_dict"], stored["current_model_state"]
    assert all(torch.equal(value, average[f"net.{key}"]) for key, value in module.net.state_dict().items())
    assert not torch.equal(average["net.head.logits.weight"], plain["net.head.logits.weight"])


def test_baseline_in_the_table_is_the_mean_position(run: Path, tmp_path: Path) -> None:
    words = [f"data.labels={run.parent / 'labels.csv'}", f"data.images={run.parent / 'moved'}"]
    _, data, _ = built(composed("train", labeled(["data=custom", *words]), tmp_path))
    test = data.splits["test"]
    matrices = [letterbox_matrix(tuple(size), data.size) for size in data.loaded.sizes[test].tolist()]
    guess = np.array([transform(data.mean_position(), np.linalg.inv(matrix)) for matrix in matrices])
    expected = np.linalg.norm(guess - data.labels.keypoints[test], axis=-1)
    rows = {row["keypoint"]: float(row["mean_position_epe"]) for row in read_csv(run / "test.csv")}
    np.testing.assert_allclose([rows[name] for name in NAMES], expected.mean(0), rtol=1e-4)


def test_split_is_kept_and_honored_when_given_again(run: Path, tmp_path: Path) -> None:
    words = [f"data.labels={run.parent / 'labels.csv'}", f"data.images={run.parent / 'moved'}", "seed=9"]
    words = labeled(["data=custom", *words], f"data.splits={run / 'splits.csv'}")
    _, data, _ = built(composed("train", words, tmp_path))
    kept = {row["image"]: row["split"] for row in read_csv(run / "splits.csv")}
    assert len(kept) == 12
    assert {data.labels.images[i]: split for split, rows in data.splits.items() for i in rows} == kept


def test_a_keypoint_that_is_never_labeled_has_no_error(start: Callable, tmp_path: Path) -> None:
    words = write_labels(tmp_path / "data", missing=[(i, 2) for i in range(12)])
    ending = start("train", *labeled(words, f"hydra.run.dir={tmp_path / 'here'}"))
    assert ending.code == 0 and "never labeled" in ending.out
    with (tmp_path / "here" / "test.csv").open() as file:
        rows = {row["keypoint"]: row for row in csv.DictReader(file)}
    assert rows["right_ear"]["points"] == "0" and np.isfinite(float(rows["all"]["epe"]))


def test_fast_dev_run_leaves_no_checkpoint(start: Callable, tmp_path: Path) -> None:
    ending = start("train", *tiny("trainer.fast_dev_run=true", f"hydra.run.dir={tmp_path / 'here'}"))
    assert ending.code == 0 and not list((tmp_path / "here").glob("**/*.ckpt"))


def test_a_network_whose_checkpoints_could_not_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"window=2001 is more than 1025, the largest value accepted from a file"):
        built(composed("train", tiny("head.window=2001"), tmp_path / "run"))
