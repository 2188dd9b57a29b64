"""Trained models joined to one checkpoint, which is read as any other, and what cannot be joined."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from softpoint.inference import Checkpoint, load_predictor, read_checkpoint, save_pretrained
from softpoint.models import Ensemble
from softpoint.training.cross_fit import cross_fitted
from softpoint.training.ensemble import check_output, find_members, join, write_ensemble
from softpoint.training.initial_model import find_model

BEST = "checkpoints/best.ckpt"


@pytest.fixture
def members(run: Path) -> list[Checkpoint]:
    """Two models of one split, which differ."""
    first, second = (read_checkpoint(run / BEST) for _ in range(2))
    with torch.no_grad():
        for parameter in second.net.head.parameters():
            parameter.add_(torch.randn_like(parameter))
    return [first, replace(second, path=Path("second.ckpt"))]


def test_the_file_predicts_as_the_members_together(members: list[Checkpoint], tmp_path: Path) -> None:
    path, image = tmp_path / BEST, torch.rand(2, 3, *members[0].size)
    whole = join(members, path)
    assert isinstance(whole.net, Ensemble) and not whole.net.calibration.fitted
    whole.net.calibration.set(radius=torch.tensor(4.0))
    with torch.inference_mode():
        raws = [spoken["logits"].softmax(-1) for spoken in (m.net(image) for m in members)]
        expected = whole.net(image)
    assert not torch.allclose(*raws)
    write_ensemble(whole)
    for place in (path, save_pretrained(path, tmp_path / "shared")):
        read = read_checkpoint(place)
        with torch.inference_mode():
            actual = read.net(image)
        for name in ("keypoints", "confidence", "covariance", "logits"):
            assert torch.equal(actual[name], expected[name])  # type: ignore[literal-required]
        assert (read.skeleton, read.size, read.crops, read.channels) == (
            members[0].skeleton, members[0].size, members[0].crops, members[0].channels,
        )  # fmt: skip
        assert {name: set(images) for name, images in (read.splits or {}).items()} == {
            name: set(images) for name, images in (members[0].splits or {}).items()
        }
    assert load_predictor(path, explain=True)(torch.zeros(50, 60, 3, dtype=torch.uint8))["radius"][0] > 0
    card = (tmp_path / "model_card.md").read_text()
    assert "ensemble of 2 models" in card and "- member 2, of a test error of" in card
    assert [path.name for path in sorted(tmp_path.rglob("*.ckpt"))] == ["best.ckpt"]


def test_the_record_keeps_what_the_members_share(members: list[Checkpoint], tmp_path: Path) -> None:
    first, second = members
    second = replace(second, record={**second.record, "minutes": 2.5, "known_held_out": 3})
    first = replace(first, record={**first.record, "minutes": 1.5})
    record = join([first, second], tmp_path / BEST).record
    assert record["minutes"] == 4.0 and record["known_held_out"] == 3 and record["data"] == first.record["data"]
    assert "calibration_units" not in record and "metrics" not in record
    assert [member["epe"] for member in record["members"]] == [first.record["metrics"]["epe"]] * 2
    assert record["members"][1]["checkpoint"] == "second.ckpt"


def test_the_card_names_the_starting_weights_and_licenses_of_all_members(
    members: list[Checkpoint], tmp_path: Path
) -> None:
    started = [(None, None), ("ImageNet", "bsd-3-clause"), ("a run", None), ("ImageNet", "bsd-3-clause")]
    every = [
        replace(members[0], record={**members[0].record, "starting_weights": weights, "weights_license": license_})
        for weights, license_ in started
    ]
    write_ensemble(join(every, tmp_path / BEST))
    weights = "Starting weights: ImageNet; a run, under bsd-3-clause; a license that is not recorded."
    assert weights in (tmp_path / "model_card.md").read_text()
    write_ensemble(join(every[:1] * 2, tmp_path / BEST))
    assert "Starting weights: none, trained from scratch." in (tmp_path / "model_card.md").read_text()
    every[0].record.pop("starting_weights")
    write_ensemble(join(every, tmp_path / BEST))
    assert "Starting weights: not recorded." in (tmp_path / "model_card.md").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": (32, 64)}, "other input size than .*: 32x64, not 64x64; .*data.size="),
        ({"crops": {"padding": 2.0, "boxes": None}}, "other crops"),
        ({"splits": {"train": [], "val": ["a.png"], "test": []}}, "is in the val split of"),
        ({"splits": None}, "second.ckpt keeps no split"),
    ],
)
def test_what_differs_is_named(members: list[Checkpoint], change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        join([members[0], replace(members[1], **change)], Path("ensemble.ckpt"))


def test_other_keypoints_and_ensembles_are_refused(members: list[Checkpoint]) -> None:
    first, second = members
    names = replace(second.skeleton, names=("snout", *second.skeleton.names[1:]))
    with pytest.raises(ValueError, match=r"other keypoints than .*: snout, .*, not nose"):
        join([first, replace(second, skeleton=names)], Path("ensemble.ckpt"))
    whole = join(members, Path("whole.ckpt"))
    with pytest.raises(ValueError, match=r"whole.ckpt is an ensemble itself; name its members"):
        join([first, whole], Path("ensemble.ckpt"))


def test_a_member_that_learned_what_another_holds_out_is_refused_unless_they_are_folds(
    members: list[Checkpoint], tmp_path: Path
) -> None:
    first, second = members
    splits = copy.deepcopy(first.splits or {})
    splits["train"], splits["val"] = splits["train"] + splits["val"][:1], splits["val"][1:]
    other = replace(second, splits=splits)
    for pair in ([first, other], [other, first]):
        with pytest.raises(ValueError, match=r"second.ckpt learned 1 images that .*best.ckpt holds out.*crossval"):
            join(pair, tmp_path / BEST)
    joined = join([first, other], tmp_path / BEST, folds=True).splits or {}
    every = {image for images in (first.splits or {}).values() for image in images}
    assert {*joined["train"]} == every and joined["val"] == joined["test"] == []


def test_folds_are_found_and_calibrate_the_whole(run: Path, tmp_path: Path) -> None:
    from helpers.results import example_results

    for fold in (0, 1):
        path = tmp_path / f"seed0/fold{fold}" / BEST
        path.parent.mkdir(parents=True)
        path.write_bytes((run / BEST).read_bytes())
    example_results(40).write(tmp_path / "predictions.csv")
    paths, folder = find_members([str(tmp_path)])
    assert len(paths) == 2 and folder == tmp_path
    whole = join([read_checkpoint(path) for path in paths], tmp_path / BEST, folds=True)
    fit = cross_fitted(whole, tmp_path)
    torch.testing.assert_close(fit.values["log_scale"], read_checkpoint(run / BEST).net.calibration.log_scale.double())
    whole.config["model"]["members"][1] = {**whole.config["model"]["members"][1], "pad": "another"}
    with pytest.raises(ValueError, match="has another network than"):
        cross_fitted(whole, tmp_path)


def test_places_are_runs_or_files_and_no_run_is_replaced(run: Path, tmp_path: Path) -> None:
    best = str(run / BEST)
    assert find_members([str(run), best, str(run / "checkpoints")]) == ([best] * 3, None)
    with pytest.raises(ValueError, match=r"is one model, or no finished softpoint crossval; name several"):
        find_members([str(run)])
    with pytest.raises(ValueError, match="holds a training run, whose model the ensemble would replace"):
        check_output(run, [])
    member = tmp_path / BEST
    with pytest.raises(ValueError, match="holds a training run"):
        check_output(tmp_path, [str(member)])
    assert check_output(tmp_path, [best]) == member


def test_a_training_does_not_start_from_an_ensemble(members: list[Checkpoint], tmp_path: Path) -> None:
    write_ensemble(join(members, tmp_path / BEST))
    with pytest.raises(ValueError, match="is an ensemble of 2 models; start from one of its members"):
        find_model(str(tmp_path))
