"""The evaluate command measures what training measured, and compares two checkpoints."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from helpers.training import CONFIGS, NAMES, read_csv
from softpoint.data import LabeledData, Loader
from softpoint.evaluation import Results, evaluate
from softpoint.images.decode import read_image
from softpoint.labels.source import LabelSource
from softpoint.labels.split import Split


@pytest.fixture
def words(run: Path) -> list[str]:
    """The run's checkpoint, and where its data has been moved."""
    return [
        f"ckpt={run / 'checkpoints' / 'best.ckpt'}",
        f"data.labels={run.parent / 'labels.csv'}",
        f"data.images={run.parent / 'moved'}",
        "report=false",
    ]


def test_the_test_split_of_the_run(run: Path, start: Callable, tmp_path: Path, words: list[str]) -> None:
    output = tmp_path / "out"
    words += ["report=true", "figures=true", f"output={output}"]
    ending = start("evaluate", *words, "draws=100", "oks_sigmas=0.1", "nme_pair=[nose,tail]")
    assert ending.code == 0, ending.err
    metrics = json.loads((output / "metrics.json").read_text())
    tested = {row["image"] for row in read_csv(run / "splits.csv") if row["split"] == "test"}
    results = Results.read(output / "predictions.csv")
    assert set(results.images) == tested and metrics["images"] == len(tested)
    trained = {row["keypoint"]: float(row["epe"]) for row in read_csv(run / "test.csv")}
    assert metrics["overall"]["epe"]["value"] == pytest.approx(trained["all"], abs=1e-4)
    for row in read_csv(output / "per_keypoint.csv"):
        assert float(row["epe"]) == pytest.approx(trained[row["keypoint"]], abs=1e-4)
    others = replace(results, has_groups=True)  # those of the other splits, which predictions.csv does not hold
    again = evaluate(others, draws=100, oks_sigmas=0.1, nme_pair=["nose", "tail"])
    own = {"regions": metrics["regions"]}  # of the model, which predictions.csv does not hold
    assert {key: metrics[key] for key in again} == json.loads(json.dumps(again)) | own
    assert [entry["level"] for entry in own["regions"]] == [0.5, 0.9]
    about = {"checkpoint", "data", "split", "tta", "group", "confidence_radius", "confidence_radius_original"}
    about |= {"confidence_fraction", "checkpoint_sha256"}
    assert {*metrics} - {*again} == about and metrics["split"] == "test"
    for name in ("errors", "reliability"):
        assert read_image(output / f"{name}.png").std() > 5
    page, after_training = ((folder / "report.html").read_text() for folder in (output, run))
    for value in (metrics["overall"]["epe"]["value"], metrics["overall"]["oks_ap"]["value"]):
        assert f'<data value="{value}">' in page
    assert f"{metrics['overall']['epe']['value']:.2f}</data>" in after_training
    assert page.count("<img ") == after_training.count("<img ") == len(tested)
    assert f"evaluate {' '.join(words)}" in html.unescape(page).replace("'", "") and "its confidence is no" not in page
    assert "not measured: occluded" in ending.out and f"written to {output}" in ending.out
    sizes = {image: read_image(run.parent / "moved" / image).shape[:2] for image in tested}
    radius = metrics["confidence_radius"] * np.median([max(size) / 64 for size in sizes.values()])
    assert metrics["confidence_radius_original"] == pytest.approx(radius)
    assert f"the probability of an error of at most {radius:.1f} px in these images" in ending.out
    assert "independent units" in " ".join(ending.out.split()) and "crossval" in ending.out


def test_the_units_of_the_intervals_can_be_named(run: Path, start: Callable, tmp_path: Path, words: list[str]) -> None:
    output, metrics = tmp_path / "out", {}
    usual = [*words, f"output={output}", "draws=200", "split=all"]
    for group, units, kind in (("null", 4, "groups"), (r"img(\d)", 2, "groups"), ("none", 12, "images")):
        ending = start("evaluate", *usual, f"group='{group}'" if "(" in group else f"group={group}")
        assert ending.code == 0, ending.err
        metrics[group] = json.loads((output / "metrics.json").read_text())
        assert [metrics[group]["resampled"][key] for key in ("units", "unit")] == [units, kind]
        results = Results.read(output / "predictions.csv")
        again = evaluate(results, draws=200)["overall"]["epe"]
        assert len(set(results.groups)) == units and metrics[group]["overall"]["epe"] == pytest.approx(again)
    assert "group='(' is not a regular expression" in start("evaluate", *usual, "group='('").err
    assert "group='zzz' finds nothing in 12 of 12 paths" in start("evaluate", *usual, "group=zzz").err


