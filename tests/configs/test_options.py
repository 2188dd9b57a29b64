"""Every shipped option composes, names what exists, and trains a step."""

from __future__ import annotations

import copy
import inspect
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf

from helpers.training import CONFIGS, NETWORK, SMALL, built, composed, read_csv, tiny, write_labels
from softpoint.inference import read_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*many workers.*")

# Groups whose options are combined or nested, and what each needs to be complete and small.
NEEDS = {
    "backbone=timm": ["backbone.name=test_resnet"],
    "data=custom": ["data.labels=FILE", "data.images=FOLDER"],
    "data=streaming": ["data.folder=FOLDER"],
    "logger=wandb": ["logger.wandb.offline=true"],
    "semi=mean_teacher": ["data=custom", "data.labels=FILE", "data.unlabeled_images.source=VIDEO"],
}
OPTIONS = [
    f"{path.parent.name}={path.stem}"
    for path in sorted(CONFIGS.glob("*/*.yaml"))
    if path.parent.name not in ("hydra", "experiment", "study", "sweep", "fetch", "weights")
]
EXPERIMENTS = sorted(path.stem for path in (CONFIGS / "experiment").glob("*.yaml"))
PUBLIC = [f"data={path.stem}" for path in sorted((CONFIGS / "fetch").glob("*.yaml"))]
# Those that need another machine, an account or files; they are composed here and trained elsewhere.
ELSEWHERE = (
    "trainer=gpu",
    "trainer=mps",
    "trainer=ddp",
    "trainer=fsdp",
    "data=custom",
    "data=streaming",
    "logger=wandb",
    "logger=mlflow",
    "semi=mean_teacher",
    *PUBLIC,
)
# Every loss with the head that it trains; those that are sums of others, and visibility, are a head's own.
HEADS = {"axis_ce": "simcc", "coordinate_nll": "regression", "pixel_classes": "channel_softmax"}


def options(group: str) -> list[str]:
    return [option for option in OPTIONS if option.startswith(f"{group}=") and option not in ELSEWHERE]


def trainings() -> Iterator[list[str]]:
    """Overrides of trainings that try every option: one backbone each, or one option of every group without its own."""
    for option in options("backbone"):
        yield [option]
    for head in options("head"):
        names = [option.removeprefix("loss=") for option in options("loss")]
        of_head = [name for name in names if f"head={HEADS.get(name, 'soft_argmax')}" == head and "+" not in name]
        terms = dict.fromkeys([*(of_head or ["heatmap_ce"]), "visibility"])
        yield [head, f"loss=[{','.join(terms)}]", "head.visibility=true"]
    apart = ("backbone", "head", "loss", "attention")  # every model names one attention
    groups = sorted({option.partition("=")[0] for option in OPTIONS} - {*apart})
    sums = [option for option in options("loss") if "+" in option and "axis" not in option]
    for chosen in itertools.zip_longest(*map(options, groups), sums):
        yield [option for option in chosen if option]


def targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        for value in node.values():
            yield from targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets(value)


def step(overrides: list[str], folder: Path) -> pl.Trainer:
    """The trainer after a step of training and validation, which must move the network and give a finite loss."""
    module, data, trainer = built(composed("train", [*overrides, "trainer.fast_dev_run=true"], folder))
    before = copy.deepcopy(module.net.state_dict())
    trainer.fit(module, data)
    assert torch.isfinite(trainer.callback_metrics["train/loss"])
    after = module.net.state_dict()
    assert any(not torch.equal(before[key], after[key]) for key in before if before[key].is_floating_point())
    assert all(torch.isfinite(value).all() for value in after.values())
    return trainer


@pytest.mark.parametrize("option", ELSEWHERE)
def test_option_composes_and_names_what_exists(option: str, tmp_path: Path) -> None:
    cfg = composed("train", [option, *NEEDS.get(option, [])], tmp_path)
    names = set(targets(OmegaConf.to_container(cfg, resolve=True)))
    assert names
    for target in names:
        assert callable(get_object(target))


@pytest.mark.parametrize("chosen", [*trainings()], ids=" ".join)
def test_options_train_a_step(chosen: list[str], tmp_path: Path) -> None:
    big = chosen[0].startswith("backbone=") and chosen != ["backbone=small"]
    size = [word for word in tiny() if not (big and word.startswith("backbone."))]
    needed = [word for option in chosen for word in NEEDS.get(option, [])]
    step([*size, "data.batch_size=2", *chosen, *needed], tmp_path)


def test_every_option_is_tried() -> None:
    tried = " ".join(word for chosen in trainings() for word in chosen)
    names = [option for option in OPTIONS if option not in ELSEWHERE and not option.startswith(("loss=", "attention="))]
    assert [name for name in names if name not in tried.split()] == []
    losses = {option.removeprefix("loss=") for option in options("loss")} - {"axis_ce+coordinate"}  # of head=simcc
    assert losses <= {*re.findall(r"[\w+]+", tried)}


