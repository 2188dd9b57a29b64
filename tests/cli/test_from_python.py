"""A training from Python is the run of the command, and leaves the calling program as it was."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

import softpoint
from helpers.training import composed
from softpoint.cli import from_python
from softpoint.cli.overrides import override_value


@pytest.fixture
def instead(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Callable[[DictConfig], Any]], None]:
    """Replace the training itself."""
    monkeypatch.chdir(tmp_path)
    return lambda training: monkeypatch.setattr(from_python, "train_here", training)


def state() -> list[Any]:
    root = logging.getLogger()
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    hydra = [GlobalHydra.instance().hydra, id(HydraConfig.instance().cfg), os.environ.get("HYDRA_FULL_ERROR")]
    return [*sys.argv, Path.cwd(), list(root.handlers), root.level, list(warnings.filters), handlers, hydra]


def test_words_and_settings_compose_the_run_of_the_command(instead: Callable, tmp_path: Path) -> None:
    kept: list[Any] = []

    def training(cfg: DictConfig) -> None:
        (Path(HydraConfig.get().runtime.output_dir) / "result").touch()
        kept.extend([OmegaConf.to_container(cfg, resolve=False), sys.argv[1:]])
        logging.getLogger().setLevel(logging.DEBUG)
        warnings.simplefilter("ignore")

    instead(training)
    words = ["data=custom", "~callbacks.ema", f"data.labels='{tmp_path}/my labels.csv'", "minutes=2"]
    words += ["loss.keypoint_weights={nose:2.5}", "must_work=null", "deterministic=true"]
    expected, before = composed("train", words, tmp_path), state()
    settings = {"data.labels": tmp_path / "my labels.csv", "minutes": 2, "loss.keypoint_weights": {"nose": 2.5}}
    run = softpoint.train("data=custom", "~callbacks.ema", **settings, must_work=None, deterministic=True)
    assert kept[0] == OmegaConf.to_container(expected, resolve=False)
    assert kept[1] == ["train", *words], "further processes repeat it"
    assert run.folder.parent == tmp_path / "outputs/custom" and (run.folder / ".hydra/overrides.yaml").is_file()
    assert state() == before


def test_a_dict_arrives_as_it_was_given() -> None:
    given = {"a:b": 1, "a,b": "x:y", " {c}": None, "d\\": [True], "e=f": {"g (h)": 2.5}, 7: 0, None: 1, True: 2}
    assert OverridesParser.create().parse_override(f"key={override_value(given)}").value() == given


@pytest.mark.parametrize(
    ("words", "settings", "message"),
    [
        (["data=mirror"], {}, "data has no option 'mirror'; did you mean 'mirror_mouse'?"),
        (["--help"], {}, "'--help' is no setting: give 'KEY=VALUE', or"),
        ([], {"1": 2}, "'1=2': '1' cannot be a key; write KEY=VALUE with a key such as seed or data.labels (softpoint"),
        ([], {"": 2}, "'=2': '' cannot be a key"),
        ([], {"data.labels ": "a"}, "'data.labels =a': 'data.labels ' cannot be a key"),
        (["sweep=attention"], {}, "sweep=attention: softpoint.train is one run"),
        ([], {"loss.keypoint_weights": {"1": 2}}, "loss.keypoint_weights: '1' cannot be a key in a setting"),
        ([], {"loss.keypoint_weights": {"null": 2}}, "loss.keypoint_weights: 'null' cannot be a key in a setting"),
        ([], {"minutes": len}, "minutes: <built-in function len> is no plain value"),
    ],
)
def test_a_mistake_is_the_commands_message(
    instead: Callable, words: list[str], settings: dict[str, Any], message: str
) -> None:
    instead(lambda cfg: None)
    before = state()
    with pytest.raises(softpoint.TrainingError) as error:
        softpoint.train(*words, **settings)
    assert str(error.value).startswith(message)
    assert error.value.__context__ is None or error.value.__suppress_context__, "a traceback of Hydra's would be shown"
    assert state() == before


def test_a_failure_of_the_program_stays_itself_and_a_refused_folder_is_a_mistake(instead: Callable) -> None:
    def broken(cfg: DictConfig) -> None:
        raise KeyError("of our own")

    instead(broken)
    with pytest.raises(KeyError, match="of our own"):
        softpoint.train()
    Path("before/checkpoints").mkdir(parents=True)
    Path("before/checkpoints/best.ckpt").touch()
    with pytest.raises(softpoint.TrainingError, match="before holds the checkpoints of a run"):
        softpoint.train("hydra.run.dir=before")


def test_an_interrupt_is_one_of_the_calling_program(instead: Callable) -> None:
    def interrupted(cfg: DictConfig) -> None:
        from softpoint.training.ending import exit_on_signals

        with exit_on_signals():
            signal.raise_signal(signal.SIGINT)

    instead(interrupted)
    before = state()
    with pytest.raises(KeyboardInterrupt):
        softpoint.train()
    assert state() == before


def test_several_processes_are_a_command_of_their_own(instead: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    instead(lambda cfg: pytest.fail("trained in the process of a notebook"))
    started: list[Any] = []
    monkeypatch.setattr(from_python, "train_in_processes", lambda folder, more: started.append((folder, more)))
    run = softpoint.train("trainer.devices=2")
    assert started == [(run.folder, ())]


def test_a_run_is_read_from_its_folder(run: Path) -> None:
    again = softpoint.Run(run)
    (line,) = [line for line in (run / "test.csv").read_text().splitlines() if line.startswith("all,")]
    assert again.metrics["epe"] == pytest.approx(float(line.split(",")[2]))
    assert len(again.predictor.skeleton) == 4 and again.checkpoint == run / "checkpoints/best.ckpt"
