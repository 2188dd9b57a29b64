"""A user's mistake ends in one line that says what is wrong and the way out."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from helpers.training import ROOT, SMALL, labeled, read_csv, spoil, tiny, write_labels
from softpoint.cli import run_end
from softpoint.cli.resource_errors import resource_message

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*", "ignore:.*many workers.*", "ignore:The dirpath has changed", "ignore:.*is not empty"
)

# An argument of the command line, and the message.
MISTAKES = {
    "trainer.max_epoch=3": r"unknown key 'trainer.max_epoch'; did you mean 'trainer.max_epochs'\?",
    "max_epochs=3": r"unknown key 'max_epochs'; did you mean 'trainer.max_epochs'\?",
    "data.lables=x": r"unknown key 'data.lables'; did you mean 'data.labels'\? It comes with .*custom.",
    "backbone=7": r"backbone has no option '7'; choose from auto, convnext_tiny, .*timm$",
    "loss=[heatmap_ce,3]": r"loss has no option '3'; ",
    "data.folder=x": r"unknown key 'data.folder'; data=streaming has it$",
    "data.keypoints=[a]": r"unknown key 'data.keypoints'; data=custom has it",
    "augment.rotate=3": r"unknown key 'augment.rotate'; augment=light or strong has it",
    "optimizer.momentum=0.9": r"unknown key 'optimizer.momentum'; optimizer=sgd has it",
    "lr=0.1": r"unknown key 'lr'; did you mean 'optimizer.lr'\?",
    "backbone.widht=8": r"unknown key 'backbone.widht'; did you mean 'backbone.width'\?",
    "~callbacks.emma": r"unknown key 'callbacks.emma'; did you mean 'callbacks.ema'\?",
    "modl=dsa": r"unknown key 'modl'; did you mean 'model'\?",
    "zzz=1": r"unknown key 'zzz'; choose from .*trainer",
    "model=dsaa": r"model has no option 'dsaa'; did you mean 'dsa'\? \(options: baseline, cbam_spatial, dsa\)",
    "loss=[heatmap_ce,nope]": r"loss has no option 'nope'; choose from axis_ce, .*, variance",
    "experiment=nope": r"experiment has no option 'nope'; choose from fly_wing, .*ultrasound_tongue",
    "loss=[]": r"the loss has no terms; choose at least one, such as loss=heatmap_ce",
    "data=custom": r"data.labels has no value; add to the command line: data.labels=...",
    "backbone=timm": r"backbone.name has no value; add to the command line: backbone.name=...",
    "word": r"'word' is not KEY=VALUE; quote an argument that contains spaces",
    "data.size=[64,": r"'data.size=\[64,' cannot be read as KEY=VALUE",
    "head.temperature=0": r"temperature must be positive, got 0",
    "attention.temperature=-1": r"temperature must be positive, got -1",
    "attention.gate=relu": r"gate 'relu' is unknown; choose from sigmoid, hardsigmoid",
    "head.window=4": r"window must be an odd number of cells, got 4; try 5",
    "loss.heatmap_ce.sigma=0": r"sigma must be positive, got 0",
    "decoder.stride=3": r"decoder.stride must be a power of two up to the backbone's 32, got 3",
    "model.attention_stages=[7]": r"model.attention_stages names stage 7, but the backbone returns 2, 3, 4, 5",
    "data.size=100": r"image height 100 is not divisible by .* 32; set data.size to a multiple, such as 128, or model.",
    "data.size=[64,100]": r"image width 100 is not divisible by",
    "data.size=big": r"data.size=big is no size; give one number for a square, or \[height,width\]",
    "optimizer.lr=fast": r"optimizer.lr=fast is no number, as [\d.]+ is$",
    "checkpoint_every=5": r"checkpoint_every=5 is one value, and checkpoint_every has keys; set checkpoint_every.min",
    "callbacks.ema=false": r"callbacks.ema=false is no callback, which has a _target_; drop it with '~callbacks.ema'$",
    "callbacks={ema: false}": r"callbacks.ema=false is no callback, .*; drop it with '~callbacks.ema'$",
    "+logger.mine={save_dir: a}": r"logger.mine={save_dir:a} is no logger, which .*; drop it with '~logger.mine'$",
    "loss.keypoint_weights=2": r"loss.keypoint_weights=2: give weights by name, such as {nose: 2}$",
    "seed=lucky": r"seed=lucky: give a whole number from 0 on",
    "optimizer.lr=1e30": r"the training diverged: val/epe is nan after 2 steps, and no epoch was better; lower",
    "scheduler.warmup=2": r"scheduler.warmup is a fraction of the run in \[0, 1\), got 2",
    "trainer.max_epochs=-1": r"no end that a schedule could aim at; set minutes or trainer.max_epochs",
    "trainer.max_epochs=0": r"trainer.max_epochs=0: give a whole number from 1 on",
    "trainer.limit_test_batches=0.1": r"trainer.limit_test_batches=0.1 of 2 batches is less than one; give a larger",
    "seed=1.5": r"seed=1.5: give a whole number from 0 on",
    "callbacks.ema.decay=2": r"callbacks.ema.decay must be in \[0, 1\), got 2",
    "scene.difficulty=7": r"difficulty 7 is outside \[0, 1\]",
    "data.test=0": r"data.train, data.val and data.test must be at least 1, got .*'test': 0",
    "resume=/nowhere/last.ckpt": r"no checkpoint at /nowhere/last.ckpt; a run keeps its own in checkpoints/",
    "backbone.weights=/nowhere.pth": r"backbone.weights: no file at /nowhere.pth",
    "~callbacks.pictures": r"callbacks.pictures is now callbacks.dashboard; rename it",
    "callbacks.pictures.pictures=4": r"callbacks.pictures.pictures is now callbacks.dashboard.images; rename it",
    "callbacks.final_test=null": r"callbacks.final_test=null is no callback, .* drop it with '~callbacks.final_test'",
    "++trainer.foo=1": r"trainer: .*unexpected keyword argument 'foo'",
}


def one_line(ending: tuple[int, str, str], message: str) -> None:
    code, _, err = ending
    assert code == 1 and "Traceback" not in err and len(err.splitlines()) == 1, err
    assert re.match(rf"error: .*{message}", err), err


@pytest.mark.parametrize("word", MISTAKES)
def test_mistake_on_the_command_line(word: str, start: Callable) -> None:
    group = word.lstrip("+~").split("=")[0]
    # An option that replaces a group must not find the small one's keys changed.
    words = [w for w in tiny() if group not in ("data", "backbone", "experiment") or not w.startswith(f"{group}.")]
    words = [w for w in words if group != "data" or not w.startswith("backbone.")]  # a choice of data is one of both
    words = [w for w in words if w.split("=")[0] != group] if group in ("data.size", "data.test") else words
    one_line(start("train", *words, word), MISTAKES[word])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("data.keypoints=[nsoe]", r"data.keypoints: no keypoint is named 'nsoe'; did you mean 'nose'\?"),
        ("data.lables=x", r"unknown key 'data.lables'; did you mean 'data.labels'\?"),
        ("data.out_of_frame=ignore", r"data.out_of_frame='ignore': choose from error, drop"),
        ("data.splits=/nowhere.csv", r"split file /nowhere.csv does not exist"),
        ("data.labels=/nowhere.csv", r"labels /nowhere.csv do not exist; name a label file"),
        ("data.edges=[[nose,ears]]", r"no keypoint is named 'ears'"),
    ],
)
def test_mistake_about_labels(word: str, message: str, start: Callable, tmp_path: Path) -> None:
    one_line(start("train", *labeled(write_labels(tmp_path / "data")), word), message)


def test_nothing_labeled(start: Callable, tmp_path: Path) -> None:
    missing = [(i, k) for i in range(12) for k in range(4)]
    words = labeled(write_labels(tmp_path / "data", missing=missing))
    one_line(start("train", *words), "no subject is labeled in its 12 images; label some")


def test_no_test_image(start: Callable, tmp_path: Path) -> None:
    words = labeled(write_labels(tmp_path / "data"))
    splits = tmp_path / "splits.csv"
    splits.write_text("image,split\n" + "".join(f"video{i % 4}/img{i:02}.png,train\n" for i in range(12)))
    one_line(start("train", *words, f"data.splits={splits}"), "has no test image among the 12 labeled")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("data.size=100", r"image height 100 is not divisible by the network's stride 32"),
        ("decoder.stride=3", r"decoder.stride must be a power of two"),
        ("trainer.limit_test_batches=0", r"trainer.limit_test_batches=0 leaves no test batch"),
    ],
)
def test_a_mistake_is_found_before_an_image_is_decoded(
    start: Callable, tmp_path: Path, word: str, message: str
) -> None:
    words = [w for w in labeled(write_labels(tmp_path / "data")) if w.split("=")[0] != word.split("=")[0]]
    spoil(tmp_path / "data" / "video1" / "img05.png")
    one_line(start("train", *words, word), message)


@pytest.mark.parametrize(
    ("spoil_file", "message"),
    [
        (
            Path.unlink,
            r"does not exist; .*the other 11 images are in data.images=.*: restore it, or correct its name, or",
        ),
        (lambda path: path.write_bytes(path.read_bytes()[:-200]), r"cannot be decoded: .*; copy it again"),
    ],
    ids=["missing", "damaged"],
)
def test_image_that_cannot_be_read(start: Callable, tmp_path: Path, spoil_file: Callable, message: str) -> None:
    words = labeled(write_labels(tmp_path / "data"))
    spoil_file(tmp_path / "data" / "video1" / "img05.png")
    one_line(start("train", *words), rf".*labels.csv line 9: image .*img05.png {message}")


def test_many_damaged_images_are_one_message(start: Callable, tmp_path: Path) -> None:
    words = labeled(write_labels(tmp_path / "data"))
    for path in (tmp_path / "data").glob("video*/*.png"):
        path.write_bytes(path.read_bytes()[:-200])
    ending = start("train", *words)
    assert ending.code == 1 and "Traceback" not in ending.err
    assert "labels.csv: 12 rows cannot be used" in ending.err and "... and 7 more" in ending.err
    assert re.search(r"see all findings about the labels by .*inspect data=custom data.labels=\S+ ", ending.err)


@pytest.mark.parametrize("workers", [0, 1])
def test_image_that_is_damaged_while_training(start: Callable, tmp_path: Path, workers: int) -> None:
    words = labeled(write_labels(tmp_path / "data"), f"data.num_workers={workers}", "data.verify=false")
    for path in (tmp_path / "data").glob("video*/*.png"):  # whichever is drawn first
        spoil(path)
    ending = start("train", *words)
    assert ending.code == 1 and "Traceback" not in ending.err
    message = ending.err.splitlines()[-1]  # below what the decoder itself may print
    assert re.match(r"error: image .*video\d/img\d\d.png cannot be decoded: .*; copy it again", message)


def test_resuming_something_else(start: Callable, tmp_path: Path, run: Path) -> None:
    ckpt = f"resume={run / 'checkpoints' / 'last.ckpt'}"
    words = [f"data.labels={run.parent / 'labels.csv'}", f"data.images={run.parent / 'moved'}"]
    words = labeled(["data=custom", *words], ckpt, "trainer.max_epochs=3")
    one_line(start("train", *words, "data.keypoints=[nose,tail]"), "the checkpoint predicts 4 keypoints .* data has 2")
    one_line(start("train", *words, "seed=1"), r"trained on another split: \d+ images differ in \w+, first video")
    one_line(start("train", *tiny(), ckpt), "the checkpoint was not trained on SyntheticData, so its split")
    one_line(start("train", *words, "decoder.channels=16"), "the checkpoint holds another network: .* tensors differ")
    (tmp_path / "text.ckpt").write_text("hello")
    one_line(start("train", *words, f"resume={tmp_path / 'text.ckpt'}"), "text.ckpt is no checkpoint of softpoint")
    one_line(start("train", *words, "trainer.max_epochs=2"), "nothing to test: the run ended after all of its 2 ep")


def test_precision_that_rounds_labels(start: Callable) -> None:
    one_line(start("train", *tiny(), "trainer.precision=bf16-true"), "bf16-true would round the labels themselves")


def test_a_sweep_goes_on_after_a_job_that_fails(start: Callable, tmp_path: Path) -> None:
    words = tiny("head.window=4,5", f"hydra.sweep.dir={tmp_path / 'sweep'}")
    ending = start("train", "-m", *words)
    assert ending.code == 1 and "0: window must be an odd number" in ending.err
    assert read_csv(tmp_path / "sweep" / "1" / "test.csv")


def test_a_bug_keeps_its_traceback(start: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    import softpoint.data.datamodule

    def broken(*_: object) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr(softpoint.data.datamodule, "EpochSampler", broken)
    with pytest.raises(TypeError, match="a bug"):
        start("train", *tiny())


def test_a_traceback_is_printed_on_request(start: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOFTPOINT_TRACEBACK", "1")
    ending = start("train", *tiny("head.window=4"))
    assert ending.code == 1 and "Traceback" in ending.err and "error: window must be an odd" in ending.err


def test_the_process_ends_with_code_1_and_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "scripts/train.py", *SMALL, "trainer.max_epoch=3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == "error: unknown key 'trainer.max_epoch'; did you mean 'trainer.max_epochs'?\n"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("predict", "ckpt and source have no value; add to the command line: ckpt=... source=..."),
        ("evaluate", "ckpt has no value; add to the command line: ckpt=..."),
        ("export", "ckpt has no value; add to the command line: ckpt=..."),
        ("convert", "have no value; add to the command line: "),
        ("serve", "no value; add to the command line: "),
        ("compare", "no study is chosen; choose study=OPTION from "),
        ("crossval", "has no folds"),
        ("curve", "no axis: give numbers of training images as labels="),
    ],
)
def test_a_command_without_arguments(
    start: Callable, command: str, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    one_line(start(command), re.escape(message))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--hlep"], "unknown option '--hlep'; did you mean '--help'"),
        (["trian"], "no command 'trian'; did"),
        (["train", "--cfg", "jb"], "--cfg=jb: did you mean 'job'?"),
    ],
)
def test_mistake_before_hydra(words: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from softpoint import cli

    monkeypatch.setattr(sys, "argv", ["softpoint", *words])
    with pytest.raises(SystemExit, match=message):
        cli.main()


def test_help_of_a_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from softpoint import cli

    monkeypatch.setattr(sys, "argv", ["softpoint", "help"])
    cli.main()
    assert "softpoint COMMAND --help" in capsys.readouterr().out


def test_a_full_disk_is_told_with_the_way_on_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_end, "here", str)
    trainer = SimpleNamespace(default_root_dir=str(tmp_path))

    def told() -> str:
        error = RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")
        run_end.tell_way_on(trainer, error)
        return resource_message(error)

    assert told().endswith("free space and start again")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    assert re.search(rf"free space and continue by \S.* {tmp_path}$", told())
