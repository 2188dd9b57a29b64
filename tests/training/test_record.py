"""A run's checkpoints say how they came about: before it ends, once it has, and when it is resumed."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from pytorch_lightning.trainer.states import TrainerFn

from helpers.training import NAMES, built, composed, labeled, tiny, write_labels
from softpoint.cli.run_start import run_facts
from softpoint.inference import read_checkpoint
from softpoint.training import Record
from softpoint.training.checkpoint_io import replace_checkpoint
from softpoint.training.record import describe_hardware

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*", "ignore:.*many workers.*", "ignore:The dirpath has changed"
)


def plain(node: Any) -> bool:
    if isinstance(node, dict):
        return all(isinstance(key, str) for key in node) and all(map(plain, node.values()))
    return all(map(plain, node)) if isinstance(node, list) else isinstance(node, str | int | float | bool | None)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of scripts/train.py on thirty images."""
    from softpoint.cli.train import main

    folder = tmp_path_factory.mktemp("recorded")
    main(composed("train", labeled([*write_labels(folder / "data", 30), "data.group=none"]), folder / "run"))
    return folder / "run"


@pytest.fixture(scope="module")
def record(run: Path) -> dict[str, Any]:
    return torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["record"]


def test_a_finished_run_is_recorded_in_plain_values(record: dict[str, Any], run: Path) -> None:
    assert plain(record) and record["finished"] is True and 0 < record["minutes"] < 60
    assert record["command"].startswith("softpoint train data=custom data.labels=")
    assert record["command"].endswith("data.test=0.2") and record["data"] == "custom"
    assert record["labels"] == "labels.csv" and record["data_license"] is None
    assert "CPU core" in record["hardware"] and "M parameters" in record["network"]
    assert record["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert record["starting_weights"] is record["weights_license"] is None
    assert read_checkpoint(run / "checkpoints" / "best.ckpt").record == record


def test_splits_are_counted(record: dict[str, Any], run: Path) -> None:
    with (run / "splits.csv").open(newline="", encoding="utf-8") as file:
        rows = [row["split"] for row in csv.DictReader(file)]
    for split in ("train", "val", "test"):
        count = rows.count(split)
        assert record["splits"][split] == {"images": count, "subjects": count, "points": 4 * count}


def test_the_recorded_test_is_that_of_the_table(record: dict[str, Any], run: Path) -> None:
    with (run / "test.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["keypoint"]: row for row in csv.DictReader(file)}
    assert record["metrics"]["epe"] == pytest.approx(float(rows["all"]["epe"]), rel=1e-4)
    low, high = record["intervals"]["epe"]
    assert low <= record["metrics"]["epe"] <= high
    assert set(record["per_keypoint"]) == set(NAMES)
    for name, entry in record["per_keypoint"].items():
        assert entry["points"] == int(rows[name]["points"])
        assert entry["epe"] == pytest.approx(float(rows[name]["epe"]), rel=1e-4)
    shares = [entry["doubtful"] for entry in record["per_keypoint"].values()]
    assert record["doubtful"] == pytest.approx(np.mean(shares))  # as many points of each
    assert record["resampled"] == f"{record['test_set']['images']} images"


def test_an_interrupted_run_has_what_was_known(run: Path) -> None:
    stored = read_checkpoint(run / "checkpoints" / "last.ckpt").record
    assert stored["finished"] is False and "metrics" not in stored and stored["minutes"] > 0
    assert stored["command"] and stored["splits"]["train"]["images"] > 0


def test_the_rest_of_the_checkpoint_is_as_it_was(run: Path, tmp_path: Path) -> None:
    from softpoint.training.record import add_to_record

    best = run / "checkpoints" / "best.ckpt"
    path = tmp_path / "copy.ckpt"
    path.write_bytes(best.read_bytes())
    add_to_record(path, {"minutes": 1, "a": 1})
    before, after = (torch.load(p, weights_only=True) for p in (best, path))
    assert after.pop("record") == {**before.pop("record"), "minutes": 1, "a": 1}
    assert before.keys() == after.keys() and before["hyper_parameters"] == after["hyper_parameters"]
    assert all(torch.equal(value, after["state_dict"][key]) for key, value in before["state_dict"].items())
    assert [result.name for result in tmp_path.iterdir()] == ["copy.ckpt"]


def test_minutes_go_on_where_a_run_is_resumed(tmp_path: Path) -> None:
    module, data, trainer = built(composed("train", tiny(), tmp_path))
    trainer.callbacks.append(Record({"data": "first"}))
    trainer.fit(module, data)
    last = tmp_path / "checkpoints" / "last.ckpt"
    stored = torch.load(last, weights_only=True)
    assert stored["record"]["splits"] == {split: {"images": n} for split, n in (("train", 8), ("val", 4), ("test", 5))}
    stored["record"]["minutes"] = 100.0
    torch.save(stored, last)
    module, data, trainer = built(composed("train", tiny("trainer.max_epochs=2"), tmp_path / "again"))
    record = Record({"data": "again"})
    trainer.callbacks.append(record)
    trainer.fit(module, data, ckpt_path=last, weights_only=True)
    assert 100 < record.facts["minutes"] < 160 and record.facts["data"] == "again"
    later = tmp_path / "again" / "checkpoints" / "last.ckpt"
    assert torch.load(later, weights_only=True)["record"]["minutes"] > 100


def test_starting_weights_are_named(tmp_path: Path) -> None:
    record, trainer = Record({}), SimpleNamespace()
    trainer.strategy, trainer.world_size = SimpleNamespace(root_device=torch.device("cpu")), 2
    trainer.datamodule = SimpleNamespace(sources={})
    backbone = SimpleNamespace(started_from={"weights": "timm a.b", "license": "mit"})
    record.on_fit_start(trainer, SimpleNamespace(net=SimpleNamespace(backbone=backbone), summary="a network"))
    assert (record.facts["starting_weights"], record.facts["weights_license"]) == ("timm a.b", "mit")
    assert record.facts["hardware"].endswith(", 2 processes")
    stored, trainer.state = {"record": record.facts | {"known_held_out": 3}}, SimpleNamespace(fn=TrainerFn.FITTING)
    fresh: Any = SimpleNamespace(
        net=SimpleNamespace(backbone=SimpleNamespace()), summary="a network, from random weights"
    )
    for loaded_first in (True, False):  # a resumed run forgets nothing of it, whenever its checkpoint is read
        resumed = Record({})
        steps = [
            lambda r=resumed: r.on_load_checkpoint(trainer, fresh, stored),
            lambda r=resumed: r.on_fit_start(trainer, fresh),
        ]
        for step in steps if loaded_first else steps[::-1]:
            step()
        origin = [resumed.facts[key] for key in ("network", "starting_weights", "weights_license", "known_held_out")]
        assert origin == ["a network", "timm a.b", "mit", 3]
    assert describe_hardware(torch.device("mps"), 1) == "1 x mps"


def test_the_card_of_a_class_that_another_package_defines_needs_the_stated_trust(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ours.py").write_text("from ours_impl import Head\n")
    (tmp_path / "ours_impl.py").write_text(
        "from softpoint.models import SoftArgmaxHead as Head0\nclass Head(Head0): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    stored = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    stored["hyper_parameters"]["model"]["head"]["_target_"] = "ours.Head"
    replace_checkpoint(best, stored)
    callback = SimpleNamespace(monitor="val/epe", best_model_score=torch.tensor(1.0), best_model_path=str(best))
    trainer = SimpleNamespace(
        callbacks=[], checkpoint_callbacks=[callback], is_global_zero=True, default_root_dir=tmp_path / "run"
    )
    Record({}, trust=["ours"]).finish(trainer, None)
    assert "trust=[ours,ours_impl]" in capsys.readouterr().out and not (tmp_path / "run" / "model_card.md").exists()
    Record({}, trust=["ours", "ours_impl"]).finish(trainer, None)
    assert (tmp_path / "run" / "model_card.md").is_file() and "no model card" not in capsys.readouterr().out


def test_a_test_on_synthetic_scenes_is_measured_too(tmp_path: Path) -> None:
    from softpoint.cli.train import main

    main(composed("train", tiny(), tmp_path))
    record = read_checkpoint(tmp_path / "checkpoints" / "best.ckpt").record
    assert record["splits"]["test"] == {"images": 5} and record["test_set"]["images"] == 5
    assert record["data"] == "synthetic" and record["metrics"]["epe"] > 0 and "paints" in record["data_license"]


def test_the_command_line_tells_the_license_of_a_public_set() -> None:
    cfg = OmegaConf.create({"name": "openfield", "data": {"labels": "/x/y/Data.csv", "fetch": "openfield"}})
    result = run_facts(cfg, ["data=openfield", "seed=1 2"])
    assert result["command"] == "softpoint train data=openfield 'seed=1 2'"
    assert (result["data"], result["labels"]) == ("openfield", "Data.csv") and "LGPL-3.0" in result["data_license"]
    for fetch in ("nowhere", "../data/custom", None):
        assert run_facts(OmegaConf.create({"name": "a", "data": {"fetch": fetch}}), [])["data_license"] is None
