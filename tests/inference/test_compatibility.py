"""A checkpoint that version 0.1 wrote is read, shared, described and trained further."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from softpoint.inference import load_predictor, read_checkpoint, save_pretrained
from softpoint.inference.compatibility import upgrade
from softpoint.inference.model_card import model_card

ASSET = Path(__file__).parents[1] / "assets" / "version_0_1.ckpt.gz"


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch on twelve images, with its record, its split and the state of its optimizer."""
    path = tmp_path_factory.mktemp("old") / "checkpoints" / "best.ckpt"
    path.parent.mkdir()
    path.write_bytes(gzip.decompress(ASSET.read_bytes()))
    return path


def test_an_old_checkpoint_is_read_with_its_split_and_record(old: Path) -> None:
    checkpoint = read_checkpoint(old)
    assert checkpoint.splits and sum(map(len, checkpoint.splits.values())) == 12
    assert set(checkpoint.record["splits"]["test"]) == {"images", "subjects", "points"}
    assert "data_license" in checkpoint.record and "weights_license" in checkpoint.record
    assert checkpoint.config["data"]["unlabeled"] == "unknown" and "dashboard" in checkpoint.config["callbacks"]
    assert checkpoint.config["data"]["_target_"].rpartition(".")[2] == "LabeledData"
    assert checkpoint.net.calibration.fitted


def test_weights_of_an_old_checkpoint_are_its_own(old: Path) -> None:
    stored, net = torch.load(old, weights_only=True)["state_dict"], read_checkpoint(old).net
    weights = {key: value for key, value in net.state_dict().items() if not key.startswith("calibration.")}
    assert all(torch.equal(stored[f"net.{key}"], value) for key, value in weights.items())


def test_an_old_checkpoint_is_shared_and_described(old: Path, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    expected, actual = load_predictor(old)(image), load_predictor(save_pretrained(old, tmp_path / "shared"))(image)
    assert all(np.array_equal(value, actual[name]) for name, value in expected.items())
    assert "| test | 3 |" in model_card(read_checkpoint(old))


@pytest.mark.parametrize("stored", [{}, {"record": 5, "hyper_parameters": []}, {"record": {"splits": [1]}}])
def test_unknown_content_is_left_as_it_is(stored: dict) -> None:
    assert upgrade(stored) == stored
