"""A training downloads the published weights that its backbone lacks, once, and only where it may."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from helpers.studies import Pretence, last_parts
from helpers.training import SMALL, composed, write_labels
from softpoint.cli import train
from softpoint.cli.build import build
from softpoint.cli.first_weights import fetch_missing, settle_backbone, settle_weights
from softpoint.models import MoveNet
from softpoint.training.checkpoint_io import LAST

NAMES = {"json": "net.json", "bin": "net.bin"}


@pytest.fixture
def backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The config of a backbone whose published weights, one number, lie among the downloads of `tmp_path`."""
    monkeypatch.delenv("HF_HUB_OFFLINE")
    (tmp_path / "downloads").mkdir()
    weight = {"name": "a/model/Conv1/Conv2D_weights", "shape": [1, 1, 1, 1], "dtype": "float32"}
    manifest = {"weightsManifest": [{"paths": [NAMES["bin"]], "weights": [weight]}]}
    contents = {"json": json.dumps(manifest).encode(), "bin": np.float32(7).tobytes()}
    parts = []
    for kind, content in contents.items():
        (tmp_path / "downloads" / NAMES[kind]).write_bytes(content)
        part = {"_target_": "softpoint.datasets.RemoteFile", "url": "http://127.0.0.1:1/", "file": NAMES[kind]}
        parts.append(part | {"size": len(content), "checksum": f"sha256:{sha256(content).hexdigest()}"})
    recipe = {"_target_": "softpoint.datasets.StartingWeights", "title": "a net", "license": "MIT", "source": "here"}
    convert = {"_target_": "softpoint.inference.published_weights.movenet", "_partial_": True}
    recipe |= {"file": "net.safetensors", "files": parts, "convert": convert}
    (tmp_path / "configs" / "weights").mkdir(parents=True)
    OmegaConf.save(OmegaConf.create(recipe), tmp_path / "configs" / "weights" / "net.yaml")
    monkeypatch.setattr("softpoint.cli.first_weights.CONFIGS", tmp_path / "configs")
    return {"name": "net", "pretrained": None, "weights": None, "folder": str(tmp_path / "weights")}


def test_missing_weights_are_downloaded_once(
    backbone: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch_missing(backbone)
    path = tmp_path / "weights" / "net.safetensors"
    assert load_file(path)["stem.weight"].item() == 7
    assert capsys.readouterr().out == f"downloading starting weights, once: a net (MIT), to {path}\n"
    fetch_missing(backbone)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "change", [{"pretrained": False}, {"weights": "own.safetensors"}, {"name": "other"}, {"folder": None}]
)
def test_weights_that_are_not_wanted_or_not_published_are_left_alone(
    backbone: dict[str, Any], tmp_path: Path, change: dict[str, Any]
) -> None:
    fetch_missing(backbone | change)
    fetch_missing({})
    assert not (tmp_path / "weights").exists()


def test_a_training_without_a_network_downloads_nothing(
    backbone: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    fetch_missing(backbone)
    assert not (tmp_path / "weights").exists()


def test_a_download_that_fails_is_a_warning(
    backbone: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "downloads" / NAMES["bin"]).write_bytes(b"four")
    fetch_missing(backbone)
    assert "no starting weights could be downloaded: " in caplog.text and "differs from the file" in caplog.text
    assert not list((tmp_path / "weights").glob("*.safetensors"))


LABELED = ["data=custom", "data.labels=labels.csv"]


def chosen(
    folder: Path, *words: str, choice: str = "auto", before: dict[str, Any] | None = None, on_cpu: bool = True
) -> tuple[str, str]:
    """The name of the backbone that a training comes to, and what it says about it."""
    cfg = composed("train", [*LABELED, *words], folder)
    trainer = SimpleNamespace(
        world_size=1, strategy=SimpleNamespace(root_device=torch.device("cpu" if on_cpu else "meta"))
    )
    line = settle_backbone(cfg, choice, before or {}, trainer)
    return cfg.backbone.name, line


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of MoveNet's weights where trainings look for it, with one thread to train."""
    monkeypatch.setenv("SOFTPOINT_DATA", str(tmp_path))
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)
    path = tmp_path / "weights" / "movenet_lightning.safetensors"
    path.parent.mkdir()
    path.touch()
    return path