def test_another_set_and_flips(run: Path, start: Callable, tmp_path: Path, words: list[str]) -> None:
    ckpt, labels, images, _ = words
    output = tmp_path / "out"
    usual = [ckpt, f"output={output}", "report=false", "draws=20", "split=all"]
    other = ["data=custom", labels, images, "data.keypoints=[tail,nose]"]
    assert "lack 2 of the model's 4 keypoints" in start("evaluate", *usual, *other).err
    assert not output.exists()
    ending = start("evaluate", *usual, *other, "missing=skip")
    assert ending.code == 0, ending.err
    plain = Results.read(output / "predictions.csv")
    (output / "worst.png").write_bytes(b"of an earlier evaluation")
    assert plain.skeleton.names == ("nose", "tail") and len(plain) == 12
    assert start("evaluate", *usual, labels, images, "tta=flip").code == 0
    assert not (output / "worst.png").exists()
    flipped = Results.read(output / "predictions.csv")
    assert flipped.skeleton.names == NAMES
    assert not np.allclose(flipped.with_keypoints(["nose", "tail"]).keypoints, plain.keypoints, atol=1e-3)


def test_two_checkpoints_are_compared(run: Path, start: Callable, tmp_path: Path, words: list[str]) -> None:
    folder, output = run / "checkpoints", tmp_path / "out"
    pair = f"ckpt=[{folder / 'best.ckpt'},{folder / 'last.ckpt'}]"
    ending = start(
        "evaluate", pair, *words[1:], f"output={output}", "draws=100", "oks_sigmas=0.1", "split=all", "group=none"
    )
    assert ending.code == 0 and "P(A" in ending.out, ending.err
    comparison = json.loads((output / "comparison.json").read_text())
    a, b = (Results.read(output / f"predictions_{name}.csv") for name in "ab")
    assert {"oks_ap", "ece", "coverage_90"} <= {*comparison["overall"]} and "not measured: nme_pair" not in ending.out
    epe = comparison["overall"]["epe"]
    assert epe["difference"] == pytest.approx(np.nanmean(a.errors) - np.nanmean(b.errors), abs=1e-9)
    assert epe["low"] <= epe["difference"] <= epe["high"] and 0 <= epe["p_a_better"] <= 1


def test_more_checkpoints_are_compared_with_the_first(
    run: Path, start: Callable, tmp_path: Path, words: list[str]
) -> None:
    best, last = (run / "checkpoints" / name for name in ("best.ckpt", "last.ckpt"))
    output = tmp_path / "out"
    usual = [*words[1:3], f"output={output}", "draws=50", "split=all", "group=none"]
    ending = start("evaluate", f"ckpt=[{best},{last},{best}]", *usual)
    assert ending.code == 0 and f"C is {best}" in ending.out, ending.err
    pairs = [json.loads((output / f"comparison_a{other}.json").read_text()) for other in "bc"]
    assert pairs[1]["overall"]["epe"]["difference"] == 0 and {*pairs[0]} == {*pairs[1]}
    page = (output / "report.html").read_text()
    shown = [float(value) for value in re.findall(r'<data value="([^"]*)">', page)]
    keys = ("a", "b", "difference", "low", "high", "p_a_better")
    overall = [e[key] for pair in pairs for e in pair["overall"].values() for key in keys if key in e]
    assert shown[: len(overall)] == overall  # and then those of keypoints
    assert start("evaluate", f"ckpt=[{best},{last}]", *usual, "report=false").code == 0
    assert {path.name for path in output.iterdir()} == {"comparison.json", "predictions_a.csv", "predictions_b.csv"}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["split=tset"], "split='tset'"),
        (["tta=mirror"], "tta='mirror' is unknown"),
        (["nme_pair=[nose,tial]"], "no keypoint is named 'tial'; did you mean 'tail'"),
        (["oks_sigmas=coco"], "COCO's 17 keypoints of people, not for nose"),
        (["oks_sigmas=[0.1]"], "oks_sigmas has 1 numbers, but there are 4 keypoints"),
        (["data.labels=none.csv"], "none.csv"),
        (["data=custom", "data.labels=???"], "data.labels"),
        (["ckpt=[]"], "ckpt=[]: give the path of one checkpoint, or [A,B,...]"),
        (["ckpt={a:1}"], "give the path of one checkpoint, or [A,B,...]"),
        (["draws=2.5"], "draws=2.5: give a whole number from 0 on"),
        (["seed=-1"], "seed=-1: give a whole number from 0 on"),
        (["device=gpu"], "device=gpu cannot be used here; choose auto"),
        (["oks_sigmas=true"], "oks_sigmas=True must be positive"),
        (["oks_sigmas=[a,b,c,d]"], "oks_sigmas=['a', 'b', 'c', 'd'] must be positive"),
        (["nme_pair=ab"], "nme_pair=ab must name two keypoints"),
        (["data.size=0"], "data.size [0, 0] must be positive"),
    ],
)
def test_a_mistake_is_one_message_and_no_file(
    start: Callable, tmp_path: Path, words: list[str], more: list[str], message: str
) -> None:
    ending = start("evaluate", *words, f"output={tmp_path / 'out'}", "draws=10", *more)
    assert ending.code == 1 and message in ending.err and "Traceback" not in ending.err
    assert not (tmp_path / "out").exists()


