"""What a command line may contain: names that look like numbers, keys of earlier versions, options of groups."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from helpers.training import CONFIGS, tiny
from softpoint.cli import COMMANDS
from softpoint.cli.command_help import comments
from softpoint.cli.hydra_app import with_text
from softpoint.renamed_keys import REMOVED_KEYS, RENAMED_KEYS

# Keys of earlier versions that are not of the train command.
COMMAND_OF = {"pictures": "predict", "hide": "predict", "unlabelled": "inspect", "write_docs": "crossval"}
NUMBERS = ["7", "2024_01", "1e5", "true", "nan", "0x1f", "-3"]


@pytest.mark.parametrize("number", NUMBERS)
def test_the_value_of_a_path_is_the_text_that_was_typed(number: str) -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        for word, expected in ((f"data.labels={number}", number), (f"data.labels=[{number},a]", [number, "a"])):
            cfg = compose("train", ["data=custom", with_text(word, {"data.labels"})])
            assert cfg.data.labels == expected
    for word in ("data.labels=null", "data.labels='7'", "data.labels=${name}", "data.limit=7", "~data.labels"):
        assert with_text(word, {"data.labels"}) == word


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("evaluate ckpt=2024_01 output=5", "2024_01"),
        ("evaluate ckpt=[2024_01,2024_02] output=5", "2024_01"),
        ("predict ckpt=2024_01 source=6 output=7", "2024_01"),
        ("export ckpt=2024_01 output=7", "2024_01"),
        ("serve model=2024_01", "2024_01"),
        ("inspect data.labels=2024_01 output=1", "labels 2024_01 "),
        ("convert labels=2024_01 to=csv output=123 images=7", "labels 2024_01 "),
        ("pack data.labels=2024_01 data.images=3 output=123", "labels 2024_01 "),
        ("fetch mirror_mous root=123", "mirror_mous"),
        ("weights fetch movenet root=123", "movenet"),
        ("demo softmax file=2024_01 output=7", "2024_01"),
        ("train data=custom data.labels=2024_01 hydra.run.dir=run", "labels 2024_01 "),
        ("train data.labels=2024_01 hydra.run.dir=run", "labels 2024_01 "),
        ("train resume=2024_01 hydra.run.dir=run", "2024_01"),
        ("crossval data.labels=2024_01 output=123 page=456", "labels 2024_01 "),
    ],
)
def test_names_may_be_numbers(
    start: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ending = start(*words.split())
    assert ending.code == 1 and "Traceback" not in ending.err and f"{named}" in ending.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("old", "plus"), [(old, ["", "++"][i % 2]) for i, old in enumerate([*RENAMED_KEYS, *REMOVED_KEYS])]
)
def test_a_key_of_an_earlier_version_is_refused_with_the_way_out(start: Callable, old: str, plus: str) -> None:
    ending = start(COMMAND_OF.get(old, "train"), f"{plus}{old}=1")
    way_out = f"is now {RENAMED_KEYS[old]}; rename it" if old in RENAMED_KEYS else REMOVED_KEYS[old]
    assert ending.code == 1 and ending.err == f"error: {old} {way_out}"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_lists_the_groups_that_the_command_chooses_from(start: Callable, command: str) -> None:
    ending = start(command, "--help")
    assert not ending.code and f"softpoint {command} " in ending.out, ending.err
    assert [line for line in ending.out.splitlines() if len(line) > 100] == []
    groups_part = ending.out.partition("\nConfig (")[0].replace(",\n  ", ", ")
    listed = dict(re.findall(r"^(\w+): ((?:[\w+]+, )*[\w+]+)$", groups_part, re.MULTILINE))
    for group, options in listed.items():
        assert options.split(", ") == sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        trains = command in ("resume", "crossval", "curve", "compare", "ensemble", "tune")
        choices = compose("train" if trains else command, return_hydra_config=True).hydra.runtime.choices
    groups = {group.partition("@")[0] for group in choices if not group.startswith("hydra")}
    hidden = {"name", "epochs", "augment", "datamodule"} - (
        {"name", "epochs", "augment"} if command == "train" else set()
    )
    assert not {line.partition(":")[0] for line in ending.out.partition("\nConfig (")[2].splitlines()} & hidden
    if trains or command == "train":  # studies take the groups of the trainings
        assert set(listed) == groups | {"loss", *(["study"] if command == "compare" else [])}
    elif command in ("fetch", "weights"):  # whose `list` shows more
        assert listed == {}
    else:  # a choice of data brings a backbone and an augmentation, which only training uses
        assert set(listed) == groups & {"data", "study"}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["train", "--help"], "data.labels=???               # a label file"),  # first, though data=synthetic has none
        (["train", "--help"], "\n    sigma: 3.0                # width of the Gaussian target"),
        (["train", "data=custom", "--help", "data"], "\n  val: 0.1                    # fractions of the images,"),
        (["train", "data=custom", "--help", "data"], "\n  openfield                   # DeepLabCut's example"),
        (["crossval", "data=custom", "--help", "data.mode"], "mode: image                   # one subject per image;"),
        (["compare", "--help", "on"], "on: null                      # a name of data=NAME"),
        (["crossval", "--help", "folds"], "folds: 5                      # each is tested once"),
        (["train", "--help", "data.folder"], "With data=streaming:\n\nfolder: ???                   # or an address"),
        (["train", "--help", "loss", "head"], "\n\nhead (choose with head=OPTION)"),
        (["resume", "RUN", "--help"], "softpoint resume outputs/NAME/DATE minutes=30"),
        (["resume", "--help", "minutes"], "minutes: null                 # train for so many minutes"),
    ],
)
def test_help_keeps_the_comments_of_the_config(start: Callable, words: list[str], text: str) -> None:
    ending = start(*words)
    assert not ending.code and text in f"\n{ending.out}", ending.out


@pytest.mark.parametrize(
    ("command", "topic", "message"),
    [
        ("train", "dta", "did you mean 'data'?"),
        ("train", "lr", "did you mean 'optimizer.lr'?"),
        ("train", "labels", "did you mean 'data.labels'? It comes with data=custom."),
        ("predict", "backbone", "choose from ckpt, source, window,"),  # no group that it chooses from
        ("explore", "augment", "did you mean 'data.augment'?"),
        ("train", "loss.visibility._target_", "choose from loss, weight"),
    ],
)
def test_help_of_what_a_command_does_not_have_names_the_nearest(
    start: Callable, command: str, topic: str, message: str
) -> None:
    ending = start(command, "--help", topic)
    assert ending.code == 1 and f"error: --help {topic}: unknown key {topic!r}; {message}" in ending.err, ending.err
    assert "_target_" not in ending.err.partition(";")[2]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["help", "predict", "device"], "device: cpu"),
        (["--help", "predict", "device"], "device: cpu"),
        (["--help", "predct"], "did you mean 'predict'?"),
        (["predict", "--cfg"], "error: --cfg needs a value"),
        (["predict", "data.labels=1"], "unknown key 'data.labels'; choose from ckpt"),
        (["train", "labels=1"], "unknown key 'labels'; did you mean 'data.labels'? It comes with data=custom."),
    ],
)
def test_help_and_keys_are_found_as_they_are_often_typed(start: Callable, words: list[str], expected: str) -> None:
    ending = start(*words)
    assert expected in ending.out + ending.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("predict ckpt=a source=[b,c]", "source=['b', 'c']: give one; softpoint predict --help source says"),
        ("export ckpt=[a,b]", "ckpt=['a', 'b']: give one"),
        ("demo softmax file={a:1}", "file={'a': 1}: give one"),
        ("predict ckpt=a source=b images=no", "images=no: write true or false"),
        ("inspect data.verify=off data.labels=a", "data.verify=off: write true or false"),
        ("predict ckpt=a source=b formats=3", "no checkpoint at a"),
    ],
)
def test_a_value_of_another_kind_is_named(
    start: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ending = start(*words.split())
    assert ending.code == 1 and ending.err.startswith("error: ") and message in ending.err, ending.err
    assert not [*tmp_path.iterdir()]


def test_every_option_of_a_group_says_what_it_is() -> None:
    for path in CONFIGS.glob("[!_]*/*.yaml"):
        first = next(line for line in path.read_text().splitlines() if "@package" not in line)
        assert first.startswith("# "), path


@pytest.mark.parametrize("flags", [[], ["--cfg", "job"]])
def test_a_misspelled_group_is_named_also_where_the_config_is_printed(start: Callable, flags: list[str]) -> None:
    assert start("train", "dta.labels=x", *flags).err == (
        "error: unknown key 'dta.labels'; did you mean 'data.labels'? It comes with data=custom."
    )


def test_comments_of_a_config_are_those_of_its_keys() -> None:
    text = (
        "# of the file\na: 'x'  # of a\nb:  # of b,\n      # and more\n  c: [1, 2]# no comment\n# of nothing\n  d: 1\n"
    )
    assert comments(text) == {"a": "of a", "b": "of b, and more"}


def test_the_command_line_takes_a_mode(start: Callable, tmp_path: Path) -> None:
    done = start("train", *tiny("compile=reduce-overhead", f"hydra.run.dir={tmp_path}"))
    assert done.code == 1 and "error: compile=reduce-overhead records CUDA graphs" in done.err