def test_a_short_training_on_a_cpu_starts_from_poses(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long, short = "tf_efficientnet_lite0", "movenet_lightning"
    name, line = chosen(tmp_path, "minutes=6")
    assert name == short and line.startswith("backbone=movenet_lightning, which learns fastest: minutes=6 is short")
    assert chosen(tmp_path, "minutes=6", on_cpu=False) == (long, "")
    for words in ([], ["minutes=7"], ["minutes=six"], ["minutes=-1"], ["minutes=6", "backbone.pretrained=false"]):
        assert chosen(tmp_path, *words) == (long, ""), words
    assert chosen(tmp_path, "minutes=6", choice="efficientnet_lite0") == (long, "")
    assert chosen(tmp_path, "minutes=6", f"backbone.folder={weights.parent}")[0] == short
    assert chosen(tmp_path, "minutes=6", "backbone.folder=without") == (long, "")
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    assert chosen(tmp_path, "minutes=3.5") == (long, "")
    weights.unlink()
    assert chosen(tmp_path, "minutes=3") == (long, "")


def test_a_training_follows_the_model_that_it_goes_on_with(weights: Path, tmp_path: Path) -> None:
    long, short = "tf_efficientnet_lite0", "movenet_lightning"
    for name, minutes in ((short, 60), (long, 3)):
        before = {"model": {"backbone": {"name": name}}}
        assert chosen(tmp_path, f"minutes={minutes}", before=before) == (name, "")
        assert chosen(tmp_path, f"minutes={minutes}", "backbone.folder=new", before=before) == (name, "")
    assert chosen(tmp_path, "minutes=3", before={"model": {"net": "of a user"}}) == (long, "")


def test_a_short_training_starts_goes_on_and_says_so_once_for_all(
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save_file(MoveNet("movenet_lightning").state_dict(), weights)
    words = [*write_labels(tmp_path / "data"), *SMALL, "data.epoch_steps=1", "data.size=[64,64]", "augment=none"]
    words += ["attention=none", "minutes=1", "trainer.accelerator=cpu"]
    run = tmp_path / "run"
    train.main(composed("train", [*words, "trainer.max_steps=1"], run))
    assert "started from Google MoveNet SinglePose 4" in (out := capsys.readouterr().out)
    assert "backbone=movenet_lightning, which learns fastest: minutes=1 is short" in out
    weights.unlink()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("softpoint.cli.first_weights.fetch_missing", lambda node: pytest.fail("a download"))
    for steps in (2, 3):
        going_on = ["minutes=60", "resume=auto", "hydra.output_subdir=null"]
        train.main(composed("train", [*words, f"trainer.max_steps={steps}", *going_on], run))
        out = capsys.readouterr().out
        assert "backbone." not in out  # nothing of it has changed
        assert "started from Google MoveNet SinglePose 4" in out and "random weights" not in out + caplog.text
        stored = torch.load(run / "checkpoints" / LAST, weights_only=True)
        assert stored["hyper_parameters"]["backbone"]["name"] == "movenet_lightning" and stored["global_step"] == steps
    kept = OmegaConf.load(run / ".hydra" / "config.yaml")
    assert kept.backbone.name == "tf_efficientnet_lite0"  # what auto composes, so that the next start chooses again
    assert kept.backbone.pretrained is None and kept.data.pixels == "auto"
    more = tmp_path / "more"
    train.main(composed("train", [*words, "trainer.max_steps=1", f"init={run}"], more))
    assert "started from run/best.ckpt, which started from Google MoveNet" in capsys.readouterr().out
    assert "random weights" not in caplog.text
    stored = torch.load(more / "checkpoints" / LAST, weights_only=True)
    assert stored["hyper_parameters"]["backbone"]["pretrained"] is None


@pytest.mark.parametrize(
    ("change", "is_whole"),
    [
        ({}, True),
        ({"backbone": {"pretrained": True, "folder": "elsewhere"}}, True),
        ({"head": {"window": 3}}, True),
        ({"backbone": {"stages": [2, 3]}}, False),
        ({"norm": {"_target_": "softpoint.layers.GroupNorm"}}, False),
        ({"backbone": None}, False),
    ],
)
def test_weights_are_left_out_where_a_model_replaces_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], is_whole: bool
) -> None:
    wanted: list[str] = []
    monkeypatch.setattr("softpoint.cli.first_weights.fetch_missing", lambda node: wanted.append(node.name))
    cfg = composed("train", [*LABELED, "backbone=movenet_lightning", "backbone.weights=file"], tmp_path)
    before = OmegaConf.to_container(OmegaConf.merge(OmegaConf.to_container(cfg.model, resolve=True), change))
    settle_weights(cfg, {"model": before})
    assert wanted == ([] if is_whole else ["movenet_lightning"])
    assert (cfg.backbone.pretrained, cfg.backbone.weights) == ((False, None) if is_whole else (None, "file"))