def test_the_data_of_a_run_that_is_gone(run: Path, start: Callable, tmp_path: Path) -> None:
    ending = start("evaluate", f"ckpt={run / 'checkpoints' / 'best.ckpt'}", f"output={tmp_path / 'out'}")
    assert ending.code == 1 and "labels.csv" in ending.err and "data.labels=FILE" in ending.err


def test_every_key_of_labeled_data_that_matters_can_be_set() -> None:
    """Keys that are missing matter to training alone, or are set beside data."""
    from inspect import signature

    keys = {*OmegaConf.load(CONFIGS / "evaluate.yaml").data}
    groups = (LabelSource, Split, Loader, LabeledData)
    labeled = {name for group in groups for name in signature(group.__init__).parameters}
    assert {"labels", "images", "mode", "boxes", "padding", "keypoints", "splits", "fold", "folds", "size"} <= keys
    assert keys - labeled == {"folder", "painter", "train"}


@pytest.mark.parametrize(
    ("expression", "message"),
    [("nothing", "finds nothing in"), (r"(?P<part>(?P<operator>video\d))", "a gauge study needs as many of each")],
)
def test_an_expression_that_names_no_parts_ends_before_the_predictions(
    start: Callable, tmp_path: Path, words: list[str], expression: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("softpoint.evaluation.predict.predict", lambda *_, **__: pytest.fail("it predicted"))
    ending = start("evaluate", *words, "split=all", f"output={tmp_path / 'a'}", f"repeat='{expression}'")
    assert ending.code == 1 and message in ending.err, ending.err


def test_a_model_is_compared_with_the_predictions_of_another_tool(
    run: Path, start: Callable, tmp_path: Path, words: list[str]
) -> None:
    usual = [*words[:3], "split=all", "group=none", "draws=50"]
    assert start("evaluate", *usual, f"output={tmp_path / 'a'}", "report=false", r"repeat='video\d'").code == 0
    repeated = json.loads((tmp_path / "a" / "metrics.json").read_text())["repeatability"]
    assert repeated["parts"] == 4 and len(repeated["distances"]) == 6
    rows = read_csv(tmp_path / "a" / "predictions.csv")
    kept = [title for title in rows[0] if title == "image" or (re.search("_[xy]$", title) and "true" not in title)]
    other = tmp_path / "other.csv"
    other.write_text("\n".join(",".join(row) for row in [kept, *([row[i] for i in kept] for row in rows[:-1])]))
    ending = start("evaluate", *usual, f"output={tmp_path / 'b'}", f"against={other}")
    out = " ".join(ending.out.split())
    assert ending.code == 0 and "No difference is shown: A - B is +0.00 px" in out, ending.err
    assert f"B is {other}" in ending.out and "1 of 12 images have none" in out
    comparison = json.loads((tmp_path / "b" / "comparison.json").read_text())
    assert comparison["overall"]["epe"]["difference"] == pytest.approx(0, abs=1e-9) and "ece" in comparison["skipped"]
    page = html.unescape((tmp_path / "b" / "report.html").read_text())
    assert "No difference is shown" in page and str(other) in page
    for more, message in ((f"{other}x", "does not exist; name a file of predictions"), (str(run), "in no known label")):
        ending = start("evaluate", *usual, f"output={tmp_path / 'c'}", f"against={more}")
        assert ending.code == 1 and message in ending.err
    two = f"ckpt=[{words[0].removeprefix('ckpt=')},{words[0].removeprefix('ckpt=')}]"
    ending = start("evaluate", two, *usual[1:], f"output={tmp_path / 'c'}", f"against={other}")
    assert ending.code == 1 and "give one ckpt" in ending.err
