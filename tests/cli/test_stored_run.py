"""The folder of a run keeps the command that goes on with it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.types import RunMode
from omegaconf import OmegaConf

from helpers.training import CONFIGS, composed
from softpoint.cli.command_line import CommandLine
from softpoint.cli.resume import arguments
from softpoint.cli.stored_run import absolute, keep_words, newest_run, stored_words
from softpoint.paths import LOCK
from softpoint.suggest import quoted

WORDS = ["optimizer=sgd", "data.train=8", "augment=strong", "resume=auto"]


def stored(folder: Path) -> Path:
    """A run's folder, whose rate and patience were other defaults than today's."""
    cfg = composed("train", [*WORDS, "optimizer.lr=0.123"], folder)
    keep_words(folder, cfg, WORDS)
    started = {"runtime": {"cwd": str(Path.cwd()), "config_sources": []}}
    OmegaConf.save({"hydra": started}, folder / ".hydra" / "hydra.yaml")
    return folder


def test_the_stored_config_is_the_start_and_words_change_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = stored_words(stored(tmp_path), ["data.train=9"])
    assert words == [*WORDS[:3], "optimizer.lr=0.123", "hydra.mode=RUN", "data.train=9"]
    assert capsys.readouterr().out == "optimizer.lr=0.123, as in the run: the default is another one now\n"
    cfg = CommandLine("train", words).compose()
    assert cfg is not None and (cfg.optimizer.lr, cfg.data.train, cfg.optimizer.nesterov) == (0.123, 9, True)
    assert "optimizer.lr=0.5" in stored_words(tmp_path, ["optimizer.lr=0.5"])
    with pytest.raises(FileNotFoundError, match="is not the folder of a run"):
        stored_words(tmp_path / "nowhere")


def test_options_that_were_the_default_then_are_chosen_again(tmp_path: Path) -> None:
    started = OmegaConf.load(stored(tmp_path) / ".hydra" / "hydra.yaml")
    started.hydra.runtime.choices = {"backbone": "resnet18", "optimizer": "sgd", "gone": "old", "hydra/help": "none"}
    OmegaConf.save(started, tmp_path / ".hydra" / "hydra.yaml")
    OmegaConf.save(composed("train", [*WORDS, "backbone=resnet18"], tmp_path), tmp_path / ".hydra" / "config.yaml")
    words = stored_words(tmp_path)
    assert words == [*WORDS[:3], "backbone=resnet18", "hydra.mode=RUN"]
    assert "backbone=resnet18" not in stored_words(tmp_path, ["backbone=resnet34"])


def test_a_checkpoint_names_its_run(tmp_path: Path) -> None:
    best = stored(tmp_path) / "checkpoints" / "best.ckpt"
    assert arguments([str(best), "data.train=9"])[-2:] == ["data.train=9", f"resume={quoted(best)}"]


@pytest.mark.parametrize("words", [("--from", "a"), ("--from=a",)])
def test_further_processes_find_a_run_from_its_own_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: Sequence[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["softpoint", "train", *words, "seed=1"])
    assert absolute("a") == tmp_path / "a"
    assert "=".join(sys.argv[2:-1]) == f"--from={tmp_path / 'a'}" and sys.argv[-1] == "seed=1"


def test_a_run_of_a_sweep_starts_another_only_if_asked(tmp_path: Path) -> None:
    stored(tmp_path)
    OmegaConf.save(OmegaConf.create(["sweep=learning_rate"]), tmp_path / ".hydra" / "overrides.yaml")
    modes = {RunMode.RUN: ["seed=1"], RunMode.MULTIRUN: ["sweep=attention"]}
    assert "sweep=learning_rate" not in stored_words(tmp_path, ["-m", "seed=1,2"])
    for mode, changes in modes.items():
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            words = stored_words(tmp_path, changes)
            assert compose("train", words, return_hydra_config=True).hydra.mode == mode
    assert "hydra.mode=RUN" not in stored_words(tmp_path, ["-m", "seed=1,2"])


def test_a_job_finds_the_newest_run_of_its_command(tmp_path: Path) -> None:
    for name in ("2026-01-01", "2026-01-02"):
        stored(tmp_path / name)
    (tmp_path / "2026-01-03").mkdir()
    (tmp_path / "2026-01-01" / LOCK).write_text("pid=1 host=a job=7")
    assert newest_run(tmp_path, WORDS[:3]) == tmp_path / "2026-01-02"
    assert newest_run(tmp_path, WORDS[:3], job="7") == tmp_path / "2026-01-01"
    assert newest_run(tmp_path, WORDS[:2]) is None
    for name, folder in (("last.ckpt", "2026-01-01"), ("last-previous.ckpt", "2026-01-02")):
        (tmp_path / folder / "checkpoints").mkdir()
        (tmp_path / folder / "checkpoints" / name).touch()  # the newest run that can go on
        assert newest_run(tmp_path, WORDS[:3]) == tmp_path / folder


@pytest.mark.parametrize("words", [["resume"], ["resume", "nowhere"], ["train", "--from", "nowhere"]], ids=" ".join)
def test_a_folder_that_is_no_run_is_refused(start, words: list[str]) -> None:
    ending = start(*words)
    assert ending.code == 1 and "error: " in ending.err and "outputs/NAME/DATE" in ending.err