def test_a_training_downloads_before_it_builds_its_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    monkeypatch.setattr(
        "softpoint.cli.first_weights.fetch_missing", lambda node: steps.append(f"downloads {node['name']}")
    )
    monkeypatch.setattr("softpoint.models.MoveNet._start", lambda self, *_: steps.append("builds"))
    words = [*write_labels(tmp_path / "data"), *SMALL, "backbone=movenet_lightning", "data.epoch_steps=1"]
    build(composed("train", words, tmp_path / "run"))
    assert steps[:2] == ["downloads movenet_lightning", "builds"]


def backbones(pretence: Pretence) -> list[list[str]]:
    """The overrides of each training's backbone."""
    return [[word for word in words if word.startswith("backbone")] for words in pretence.overrides]


def test_a_study_that_goes_on_elsewhere_keeps_its_start(
    weights: Path, start: Callable, pretence: Pretence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["data=mirror_mouse", "minutes=3", "data.size=[64,64]", f"output={tmp_path / 'out'}", "folds=3"]
    done = start("crossval", *words)
    assert done.code == 0, done.err
    assert backbones(pretence) == [["backbone=movenet_lightning"]] * 3
    assert done.out.count("backbone=movenet_lightning, which learns fastest: minutes=3 is short") == 1
    monkeypatch.setattr("torch.get_num_threads", lambda: 8)
    pretence.clear()
    done = start("crossval", *words, "seeds=[0,4]")
    assert done.code == 0, done.err
    assert backbones(pretence) == [["backbone=movenet_lightning"]] * 3 and "learns fastest" not in done.out
    pretence.clear()
    done = start("crossval", *words[:3], f"output={tmp_path / 'new'}", "folds=3")
    assert backbones(pretence) == [["backbone=efficientnet_lite0"]] * 3, done.err


def test_a_study_takes_no_other_backbone_than_auto_chooses(
    weights: Path, start: Callable, pretence: Pretence, tmp_path: Path
) -> None:
    words = ["data=mirror_mouse", "minutes=3", "data.size=[64,64]", f"output={tmp_path / 'out'}", "folds=2"]
    assert start("crossval", *words, "backbone=small").code == 0
    refused = start("crossval", *words)
    assert refused.code == 1 and "holds a training run of another config, which differs in backbone" in refused.err


def test_the_longest_training_of_a_study_decides_the_start_of_all(
    weights: Path, start: Callable, pretence: Pretence, tmp_path: Path
) -> None:
    for budgets, name in (("[3,6]", "movenet_lightning"), ("[3,12]", "efficientnet_lite0")):
        pretence.clear()
        done = start("curve", "data=mirror_mouse", f"budgets={budgets}", f"output={tmp_path / name}")
        assert done.code == 0 and backbones(pretence) == [[f"backbone={name}"]] * 2, done.err
    pretence.clear()
    own = ["+study.variants.own=['backbone=small']", "+study.variants.long=['minutes=9']"]
    few = [f"~study.variants.{name}" for name in ("simcc", "channel_softmax", "regression", "multi_scale")]
    words = ["study=heads", "on=mirror_mouse", "minutes=3", "timing.rounds=0", "seeds=[0]", *few, *own]
    done = start("compare", *words, f"output={tmp_path / 'compared'}")
    assert done.code == 0, done.err
    assert last_parts(pretence.trained) == ["soft_argmax/seed0", "own/seed0", "long/seed0"]
    assert backbones(pretence) == [["backbone=efficientnet_lite0"], ["backbone=small"], ["backbone=efficientnet_lite0"]]


@pytest.mark.parametrize(("minutes", "name"), [("3", "movenet_lightning"), ("7", "tf_efficientnet_lite0")])
def test_a_search_tries_the_backbone_that_the_training_would_choose(
    weights: Path, start: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: str, name: str
) -> None:
    def stop(cfg: Any, initial: Any) -> None:
        raise ValueError(f"{cfg.backbone.name} for {cfg.minutes} minutes")

    monkeypatch.setattr("softpoint.cli.build.build", stop)
    done = start("tune", "data=mirror_mouse", f"minutes={minutes}", f"output={tmp_path / 'out'}")
    assert f"{name} for None minutes" in done.err