@pytest.mark.parametrize(
    ("words", "losses"),
    [
        ("", {"heatmap_ce", "coordinate_l1", "visibility"}),
        ("head=simcc", {"axis_ce", "coordinate_l1", "visibility"}),
        ("head=channel_softmax", {"pixel_classes", "visibility"}),
        ("head=regression", {"coordinate_nll", "visibility"}),
        ("model=baseline head=simcc", {"axis_ce", "coordinate_l1", "visibility"}),
        ("experiment=openfield head=regression", {"coordinate_nll", "visibility"}),
        ("head=simcc loss=axis_ce", {"axis_ce"}),
        ("loss=[axis_ce,visibility] head=simcc data=fly_wing", {"axis_ce", "visibility"}),
        ("head=soft_argmax loss=heatmap_js", {"heatmap_js"}),
    ],
)
def test_a_head_chooses_its_loss_and_the_command_line_another(words: str, losses: set[str], tmp_path: Path) -> None:
    cfg = composed("train", words.split(), tmp_path)
    assert set(cfg.loss) == losses | {"keypoint_weights"}
    assert words.find("head=") < 0 or _option(cfg.head) in words


def _option(head: Any) -> str:
    """The file of configs/head that this one comes from."""
    files = (CONFIGS / "head").glob("*.yaml")
    return next(path.stem for path in files if f"_target_: {head._target_}\n" in path.read_text())


def test_a_head_with_a_loss_that_cannot_train_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"head=simcc .*heatmap_ce .*use loss=\[axis_ce"):
        built(composed("train", tiny("head=simcc", "loss=heatmap_ce"), tmp_path))


@pytest.mark.parametrize("head", options("head"))
def test_a_head_trains_with_its_own_loss_and_a_checkpoint_rebuilds_it(head: str, tmp_path: Path) -> None:
    trainer = step(tiny(head), tmp_path)
    trainer.save_checkpoint(tmp_path / "some.ckpt")
    net, image = read_checkpoint(tmp_path / "some.ckpt").net, torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(net(image), trainer.lightning_module.net.eval()(image), atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize("attention", ["dsa", "cbam_spatial"])
def test_attention_may_follow_stages(attention: str, tmp_path: Path) -> None:
    trainer = step(tiny(f"attention={attention}", "model.attention_stages=[2,3]"), tmp_path)
    assert list(trainer.lightning_module.net.attention) == ["stage2", "stage3", "head"]


def test_every_argument_of_the_trainer_is_a_key() -> None:
    keys = {*OmegaConf.load(CONFIGS / "trainer" / "default.yaml")} - {"_target_"}
    assert set(inspect.signature(pl.Trainer).parameters) - keys == {"max_time"}  # minutes= is what ends schedules too


def test_loggers_keep_the_numbers(tmp_path: Path) -> None:
    module, data, trainer = built(composed("train", tiny("logger=[csv,tensorboard]"), tmp_path))
    trainer.fit(module, data)
    rows = read_csv(tmp_path / "csv" / "version_0" / "metrics.csv")
    assert any(row["train/loss"] for row in rows) and any(row["val/epe"] for row in rows)
    assert list((tmp_path / "tensorboard").glob("events*"))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_trains_a_step(name: str, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOFTPOINT_DATA", str(data_root))
    cfg = composed("train", [f"experiment={name}"], tmp_path)
    beside = cfg.data.unlabeled_images
    needed = [path for path in (cfg.data.labels, cfg.data.splits, beside and beside.source) if path]
    if absent := [path for path in needed if not Path(path).exists()]:
        pytest.skip(f"this experiment's data is not here: {absent[0]}")
    assert cfg.name == name
    # A whole video is read once, to leave copies of test images out: a minute for what its own tests show.
    write_labels(tmp_path / "frames", 3)
    instead = [f"data.unlabeled_images.source={tmp_path / 'frames'}"] if beside else []
    step([f"experiment={name}", *SMALL, "data.batch_size=2", "data.verify=false", *instead], tmp_path)


@pytest.mark.parametrize("option", PUBLIC)
def test_public_set_trains_a_step(
    option: str, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOFTPOINT_DATA", str(data_root))
    cfg = composed("train", [option], tmp_path)
    if not Path(cfg.data.labels).exists():
        pytest.skip(f"no {cfg.data.labels}; softpoint fetch {cfg.data.fetch} brings it")
    step([option, *SMALL, "backbone=small", *NETWORK, "data.batch_size=2", "data.verify=false"], tmp_path)


@pytest.mark.parametrize("option", PUBLIC)
def test_a_missing_public_set_names_the_command_that_downloads_it(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOFTPOINT_DATA", str(tmp_path))
    name = option.removeprefix("data=")
    message = rf"labels {tmp_path}/keypoints/.* do not exist; download them by softpoint fetch {name}"
    with pytest.raises(Exception, match=message):
        instantiate(composed("train", [option], tmp_path).datamodule).setup("fit")


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.startswith("trainer=")])
def test_every_trainer_key_is_an_argument_of_lightnings(option: str, tmp_path: Path) -> None:
    keys = set(composed("train", [option], tmp_path).trainer) - {"_target_", "accumulate"}  # accumulate is ours
    assert keys <= set(inspect.signature(pl.Trainer).parameters)
